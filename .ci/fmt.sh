#!/usr/bin/env bash
# The format.
set -euo pipefail
cargo fmt --all --check

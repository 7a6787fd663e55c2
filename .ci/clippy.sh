#!/usr/bin/env bash
# Lints, denied, on all targets and features.
set -euo pipefail
cargo clippy --workspace --all-targets --all-features -- -D warnings

#!/usr/bin/env bash
# Both crates can be published: packed, unpacked and built.
set -euo pipefail
cargo package --quiet --allow-dirty -p graceful-macros -p graceful-runtime
echo "both crates are packed and build"

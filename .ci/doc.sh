#!/usr/bin/env bash
# The documentation of the published crates, private items included.
set -euo pipefail
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features --document-private-items \
    -p graceful-runtime -p graceful-macros

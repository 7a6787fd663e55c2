#!/usr/bin/env bash
# `rust-version` is true. The standard library's part is clippy's `incompatible_msrv`, which .ci/clippy.sh denies;
# here are the dependencies of the published crates, and an old compiler where one is installed.
set -euo pipefail
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
cargo metadata --format-version 1 --all-features | python3 .ci/msrv.py "$msrv"
if command -v rustup >/dev/null && rustup toolchain list | grep -q "^$msrv"; then
    cargo "+$msrv" check --quiet -p graceful-runtime --all-features
    echo "compiles with Rust $msrv"
fi

#!/usr/bin/env bash
# The fuzz targets, a minute each, or as many seconds as are given.
set -euo pipefail
seconds=${1:-60}
PATH="$PWD/target/tools/bin:$PATH"
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: there is no nightly compiler"
    exit 0
fi
if ! command -v cargo-fuzz >/dev/null; then
    cargo install --quiet --locked --root target/tools --version 0.13.2 cargo-fuzz || {
        echo "skipped: cargo-fuzz cannot be installed"
        exit 0
    }
fi
# Sanitizers are for code that is unsafe, and none of this is.
cargo +nightly fuzz build --sanitizer none >/dev/null
for target in framing frames wire parcel arguments; do
    mkdir -p "fuzz/corpus/$target"
    log=$(mktemp)
    cargo +nightly fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 >"$log" 2>&1 || {
        tail -n 40 "$log"
        exit 1
    }
    echo "$target: $(sed -n 's/^Done \(.*\) runs.*/\1 inputs/p' "$log")"
    rm "$log"
done

#!/usr/bin/env bash
# Licences, duplicates and sources of what users compile: see deny.toml.
set -euo pipefail
PATH="$PWD/target/tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null; then
    # Without what fetches advisories, which is most of it, and which needs another network than crates.io.
    cargo install --quiet --locked --root target/tools --no-default-features --version 0.20.2 cargo-deny || {
        echo "skipped: cargo-deny cannot be installed"
        exit 0
    }
fi
cargo deny --log-level warn check licenses bans sources

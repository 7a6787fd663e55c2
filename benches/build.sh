#!/usr/bin/env bash
# Times clean debug builds of `--example basic` beside those of an axum hello-world with HTTP/2.
# Usage: benches/build.sh [ROUNDS]; takes about a minute for each round.
set -euo pipefail

rounds=${1:-3}
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mkdir -p "$scratch/hello/src"
cat >"$scratch/hello/Cargo.toml" <<'TOML'
[package]
name = "hello"
edition = "2024"

[dependencies]
axum = { version = "0.8", features = ["http2"] }
tokio = { version = "1", features = ["full"] }

[workspace]
TOML
cat >"$scratch/hello/src/main.rs" <<'RUST'
use axum::{Router, routing::get};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/", get(|| async { "hello" }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}
RUST

# The same versions for both, and nothing left to download while the clock runs.
cp "$root/Cargo.lock" "$scratch/hello/"
(cd "$root" && cargo fetch --quiet)
(cd "$scratch/hello" && cargo fetch --quiet)

# clean_build NAME DIRECTORY [ARGUMENT...]: appends to NAME.seconds, writes NAME.log.
clean_build() {
    local name=$1 directory=$2
    shift 2
    rm -rf "$scratch/target"
    local start=$EPOCHREALTIME
    (cd "$directory" && CARGO_TARGET_DIR="$scratch/target" cargo build --offline "$@") 2>"$scratch/$name.log" ||
        { cat "$scratch/$name.log" >&2; exit 1; }
    awk -v start="$start" -v end="$EPOCHREALTIME" 'BEGIN { print end - start }' >>"$scratch/$name.seconds"
}

for ((round = 0; round < rounds; round++)); do
    clean_build basic "$root" --example basic
    clean_build hello "$scratch/hello"
done

median() { sort -n "$1" | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int((NR + 2) / 2)]) / 2 }'; }

printf '%-40s %12s %12s\n' "clean debug build, median of $rounds" 'example basic' 'axum + http2'
printf '%-40s %12.1f %12.1f\n' seconds "$(median "$scratch/basic.seconds")" "$(median "$scratch/hello.seconds")"
printf '%-40s %12d %12d\n' crates "$(grep -c Compiling "$scratch/basic.log")" "$(grep -c Compiling "$scratch/hello.log")"

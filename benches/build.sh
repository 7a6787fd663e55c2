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

# clean_build NAME DIRECTORY [ARGUMENT...]: appends "wall processor" seconds to NAME.times, writes NAME.log.
clean_build() {
    local name=$1 directory=$2
    shift 2
    rm -rf "$scratch/target"
    local TIMEFORMAT='%R %U %S'
    {
        time (cd "$directory" && CARGO_TARGET_DIR="$scratch/target" cargo build --offline "$@" 2>"$scratch/$name.log")
    } 2>"$scratch/time" || { cat "$scratch/$name.log" >&2; exit 1; }
    awk '{ print $1, $2 + $3 }' "$scratch/time" >>"$scratch/$name.times"
}

for ((round = 0; round < rounds; round++)); do
    clean_build basic "$root" --example basic
    clean_build hello "$scratch/hello"
done

# median NAME COLUMN
median() {
    cut -d' ' -f"$2" "$scratch/$1.times" | sort -n |
        awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int((NR + 2) / 2)]) / 2 }'
}

crates() {
    grep -c Compiling "$scratch/$1.log"
}

printf '%-40s %14s %14s\n' "clean debug build, median of $rounds" 'example basic' 'axum + http2'
printf '%-40s %14.1f %14.1f\n' seconds "$(median basic 1)" "$(median hello 1)"
printf '%-40s %14.1f %14.1f\n' 'processor seconds' "$(median basic 2)" "$(median hello 2)"
printf '%-40s %14d %14d\n' crates "$(crates basic)" "$(crates hello)"

#!/usr/bin/env bash
# Each set of features builds without a warning.
set -euo pipefail
for features in "" tls adapt axum tonic "tls axum tonic"; do
    echo "features: ${features:-none}"
    RUSTFLAGS="-D warnings" cargo check --quiet -p graceful-runtime --no-default-features --features "$features"
done

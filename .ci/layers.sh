#!/usr/bin/env bash
# Imports run downwards, and make no circle.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
python3 .ci/layers_test.py
python3 .ci/layers.py

#!/usr/bin/env bash
# What the tests need and a fresh machine may lack.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need curl curl
need gcc gcc
need g++ g++
need python3 python3
need unshare util-linux
need ip iproute2
need nginx nginx
need haproxy haproxy
need valgrind valgrind
need strace strace
[ -x /lib/systemd/systemd ] || missing+=(systemd)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    echo "installed: ${missing[*]}"
fi

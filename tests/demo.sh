#!/usr/bin/env bash
# What dtap is for, in one minute: a container is reached by its own address from a host that has no
# route to it. On Linux in a lab with a real engine, on a Mac with the user's own.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
story=$PWD/tests/demo/story
export PATH=$target/release:$PATH

if [ "$(uname -s)" = Darwin ]; then
    exec "$story"
fi
cargo build --quiet -p dtap-tests --bin dtap-lab
lab=$target/debug/dtap-lab
root=()
if [ "$(id -u)" -ne 0 ]; then
    echo "a lab needs root for its network namespaces:"
    root=(sudo --preserve-env=PATH,CARGO_TARGET_DIR,DTAP_LAB_CACHE)
fi
"${root[@]}" "$lab" setup
"${root[@]}" "$lab" run -- "$story"

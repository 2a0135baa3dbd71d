#!/bin/sh
# Builds text.wasm from text.c. Needs clang, wasm-ld and wasm-tools.
set -e
cd "$(dirname "$0")"
WASM_TOOLS=${WASM_TOOLS:-wasm-tools}
clang --target=wasm32 -nostdlib -O2 -mbulk-memory -fno-builtin -Wall -Wextra -Wno-main -c -o text.o text.c
wasm-ld --no-entry --strip-all -z stack-size=4096 -o text.core.wasm text.o
"$WASM_TOOLS" component embed text.wit -w codec text.core.wasm -o text.core.wasm
"$WASM_TOOLS" component new text.core.wasm -o text.wasm
"$WASM_TOOLS" strip -a text.wasm -o text.wasm
rm text.o text.core.wasm
"$WASM_TOOLS" validate text.wasm

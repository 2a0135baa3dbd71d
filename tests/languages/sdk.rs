//! The SDKs' own unit tests, each with the runner of its language.

use std::fs;

use crate::harness::{Case, root};
use crate::{has, sh};

#[test]
fn go() {
    if has("go") {
        sh(&root().join("plugin-sdk/go"), "go vet ./... && go test ./...");
    }
}

#[test]
fn javascript() {
    if has("node") {
        sh(&root().join("plugin-sdk/javascript"), "node --test test/*.test.js");
    }
}

#[test]
fn python() {
    if has("pytest") {
        sh(&root().join("plugin-sdk/python"), "pytest --quiet -p no:cacheprovider");
    }
}

#[test]
fn zig() {
    if has("python-zig") {
        sh(&root().join("plugin-sdk/zig"), "python-zig test sdk_test.zig");
    }
}

#[test]
fn c() {
    let source = root().join("plugin-sdk/c/test/sdk_test.c");
    let case = Case::new();
    let (source, test) = (source.display(), case.path("test").display().to_string());
    sh(
        case.folder.path(),
        &format!(
            "cc -std=c99 -Wall -Wextra -Werror -fsanitize=address,undefined -o {test} {source} && ASAN_OPTIONS=detect_leaks=0 {test}"
        ),
    );
}

/// The header is one for C++, too: a stage that is compiled as C++ does the same.
#[test]
fn cplusplus() {
    if !has("clang++") || !has("wasm-ld") {
        return;
    }
    let case = Case::new().stdin("an error\nfine\n");
    case.run(&["new", "shout", "--lang", "c"]).ok();
    let folder = case.path("shout");
    fs::rename(folder.join("stage.c"), folder.join("stage.cc")).unwrap();
    // The header needs no C++ library, which Debian has in packages of its own.
    let build = "clang++ --target=wasm32-wasi --sysroot=/usr -std=c++20 -fno-exceptions -nostdlib++ -O2 -Wall \
                 -Wextra -Werror -s -mexec-model=reactor -o shout.wasm stage.cc";
    sh(&folder, build);
    case.run(&["run", "--quiet", "--plugin", "shout/shout.wasm", "--set", "shout.word=error"])
        .ok()
        .prints("AN ERROR\nfine\n");
}

/// An SDK that carries the contract carries the one of this repository.
#[test]
fn the_contract_is_the_same_everywhere() {
    for folder in ["javascript/wit/deps/pipehost-stage", "python/src/pipehost/wit"] {
        for file in ["stage.wit", "packed.wit", "metrics.wit"] {
            let there =
                fs::read_to_string(root().join("plugin-sdk").join(folder).join(file)).unwrap();
            let here = fs::read_to_string(root().join("wit").join(file)).unwrap();
            assert!(there == here, "{folder}/{file} differs: copy it from wit/");
        }
    }
}

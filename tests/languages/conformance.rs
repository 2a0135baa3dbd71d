//! Every SDK passes the same cases, with a stage that is written with it.

use crate::harness::{Case, root};
use crate::has;

#[track_caller]
fn conforms(sdk: &str, needs: &[&str]) {
    if !needs.iter().all(|tool| has(tool)) {
        return; // `tests/run` says so.
    }
    let folder = root().join("plugin-sdk").join(sdk).join("conformance");
    let told = Case::new().run(&["conformance", &folder.display().to_string()]).ok().stdout;
    assert!(told.ends_with("\n26 passed, 0 failed\n"), "{told}");
}

#[test]
fn rust() {
    conforms("rust", &["cargo"]);
}

#[test]
fn python() {
    conforms("python", &["componentize-py"]);
}

#[test]
fn javascript() {
    conforms("javascript", &["npm"]);
}

#[test]
fn go() {
    conforms("go", &["go"]);
}

#[test]
fn c() {
    conforms("c", &["clang", "wasm-ld"]);
}

#[test]
fn zig() {
    conforms("zig", &["python-zig"]);
}

#[test]
fn assemblyscript() {
    conforms("assemblyscript", &["npm"]);
}

/// A stage that does something else fails, and it is told what differs.
#[test]
fn what_does_not_conform_is_told() {
    let told = Case::new().run(&["conformance", "to-upper"]).code(1).stdout;
    assert!(told.contains("FAILED") && told.contains("port `out`:"), "{told}");
}

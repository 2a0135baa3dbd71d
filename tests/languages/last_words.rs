//! What a stage says before it fails is in the rejection, whatever its language.

use std::fs;

use crate::harness::Case;
use crate::has;

/// Makes a stage in a language, with something changed in its source, and gives it the line `boom`.
#[track_caller]
fn rejects(lang: &str, file: &str, from: &str, to: &str, install: &str, reasons: &[&str]) {
    let case = Case::new().stdin("boom\n");
    case.run(&["new", "fails", "--lang", lang]).ok();
    if !install.is_empty() {
        crate::sh(&case.path("fails"), install);
    }
    let path = case.path("fails").join(file);
    let source = fs::read_to_string(&path).unwrap();
    assert!(source.contains(from), "{from:?} is not in {source}");
    fs::write(&path, source.replace(from, to)).unwrap();
    let arguments =
        ["run", "--plugin", "fails", "--set", "fails.word=x", "--dead-letters", "letters"];
    case.run(&arguments).ok();
    let letters = case.run(&["dead-letter", "list", "letters"]).ok().stdout;
    for reason in reasons {
        assert!(letters.contains(reason), "{reason:?} is not in {letters}");
    }
}

#[test]
fn a_panic_of_rust() {
    let (from, to) = (
        "if line.contains",
        "assert!(line != \"boom\", \"out of sorts\");\n        if line.contains",
    );
    rejects(
        "rust",
        "src/lib.rs",
        from,
        to,
        "",
        &["trap:", "panicked at src/lib.rs", "out of sorts"],
    );
}

#[test]
fn an_exit_of_c() {
    if has("clang") && has("wasm-ld") {
        let to = "if (line.len == 4) { fputs(\"out of sorts\\n\", stderr); exit(3); }\n    ph_row row = ph_keep(out);";
        let reasons = ["it exited with code", "out of sorts"];
        rejects("c", "stage.c", "ph_row row = ph_keep(out);", to, "", &reasons);
    }
}

#[test]
fn a_panic_of_go_costs_no_restart() {
    if has("go") {
        let to = "row := out.Keep()\n\tif len(line) == 4 {\n\t\tpanic(\"out of sorts\")\n\t}";
        rejects("go", "stage.go", "row := out.Keep()", to, "", &["panic: out of sorts"]);
    }
}

#[test]
fn an_error_of_javascript_costs_no_restart() {
    if has("npm") {
        let to = "if (line === 'boom') throw new TypeError('out of sorts');\n    const row = out.keep();";
        let reasons = ["TypeError: out of sorts"];
        rejects(
            "javascript",
            "src/stage.js",
            "const row = out.keep();",
            to,
            "npm install",
            &reasons,
        );
    }
}

#[test]
fn an_error_of_python_is_told_with_its_last_frame() {
    if has("componentize-py") {
        let (from, to) = ("row = out.keep()", "raise ValueError('boom')");
        let reasons = ["ValueError: boom (stage.py:", " in process)"];
        rejects("python", "stage.py", from, to, "", &reasons);
    }
}

/// The component imports sockets, as every program in Python does, and loads without a grant.
#[test]
fn a_connection_of_python_has_no_permission() {
    if has("componentize-py") {
        let to = "import socket\n        socket.create_connection(('127.0.0.1', 9))";
        rejects("python", "stage.py", "row = out.keep()", to, "", &["PermissionError"]);
    }
}

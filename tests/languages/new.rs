//! `pipehost new`, and what its folders are good for.

use std::fs;

use crate::harness::Case;
use crate::{has, sh};

/// What an author types, besides pipehost's own verbs.
struct Language {
    name: &'static str,
    /// Tools without which nothing can be tried.
    needs: &'static [&'static str],
    /// Once, before the first build.
    install: &'static str,
    unit_test: &'static str,
    /// Whether the same source makes the same component.
    is_reproducible: bool,
}

fn try_it(language: &Language) {
    if !language.needs.iter().all(|tool| has(tool)) {
        return; // `tests/run` says so.
    }
    let case = Case::new().stdin("an error\nfine\n");
    let made = case.run(&["new", "keep-it", "--lang", language.name]).ok();
    assert!(made.stdout.contains("tests/first.toml"), "{}", made.stdout);
    case.run(&["new", "keep-it", "--lang", language.name]).code(2).says("keep-it exists");
    let folder = case.path("keep-it");
    if !language.install.is_empty() {
        sh(&folder, language.install);
    }
    sh(&folder, language.unit_test);

    let built = case.run(&["build", "keep-it"]).ok();
    for text in ["name        keep-it 0.1.0\n", "exports     stage\n", "reads       "] {
        // A configuration without `word` is refused, so some do not open without one.
        let told = built.stdout.contains(text) || text.starts_with("reads");
        assert!(told, "{text:?} is not in {}", built.stdout);
    }
    assert!(!built.stderr.contains("for debugging"), "{}", built.stderr);
    if language.is_reproducible {
        let path = built.stdout.lines().find_map(|line| line.strip_prefix("component   "));
        let component = case.path(path.expect("it says where the component is"));
        let first = fs::read(&component).unwrap();
        fs::remove_file(&component).unwrap();
        case.run(&["build", "keep-it"]).ok();
        assert!(first == fs::read(&component).unwrap(), "built again, it differs");
    }

    let tested = case.run(&["test", "keep-it"]).ok().stdout;
    assert!(tested.contains("\n1 passed, 0 failed\n"), "{tested}");
    case.run(&["run", "--quiet", "--plugin", "keep-it", "--set", "keep-it.word=error"])
        .ok()
        .prints("AN ERROR\nfine\n");

    // A case that is wrong is told, and blessed into a right one.
    let first = folder.join("tests/first.toml");
    let right = fs::read_to_string(&first).unwrap();
    fs::write(&first, right.replace("AN ERROR IN LINE 3", "AN ERROR IN LINE 4")).unwrap();
    let wrong = case.run(&["test", "keep-it"]).code(1).stdout;
    for line in ["FAILED", "  - value = \"AN ERROR IN LINE 4\"", "  + value = \"AN ERROR IN LINE 3\""] {
        assert!(wrong.contains(line), "{line:?} is not in {wrong}");
    }
    case.run(&["test", "keep-it", "--bless"]).ok();
    case.run(&["test", "keep-it"]).ok();
}

#[test]
fn rust() {
    try_it(&Language {
        name: "rust",
        needs: &["cargo"],
        install: "",
        unit_test: "cargo test --quiet",
        is_reproducible: true,
    });
}

#[test]
fn c() {
    try_it(&Language {
        name: "c",
        needs: &["clang", "wasm-ld"],
        install: "",
        unit_test: "mkdir -p build && cc -Wall -Wextra -Werror -o build/test stage_test.c && build/test",
        is_reproducible: true,
    });
}

#[test]
fn go() {
    try_it(&Language {
        name: "go",
        needs: &["go"],
        install: "",
        unit_test: "GOFLAGS= go test ./...",
        is_reproducible: true,
    });
}

#[test]
fn zig() {
    try_it(&Language {
        name: "zig",
        needs: &["python-zig"],
        install: "",
        unit_test: "python-zig test stage.zig",
        is_reproducible: true,
    });
}

#[test]
fn javascript() {
    try_it(&Language {
        name: "javascript",
        needs: &["npm"],
        install: "npm install",
        unit_test: "npm test",
        is_reproducible: false, // The builder puts hash seeds into the snapshot of its engine.
    });
}

#[test]
fn typescript() {
    try_it(&Language {
        name: "typescript",
        needs: &["npm"],
        install: "npm install",
        unit_test: "npm test",
        is_reproducible: false,
    });
}

#[test]
fn assemblyscript() {
    try_it(&Language {
        name: "assemblyscript",
        needs: &["npm"],
        install: "npm install",
        unit_test: "npm test",
        is_reproducible: true,
    });
}

#[test]
fn python() {
    try_it(&Language {
        name: "python",
        needs: &["componentize-py", "pytest"],
        install: "",
        unit_test: "pytest --quiet",
        is_reproducible: false, // Python puts its hash seed into the snapshot.
    });
}

#[test]
fn a_name_that_no_language_takes_is_refused() {
    for name in ["../x", "Upper", "2x", "a b"] {
        Case::new().run(&["new", name, "--lang", "c"]).code(2).says("is not a name for a stage");
    }
    Case::new().run(&["new", "x", "--lang", "cobol"]).code(2).says("cobol");
}

#[test]
fn a_tool_that_is_missing_is_named_with_what_installs_it() {
    let project = "[build]\ncommand = \"no-such-tool\"\noutput = \"x.wasm\"\n\
                   tools = { no-such-tool = \"apt-get install it\" }\n";
    let case = Case::new().file("pipehost.toml", project);
    case.run(&["build"]).code(1).says("`no-such-tool` is missing; install it: apt-get install it");
    // Every mistake in the file is told.
    let case = Case::new().file("pipehost.toml", "[build]\ncomand = \"x\"\n");
    let told = case.run(&["build"]).code(1).stderr;
    for text in ["needs `command`", "needs `output`", "`comand`", "did you mean `command`"] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
}

#[test]
fn a_build_that_fails_or_makes_nothing_is_told() {
    let case = Case::new().file("pipehost.toml", "[build]\ncommand = \"echo hm; exit 3\"\noutput = \"x.wasm\"\n");
    case.run(&["build"]).code(1).says("hm").says("failed (exit status: 3)");
    let case = Case::new().file("pipehost.toml", "[build]\ncommand = \"true\"\noutput = \"x.wasm\"\n");
    case.run(&["build"]).code(1).says("made no x.wasm");
}

//! `pipehost new`, and what its folders are good for.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::harness::{Case, root};
use crate::{has, sh};

/// A language, and what is true of it.
struct Language {
    name: &'static str,
    /// Its page in `docs/languages`, if it has one of its own.
    page: Option<&'static str>,
    /// Tools without which nothing can be tried.
    needs: &'static [&'static str],
    /// Of one without a page: once, before the first build.
    install: &'static str,
    unit_test: &'static str,
    /// Whether the same source makes the same component.
    is_reproducible: bool,
}

/// The programs of this machine, and pipehost.
fn path_of_commands() -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_pipehost")).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap();
    std::env::join_paths([program].into_iter().chain(std::env::split_paths(&others))).unwrap()
}

/// Types the commands of a page, and compares what they print with what the page shows.
fn type_in(page: &str, case: &Case) {
    let path = root().join("docs/languages").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let mut commands = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut lines = block.lines().peekable();
        while let Some(prompt) = lines.next() {
            let command = prompt.strip_prefix("$ ").expect("a prompt");
            let mut shell = case.command_of(Path::new("bash"), &["-c", command]);
            shell.env("PATH", path_of_commands());
            shell.env_remove("CARGO_TARGET_DIR").env("GOPROXY", "off");
            let ran = case.run_command(shell);
            assert_eq!(ran.code, 0, "{page}: {prompt}: {}{}", ran.stdout, ran.stderr);
            let mut shown = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                shown.push(line);
            }
            if shown != ["…"] && !shown.is_empty() {
                assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), shown, "{page}: {prompt}");
            }
            commands += 1;
        }
    }
    assert!(commands >= 4, "{page}: {commands} commands");
}

fn try_it(language: &Language) {
    if !language.needs.iter().all(|tool| has(tool)) {
        return; // `tests/run` says so.
    }
    let case = Case::new().stdin("an error\nfine\n");
    match language.page {
        // It makes the stage `shout`, and tests it.
        Some(page) => type_in(page, &case),
        None => {
            case.run(&["new", "shout", "--lang", language.name]).ok();
            sh(&case.path("shout"), language.install);
            sh(&case.path("shout"), language.unit_test);
        }
    }
    case.run(&["new", "shout", "--lang", language.name]).code(2).says("shout exists");
    let folder = case.path("shout");

    let built = case.run(&["build", "shout"]).ok();
    for text in ["name        shout 0.1.0\n", "exports     stage\n", "reads       "] {
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
        case.run(&["build", "shout"]).ok();
        assert!(first == fs::read(&component).unwrap(), "built again, it differs");
    }

    let tested = case.run(&["test", "shout"]).ok().stdout;
    assert!(tested.contains("\n1 passed, 0 failed\n"), "{tested}");
    follow_readme(&case, &folder);

    // A case that is wrong is told, and blessed into a right one.
    let first = folder.join("tests/first.toml");
    let right = fs::read_to_string(&first).unwrap();
    fs::write(&first, right.replace("AN ERROR IN LINE 3", "AN ERROR IN LINE 4")).unwrap();
    let wrong = case.run(&["test", "shout"]).code(1).stdout;
    for line in
        ["FAILED", "  - value = \"AN ERROR IN LINE 4\"", "  + value = \"AN ERROR IN LINE 3\""]
    {
        assert!(wrong.contains(line), "{line:?} is not in {wrong}");
    }
    case.run(&["test", "shout", "--bless"]).ok();
    case.run(&["test", "shout"]).ok();
}

/// Types the commands of a folder's README, which are indented, and looks for the files that it names.
fn follow_readme(case: &Case, folder: &Path) {
    let text = fs::read_to_string(folder.join("README.md")).unwrap();
    for file in text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(folder.join(file).exists(), "README.md names {file}, which is not there");
    }
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in &commands {
        let mut shell = case.command_of(Path::new("bash"), &["-c", command]);
        shell.current_dir(folder).env("PATH", path_of_commands()).env_remove("CARGO_TARGET_DIR");
        let ran = case.run_command(shell);
        assert_eq!(ran.code, 0, "{command}: {}{}", ran.stdout, ran.stderr);
        if command.contains("| pipehost run") {
            assert_eq!(ran.stdout, "AN ERROR\nfine\n", "{command}");
        }
    }
}

/// What the commands of a page do.
const TYPED: Language = Language {
    name: "",
    page: None,
    needs: &[],
    install: "",
    unit_test: "",
    is_reproducible: true,
};

#[test]
fn rust() {
    try_it(&Language {
        name: "rust",
        page: Some("rust.md"),
        needs: &["cargo"],
        is_reproducible: true,
        ..TYPED
    });
}

#[test]
fn c() {
    try_it(&Language {
        name: "c",
        page: Some("c.md"),
        needs: &["clang", "wasm-ld"],
        is_reproducible: true,
        ..TYPED
    });
}

#[test]
fn go() {
    try_it(&Language {
        name: "go",
        page: Some("go.md"),
        needs: &["go"],
        is_reproducible: true,
        ..TYPED
    });
}

#[test]
fn zig() {
    try_it(&Language {
        name: "zig",
        page: Some("zig.md"),
        needs: &["python-zig"],
        is_reproducible: true,
        ..TYPED
    });
}

#[test]
fn javascript() {
    try_it(&Language {
        name: "javascript",
        page: Some("javascript.md"),
        needs: &["npm"],
        is_reproducible: false, // The builder puts hash seeds into the snapshot of its engine.
        ..TYPED
    });
}

#[test]
fn typescript() {
    try_it(&Language {
        name: "typescript",
        page: None,
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
        page: Some("assemblyscript.md"),
        needs: &["npm"],
        is_reproducible: true,
        ..TYPED
    });
}

#[test]
fn python() {
    try_it(&Language {
        name: "python",
        page: Some("python.md"),
        needs: &["componentize-py", "pytest"],
        is_reproducible: false, // Python puts its hash seed into the snapshot.
        ..TYPED
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
    let case = Case::new()
        .file("pipehost.toml", "[build]\ncommand = \"echo hm; exit 3\"\noutput = \"x.wasm\"\n");
    case.run(&["build"]).code(1).says("hm").says("failed (exit status: 3)");
    let case =
        Case::new().file("pipehost.toml", "[build]\ncommand = \"true\"\noutput = \"x.wasm\"\n");
    case.run(&["build"]).code(1).says("made no x.wasm");
    // What a build leaves running does not hold it.
    let command = "tail -f /dev/null & echo $! > left";
    let project = format!("[build]\ncommand = \"{command}\"\noutput = \"x.wasm\"\n");
    let case = Case::new().file("pipehost.toml", project);
    case.run(&["build"]).code(1).says("made no x.wasm");
    sh(&case.path("."), "kill $(cat left)");
}

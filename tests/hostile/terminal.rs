//! Text of strangers, in every field that a verb prints, on a terminal.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Case, Pipeline, assemble};

/// Sets a title, moves the cursor, clears, turns text around, forges a line.
const HOSTILE: &str =
    "\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}1m\u{202e}\u{2066}\u{200f}\r\n\u{8}\u{85}FORGED";

/// Runs a verb on a terminal, and gives what came to its screen.
fn on_terminal(case: &Case, arguments: &[&str]) -> Vec<u8> {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&control).unwrap();
    unlockpt(&control).unwrap();
    let name = ptsname(&control, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let end = |terminal: &File| Stdio::from(OwnedFd::from(terminal.try_clone().unwrap()));
    let mut child = case
        .command(arguments)
        .env("NO_COLOR", "1")
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .stdout(end(&terminal))
        .stderr(end(&terminal))
        .spawn()
        .unwrap();
    drop(terminal);
    let mut screen = Vec::new();
    // It ends with an error once nobody has the other end.
    let _ = File::from(control).read_to_end(&mut screen);
    child.wait().unwrap();
    screen
}

#[track_caller]
fn is_harmless(case: &Case, arguments: &[&str]) -> String {
    let screen = on_terminal(case, arguments);
    let text = String::from_utf8_lossy(&screen).into_owned();
    // The terminal makes a carriage return and a line feed of each line end.
    let plain = text.replace("\r\n", "\n");
    let harmful = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!plain.contains(harmful), "{arguments:?}: {plain:?}");
    assert!(!plain.lines().any(|line| line.starts_with("FORGED")), "{arguments:?}: {plain}");
    plain
}

/// The bytes of a text, for the text of a module.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

fn words(numbers: &[usize]) -> String {
    let bytes = numbers.iter().flat_map(|n| (*n as u32).to_le_bytes());
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

/// A guest that says this of itself wherever it can, and fails with it.
fn guest() -> String {
    with_schema(&format!(
        "{{\"type\":\"object\",\"required\":[\"a\"],\"description\":{text},\
         \"properties\":{{\"a\":{{\"description\":{text},\"type\":\"integer\",\"const\":{text}}}}}}}",
        text = serde_json::to_string(HOSTILE).unwrap()
    ))
}

fn with_schema(schema: &str) -> String {
    let (text, described) = (4096, 8192);
    assemble(&format!(
        r#"
(data (i32.const {text}) "{hostile}")
(data (i32.const {described}) "{schema}")
;; describe: name, version, summary, schema.
(data (i32.const 64) "{description}")
;; open: ok; reads an attribute of this name; one port.
(data (i32.const 512) "{head}{plan}")
(data (i32.const 1024) "{attribute}")
(data (i32.const 700) "{error}")
(func $open (param i32 i32) (result i32) (i32.const 512))
(func $process (param i32) (result i32) (i32.const 700))
(func $finish (result i32) (i32.const 700))
"#,
        hostile = escaped(HOSTILE),
        schema = escaped(schema),
        description = words(&[
            text,
            HOSTILE.len(),
            text,
            HOSTILE.len(),
            text,
            HOSTILE.len(),
            described,
            schema.len()
        ]),
        head = words(&[0, 1 << 16]),
        plan = words(&[1024, 1, 96, 1, 0, 0]),
        attribute = words(&[text, HOSTILE.len()]),
        error = words(&[1, text, HOSTILE.len()]),
    ))
}

#[test]
fn what_a_component_says_of_itself() {
    let case = Case::new().file("guest.wat", guest());
    let said = is_harmless(&case, &["inspect", "guest.wat", "--set", "a=1"]);
    assert!(said.contains(r"\u{202e}"), "{said}");
    assert!(said.contains("attribute `"), "{said}");
}

fn pipeline(config: &str) -> Case {
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("guest", "guest.wat", &format!("on_error = \"dead-letter\"\n{config}"))
        .sink("out", "null", "");
    Case::new()
        .file("guest.wat", guest())
        .file("in.txt", "x\n")
        .file("pipeline.toml", pipeline.to_string())
}

#[test]
fn what_a_schema_says_of_a_mistake() {
    for config in
        ["", "config = { a = \"x\" }", "config = { a = 1 }", "config = { \"\\u202E\" = 1 }"]
    {
        is_harmless(&pipeline(config), &["check", "pipeline.toml"]);
    }
}

#[test]
fn what_a_failing_stage_says() {
    let case = pipeline("").file("guest.wat", with_schema("{}"));
    for arguments in [
        &["run", "pipeline.toml"][..],
        &["run", "pipeline.toml", "--verbose"],
        &["run", "pipeline.toml", "--log-format", "json"],
    ] {
        let said = is_harmless(&case, arguments);
        assert!(said.contains("failed when it was asked to finish"), "{said}");
    }
    let listed = is_harmless(&case, &["dead-letter", "list", "dead"]);
    assert!(listed.contains(r"\u{1b}[2J"), "{listed}");
}

#[test]
fn what_is_in_dead_letters_and_file_names() {
    let member = serde_json::to_string(HOSTILE).unwrap();
    let refused = r#"on_error = "dead-letter""#;
    let codec = r#"codec = { type = "json", key = "k", attributes = "*" }"#;
    let pipeline = Pipeline::with("dead_letters = \"dead\"\nstate = \"state\"")
        .source("in", "file", &format!("paths = \"logs-*\"\n{refused}\n{codec}"))
        .stage("double", "double", refused)
        .sink("out", "null", "");
    let name = HOSTILE.replace('/', "_");
    let input = format!("{{{member}:{member},\"k\":{member}}}\nbad {HOSTILE}\n");
    let case = Case::new()
        .file(&format!("logs-{name}"), input)
        .file("pipeline.toml", pipeline.to_string());
    is_harmless(&case, &["run", "pipeline.toml"]);
    let shown = is_harmless(&case, &["dead-letter", "show", "dead"]);
    assert!(shown.contains("attribute   "), "{shown}");
    for arguments in [
        &["dead-letter", "list", "dead"][..],
        &["dead-letter", "export", "dead"],
        &["state", "show", "state"],
        &["state", "show", "state", "--json"],
        &["dead-letter", "show", "none"],
    ] {
        is_harmless(&case, arguments);
    }
}

#[test]
fn what_is_in_a_text_that_is_no_module() {
    for text in
        [format!("(module {HOSTILE}"), format!("(module \"{HOSTILE}\")"), HOSTILE.to_owned()]
    {
        let case = pipeline("").file("guest.wat", text);
        is_harmless(&case, &["check", "pipeline.toml"]);
        is_harmless(&case, &["inspect", "guest.wat"]);
    }
    let case = pipeline(&format!("# {HOSTILE}\nnonsense = \"{HOSTILE}\""));
    is_harmless(&case, &["check", "pipeline.toml"]);
}

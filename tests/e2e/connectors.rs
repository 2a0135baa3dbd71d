//! Sources and sinks, and input that nobody wishes for.

use std::fs;

use crate::harness::{Case, Pipeline, Ran, letters};

/// A source and a sink with a guest between that sends everything on.
fn case(source: &str, sink: &str) -> Case {
    Case::new().file("pass.wat", crate::harness::guest("pass")).file(
        "pipeline.toml",
        format!(
            "[pipeline]\ndead_letters = \"dead\"\n\
             [[source]]\nname = \"in\"\n{source}\n\
             [[stage]]\nname = \"pass\"\nplugin = \"pass.wat\"\ninput = \"in\"\n\
             [[sink]]\nname = \"out\"\ninput = \"pass\"\n{sink}\n"
        ),
    )
}

const FILE: &str = "type = \"file\"\npaths = \"in\"";
const STDOUT: &str = "type = \"stdout\"";

#[test]
fn stdin_to_stdout() {
    case("type = \"stdin\"", STDOUT).stdin("a\nb").pipeline().ok().prints("a\nb\n");
    case("type = \"stdin\"", STDOUT).stdin("").pipeline().ok().prints("");
}

#[test]
fn files_and_patterns_in_order() {
    let many =
        case("type = \"file\"\npaths = [\"z\", \"logs/*.log\"]", STDOUT).file("z", "first\n");
    fs::create_dir(many.path("logs")).unwrap();
    let many = many
        .file("logs/b.log", "b\nno newline")
        .file("logs/a.log", "a\n")
        .file("logs/c.txt", "no\n");
    many.pipeline().ok().prints("first\na\nb\nno newline\n");
}

#[test]
fn inputs_that_are_not_there() {
    let refused = |paths: &str, code: i32, why: &str| {
        let case = case(&format!("type = \"file\"\npaths = {paths}"), STDOUT);
        case.pipeline().code(code).says(why);
    };
    refused("\"missing\"", 2, "there is no file missing");
    refused("\"*.nothing\"", 1, "no file matches *.nothing");
    refused("\"/tmp\"", 2, "cannot read /tmp: it is a folder");
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let case = case(FILE, "type = \"file\"\npath = \"out\"").file("in", b"\xff\xfe\0\nb\n");
    case.pipeline().ok();
    assert_eq!(fs::read(case.path("out")).unwrap(), b"\xff\xfe\0\nb\n");
}

#[test]
fn a_line_of_100_mb_is_rejected_and_not_held() {
    let mut input = b"before\n".to_vec();
    input.resize(input.len() + 100_000_000, b'x');
    input.extend_from_slice(b"\nafter\n");
    let case = case(&format!("{FILE}\non_error = \"dead-letter\""), STDOUT).file("in", input);
    case.pipeline().ok().prints("before\nafter\n");
    let letters = letters(&case, "dead");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].number, 2);
    assert_eq!(letters[0].reason, "the line has 100000000 bytes, and max_line allows 1048576");
}

#[test]
fn a_line_that_is_too_long_fails_the_pipeline_by_default() {
    let codec = "codec = { type = \"lines\", max_line = \"10B\" }";
    case(&format!("{FILE}\n{codec}"), STDOUT)
        .file("in", "short\nmuch too long a line\n")
        .pipeline()
        .code(1)
        .says("source `in` rejected record 2 of in: the line has 20 bytes, and max_line allows 10");
}

#[test]
fn json_in_and_out() {
    let codec = "codec = { type = \"json\", attributes = \"*\", key = \"id\", timestamp = \"at\", value = \"text\" }";
    let json = case(
        &format!("{FILE}\n{codec}\non_error = \"dead-letter\""),
        "type = \"stdout\"\ncodec = \"json\"",
    )
    .file("in", "{\"id\":1,\"at\":\"2023-10-27T10:00:00Z\",\"text\":\"hi\"}\nnot json\n");
    json.pipeline().ok().prints(
        "{\"timestamp\":\"2023-10-27T10:00:00Z\",\"key\":\"1\",\"value\":\"hi\",\
         \"attributes\":{\"id\":\"1\",\"at\":\"2023-10-27T10:00:00Z\",\"text\":\"hi\"}}\n",
    );
    assert!(letters(&json, "dead")[0].reason.starts_with("not a JSON object: "));
}

#[test]
fn frames_out_and_in_again() {
    let case =
        case(FILE, "type = \"file\"\npath = \"frames\"\ncodec = \"frames\"").file("in", "a\n\nb\n");
    case.pipeline().ok();
    let back = |bytes: Vec<u8>| -> Ran {
        let source =
            "type = \"file\"\npaths = \"frames\"\ncodec = \"frames\"\non_error = \"dead-letter\"";
        self::case(source, STDOUT).file("frames", bytes).pipeline()
    };
    let bytes = fs::read(case.path("frames")).unwrap();
    back(bytes.clone()).ok().prints("a\n\nb\n");
    // Torn: what is whole goes through, and the rest is a dead letter.
    back(bytes[..bytes.len() - 1].to_vec())
        .ok()
        .prints("a\n\n")
        .says("1 records are in the dead letters");
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    back(damaged).code(1).says("frame 3 of frames: the frame is damaged: its checksum is wrong");
}

#[test]
fn a_file_appears_complete_or_not_at_all() {
    let sink = "type = \"file\"\npath = \"out\"";
    let codec = "codec = { type = \"lines\", max_line = \"10B\" }\nbatch = { records = 1 }";
    let fails = case(&format!("{FILE}\n{codec}"), sink)
        .file("in", "one\ntwo\nmuch too long a line\n")
        .file("out", "what was there before\n");
    fails.pipeline().code(1);
    assert_eq!(fails.read("out"), "what was there before\n");
    let left: Vec<_> =
        fs::read_dir(fails.folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".pipehost-")), "{left:?}");
    let fails = fails.file("in", "one\ntwo\n");
    fails.pipeline().ok();
    assert_eq!(fails.read("out"), "one\ntwo\n");
}

#[test]
fn a_file_that_is_appended_to() {
    let case = case(FILE, "type = \"file\"\npath = \"out\"\nappend = true").file("in", "more\n");
    let case = case.file("out", "first\n");
    case.pipeline().ok();
    case.pipeline().ok();
    assert_eq!(case.read("out"), "first\nmore\nmore\n");
}

#[test]
fn places_that_cannot_be_written() {
    let refused = |path: &str, code: i32, why: &str| {
        let case = case(FILE, &format!("type = \"file\"\npath = \"{path}\"")).file("in", "a\n");
        case.pipeline().code(code).says(why);
    };
    refused("missing/out", 2, "the folder missing does not exist");
    refused("/dev/full", 1, "cannot write /dev/full: No space left on device");
    refused("/proc/out", 1, "cannot write /proc/out: ");
}

#[test]
fn a_device_is_written_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    case(FILE, "type = \"file\"\npath = \"/dev/null\"").file("in", "a\n").pipeline().ok();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn dead_letters_on_a_full_disk_fail_the_pipeline() {
    let source = format!(
        "{FILE}\non_error = \"dead-letter\"\ncodec = {{ type = \"lines\", max_line = \"1B\" }}"
    );
    let case = case(&source, STDOUT).file("in", "long\n");
    std::os::unix::fs::symlink("/dev/full", case.path("dead")).unwrap();
    case.pipeline().code(1).says("cannot write the dead letters dead: No space left on device");
}

#[test]
fn dead_letters_are_appended_behind_a_torn_one() {
    let source = format!(
        "{FILE}\non_error = \"dead-letter\"\ncodec = {{ type = \"lines\", max_line = \"1B\" }}"
    );
    let case = case(&source, STDOUT).file("in", "long\nlonger\n");
    case.pipeline().ok();
    let bytes = fs::read(case.path("dead")).unwrap();
    fs::write(case.path("dead"), &bytes[..bytes.len() - 3]).unwrap();
    case.run(&["dead-letter", "list", "dead"]).ok().says("the last letter of dead is torn");
    case.pipeline().ok().says("cut ").says(" bytes off the end of dead");
    let numbers: Vec<_> = letters(&case, "dead").iter().map(|letter| letter.number).collect();
    assert_eq!(numbers, [1, 1, 2]);
}

#[test]
fn a_damaged_file_of_dead_letters_is_named_and_not_appended_to() {
    let source = format!(
        "{FILE}\non_error = \"dead-letter\"\ncodec = {{ type = \"lines\", max_line = \"1B\" }}"
    );
    let case = case(&source, STDOUT).file("in", "long\n");
    case.pipeline().ok();
    let mut bytes = fs::read(case.path("dead")).unwrap();
    bytes[20] ^= 1;
    fs::write(case.path("dead"), &bytes).unwrap();
    let damaged = "letter 1, at byte 0: the frame is damaged: its checksum is wrong";
    case.run(&["dead-letter", "list", "dead"]).code(1).says(damaged);
    case.pipeline().code(1).says(damaged);
    assert_eq!(fs::read(case.path("dead")).unwrap(), bytes);
    case.run(&["dead-letter", "list", "pipeline.toml"]).code(1).says("it is not a frame");
    case.run(&["dead-letter", "list", "missing"]).code(2).says("cannot read missing");
}

#[test]
fn dead_letters_are_listed_shown_and_exported() {
    let source = format!("{FILE}\non_error = \"dead-letter\"\ncodec = \"json\"");
    let case = case(&source, STDOUT).file("in", "\u{1b}[2J\n{}\n");
    case.pipeline().ok();
    let list = case.run(&["dead-letter", "list", "dead"]).ok().stdout;
    assert!(list.contains("in:1") && list.contains("not a JSON object"), "{list}");
    let show = case.run(&["dead-letter", "show", "dead", "1"]).ok().stdout;
    assert!(
        show.contains("value       \\u{1b}[2J\n"),
        "no escape sequence reaches the terminal: {show}"
    );
    case.run(&["dead-letter", "show", "dead", "2"]).code(2).says("has no letter 2");
    case.run(&["dead-letter", "export", "dead", "--format", "lines"]).ok().prints("\u{1b}[2J\n");
}

#[test]
fn a_file_rotates_by_size_and_by_age() {
    let run = |sink: &str, pipeline: &str| {
        let pipeline = Pipeline::with(pipeline)
            .source("in", "generate", "count = 1000\nbatch = { records = 10 }")
            .sink("out", "file", &format!("path = \"out\"\n{sink}"));
        let case = Case::new().file("pipeline.toml", pipeline.to_string());
        case.pipeline().ok();
        case
    };
    let expected: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    for how in ["", "append = true"] {
        for state in ["", "state = \"state\""] {
            let case = run(&format!("{how}\nrotate = {{ size = \"1KiB\" }}"), state);
            assert_eq!(case.read_rotated("out"), expected);
            assert_eq!(case.read("out.1").len(), 1052, "the first batch at which it is that large");
            assert!(case.path("out.3").exists() && !case.path("out.4").exists());
            // The next run goes on with the numbers.
            case.pipeline().ok();
            assert_eq!(case.path("out.4").exists(), state.is_empty());
        }
    }
    let case = run("rate = 10_000\nrotate = { every = \"10ms\" }", "");
    assert_eq!(case.read_rotated("out"), expected);
    assert!(case.path("out.2").exists());
    let case = run("rotate = { size = \"1GiB\" }", "");
    assert!(!case.path("out.1").exists());
}

#[test]
fn records_go_to_files_by_what_they_hold_and_never_to_another_folder() {
    let input = "{\"l\":\"INFO\",\"v\":1}\n{\"l\":\"../../x\",\"v\":2}\n{\"v\":3}\n\
                 {\"l\":\".hidden\",\"v\":4}\n{\"l\":\"INFO\",\"v\":5}\n";
    let codec = r#"codec = { type = "json", attributes = ["l"], value = "v" }"#;
    let pipeline = |state: &str, path: &str| {
        Pipeline::with(state)
            .source("in", "file", &format!("paths = \"in.json\"\n{codec}"))
            .sink("out", "file", &format!("path = \"{path}\""))
            .to_string()
    };
    for state in ["", "state = \"state\""] {
        let case = Case::new()
            .file("in.json", input)
            .file("pipeline.toml", pipeline(state, "out/{l}.txt"));
        case.pipeline().ok();
        let files =
            [("INFO", "1\n5\n"), ("%2E.%2F..%2Fx", "2\n"), ("none", "3\n"), ("%2Ehidden", "4\n")];
        for (name, expected) in files {
            assert_eq!(case.read(&format!("out/{name}.txt")), expected, "{name}");
        }
        assert_eq!(fs::read_dir(case.path("out")).unwrap().count(), 4);
    }
    let appending = pipeline("state = \"state\"", "out/{l}.txt") + "append = true\n";
    Case::new().file("in.json", "").file("pipeline.toml", appending).pipeline().code(2).says(
        "the sink `out` may make a file between two checkpoints, and what it had appended to that",
    );
    let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline("", "{value}"));
    case.pipeline().code(2).says("there would be a file for each value");
}

#[test]
fn a_file_of_many_that_was_taken_away_is_begun_anew() {
    let codec = r#"codec = { type = "json", attributes = ["l"], value = "v" }"#;
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", &format!("paths = \"in.json\"\n{codec}"))
        .sink("out", "file", r#"path = "out/{l}.txt""#);
    let case = Case::new()
        .file("in.json", "{\"l\":\"a\",\"v\":1}\n{\"l\":\"b\",\"v\":2}\n")
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok();
    fs::rename(case.path("out/a.txt"), case.path("archived")).unwrap();
    case.append("in.json", "{\"l\":\"a\",\"v\":3}\n{\"l\":\"b\",\"v\":4}\n");
    case.pipeline().ok().says("out/a.txt is gone: if it stays so, it is begun anew");
    assert_eq!((&*case.read("archived"), &*case.read("out/a.txt")), ("1\n", "3\n"));
    assert_eq!(case.read("out/b.txt"), "2\n4\n");
    // A folder that was not there for a while comes back with all that was in it.
    fs::rename(case.path("out"), case.path("away")).unwrap();
    case.pipeline().ok();
    fs::rename(case.path("away"), case.path("out")).unwrap();
    case.append("in.json", "{\"l\":\"a\",\"v\":5}\n");
    case.pipeline().ok();
    assert_eq!((&*case.read("out/a.txt"), &*case.read("out/b.txt")), ("3\n5\n", "2\n4\n"));
}

#[test]
fn more_files_are_open_than_the_soft_limit_says() {
    let source = "paths = \"in.json\"\ncodec = { type = \"json\", key = \"k\" }";
    let pipeline =
        Pipeline::new().source("in", "file", source).sink("out", "file", r#"path = "out/{key}""#);
    let input: String = (0..500).map(|n| format!("{{\"k\":{n}}}\n")).collect();
    let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
    let limited = std::process::Command::new("sh")
        .current_dir(case.folder.path())
        .args(["-c", "ulimit -Sn 200; exec \"$0\" run pipeline.toml"])
        .arg(env!("CARGO_BIN_EXE_pipehost"))
        .stdin(std::process::Stdio::null())
        .status();
    assert!(limited.unwrap().success());
    assert_eq!(fs::read_dir(case.path("out")).unwrap().count(), 500);
}

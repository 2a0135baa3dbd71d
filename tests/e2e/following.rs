//! Files that grow, are rotated, truncated, compressed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, wait};

fn following(paths: &str, state: &str) -> Case {
    let source = format!("paths = {paths}\nfollow = true\nbatch = {{ linger = \"0s\" }}");
    let pipeline = Pipeline::with(state).source("in", "file", &source).sink("out", "stdout", "");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

/// A run whose output is read line by line.
struct Run {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Run {
    fn start(case: &Case) -> Self {
        let mut child = case.spawn(&["run", "pipeline.toml"]);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    #[track_caller]
    fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), *expected);
        }
    }

    /// Waits until the log has this.
    fn says(&mut self, text: &str) {
        let mut log = BufReader::new(self.child.stderr.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        }
    }

    fn stop(self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let ran = wait(self.child);
        assert!(ran.code > 128, "{ran:?}");
    }
}

#[test]
fn what_is_appended_is_read_and_half_a_line_waits_for_its_end() {
    let case = following("\"in.log\"", "").file("in.log", "a\n");
    let mut run = Run::start(&case);
    run.expect(&["a"]);
    case.append("in.log", "b\nhal");
    run.expect(&["b"]);
    case.append("in.log", "f\n");
    run.expect(&["half"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_file_may_come_later_be_rotated_and_truncated() {
    let case = following("\"in.log\"", "");
    let log = case.path("in.log");
    let mut run = Run::start(&case);
    case.append("in.log", "first\n");
    run.expect(&["first"]);
    // Rotated by rename; the last line of the old file has no end.
    case.append("in.log", "last");
    fs::rename(&log, case.path("in.log.1")).unwrap();
    case.append("in.log", "new\n");
    // A writer that has not heard of it goes on in the old file.
    case.append("in.log.1", " line\n");
    let (mut a, mut b) = (String::new(), String::new());
    run.stdout.read_line(&mut a).unwrap();
    run.stdout.read_line(&mut b).unwrap();
    let mut both = [a, b];
    both.sort();
    assert_eq!(both, ["last line\n", "new\n"]);
    // Rotated by copy and truncate.
    fs::write(&log, "").unwrap();
    case.append("in.log", "x\n");
    run.expect(&["x"]);
    fs::remove_file(&log).unwrap();
    case.append("in.log", "again\n");
    run.expect(&["again"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_pattern_finds_files_that_come_later() {
    let case = following("\"*.log\"", "").file("a.log", "a\n");
    let mut run = Run::start(&case);
    run.expect(&["a"]);
    case.append("b.log", "b\n");
    run.expect(&["b"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_run_goes_on_where_the_last_one_stopped_although_the_file_was_rotated() {
    let case = following("\"in.log\"", "state = \"state\"").file("in.log", "a\nb\n");
    let mut run = Run::start(&case);
    run.expect(&["a", "b"]);
    run.stop(Signal::TERM);
    case.append("in.log", "c\n");
    fs::rename(case.path("in.log"), case.path("in.log.1")).unwrap();
    case.append("in.log", "d\n");
    let mut run = Run::start(&case);
    run.expect(&["c", "d"]);
    case.append("in.log", "e\n");
    run.expect(&["e"]);
    run.stop(Signal::TERM);
    let mut run = Run::start(&case);
    case.append("in.log", "f\n");
    run.expect(&["f"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_file_that_is_truncated_is_read_anew_although_it_begins_as_it_did() {
    // Longer than the head by which a file is known.
    let head = format!("{}\n", "#".repeat(2000));
    let case = following("\"in.log\"", "state = \"state\"").file("in.log", format!("{head}a\nb\n"));
    let log = case.path("in.log");
    let mut run = Run::start(&case);
    run.expect(&[head.trim_end(), "a", "b"]);
    fs::write(&log, &head).unwrap();
    run.expect(&[head.trim_end()]);
    case.append("in.log", "c\nd\n");
    run.expect(&["c", "d"]);
    run.stop(Signal::TERM);
    // Nobody looked when it was.
    fs::write(&log, format!("{head}e\n")).unwrap();
    let mut run = Run::start(&case);
    run.expect(&[head.trim_end(), "e"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_compressed_file_is_known_once_it_has_begun() {
    let case = following("\"*.log\"", "").file("a.log", "").file("b.log", "b\n");
    let mut run = Run::start(&case);
    run.expect(&["b"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"zipped\n").unwrap();
    fs::write(case.path("a.log"), gzip.finish().unwrap()).unwrap();
    run.expect(&["zipped"]);
    run.stop(Signal::TERM);
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", r#"paths = ["b.log", "*.log"]"#)
        .sink("out", "stdout", "");
    let case = Case::new()
        .file("a.log", "a\n")
        .file("b.log", "b\n")
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("b\na\n").says("b.log is named twice: it is read once");
    case.pipeline().ok().prints("");
}

#[test]
fn a_pipe_among_files_is_read_in_its_turn() {
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", r#"paths = ["a.log", "b.log", "c.log"]"#)
        .sink("out", "stdout", "");
    let case = Case::new()
        .file("a.log", "a\n")
        .file("c.log", "c\n")
        .file("pipeline.toml", pipeline.to_string());
    let pipe = case.path("b.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let compressed = zstd::encode_all(&b"z\n"[..], 3).unwrap();
    let given = [("a\nb\nc\n", &b"b\n"[..]), ("b\n", b"b\n"), ("z\n", &compressed)];
    for (expected, bytes) in given {
        let run = case.spawn(&["run", "pipeline.toml"]);
        fs::write(&pipe, bytes).unwrap(); // Waits until it is opened.
        wait(run).ok().prints(expected);
    }
}

#[test]
fn a_pattern_means_regular_files_and_links_that_stay() {
    let pipeline =
        Pipeline::new().source("in", "file", r#"paths = "logs/*.log""#).sink("out", "stdout", "");
    let case =
        Case::new().file("outside.log", "outside\n").file("pipeline.toml", pipeline.to_string());
    fs::create_dir(case.path("logs")).unwrap();
    let case = case.file("logs/a.log", "a\n").file("logs/b.txt", "b\n");
    assert!(Command::new("mkfifo").arg(case.path("logs/c.log")).status().unwrap().success());
    std::os::unix::fs::symlink("b.txt", case.path("logs/b.log")).unwrap();
    std::os::unix::fs::symlink("../outside.log", case.path("logs/d.log")).unwrap();
    case.pipeline()
        .ok()
        .prints("a\nb\n")
        .says("logs/c.log is not read: it is not a regular file")
        .says("logs/d.log is not read: it is a link that leads out of the folder");
    let links = case.read("pipeline.toml").replace("paths", "follow_links = true\npaths");
    let case = case.file("links.toml", links);
    case.run(&["run", "links.toml"]).ok().prints("a\nb\noutside\n");
    // Who writes the folder may use the very name of the pattern, and links that lead nowhere.
    std::os::unix::fs::symlink("../outside.log", case.path("logs/*.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", case.path("logs/e.log")).unwrap();
    std::os::unix::fs::symlink("f.log", case.path("logs/f.log")).unwrap();
    case.pipeline().ok().prints("a\nb\n").says("logs/*.log is not read: it is a link");
    fs::remove_file(case.path("logs/*.log")).unwrap();
    let case = case.file("logs/*.log", "star\n");
    case.pipeline().ok().prints("star\na\nb\n");
}

#[test]
fn ten_thousand_files_are_each_read_once() {
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", r#"paths = "logs/*""#)
        .sink("out", "file", r#"path = "out.txt""#);
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    fs::create_dir(case.path("logs")).unwrap();
    let name = |n: u32| format!("logs/{n:05}");
    let mut expected: Vec<_> = (0..10_500).map(|n| format!("{n}\n")).collect();
    for (n, line) in (0..).zip(&expected) {
        fs::write(case.path(&name(n)), line).unwrap();
    }
    case.pipeline().ok();
    assert!(case.read("out.txt") == expected.concat());
    // All but one are as they were; that one was renamed, too.
    case.append(&name(7), "more\n");
    fs::rename(case.path(&name(7)), case.path("logs/renamed")).unwrap();
    case.pipeline().ok();
    expected.push("more\n".to_owned());
    assert!(case.read("out.txt") == expected.concat());
}

#[test]
fn a_rotated_file_that_the_pattern_matches_too_is_read_once() {
    let case = following("\"in.log*\"", "state = \"state\"").file("in.log", "a\n");
    let mut run = Run::start(&case);
    run.expect(&["a"]);
    run.stop(Signal::TERM);
    fs::rename(case.path("in.log"), case.path("in.log.1")).unwrap();
    case.append("in.log.1", "b\n");
    case.append("in.log", "c\n");
    let mut run = Run::start(&case);
    run.expect(&["b", "c"]);
    // Longer than a file without a name may still grow.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    case.append("in.log.1", "d\n");
    run.expect(&["d"]);
    run.stop(Signal::TERM);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let case = following("\"in.log\"", "state = \"state\"").file("in.log", "a\n");
    let mut run = Run::start(&case);
    run.expect(&["a"]);
    run.stop(Signal::TERM);
    // In place: the same inode under a name that nobody reads, with something else in it.
    fs::rename(case.path("in.log"), case.path("other")).unwrap();
    fs::write(case.path("other"), "secret\n").unwrap();
    case.append("in.log", "b\n");
    let mut run = Run::start(&case);
    run.expect(&["b"]);
    run.stop(Signal::TERM);
}

#[test]
fn compressed_files_are_known_by_what_they_hold() {
    let case = Case::new().file("plain", "a\n").file("zipped", "b\nc\n").file("packed", "d\n");
    let compress = |program: &str, name: &str| {
        let made = Command::new(program).arg("-q").arg(case.path(name)).status();
        made.is_ok_and(|status| status.success())
    };
    assert!(compress("gzip", "zipped"));
    // Zstandard's program is not everywhere; this is its frame of `d\n`.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x02, 0x11, 0x00, 0x00, b'd', b'\n'];
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", r#"paths = ["plain", "zipped.gz", "packed"]"#)
        .sink("out", "stdout", "");
    let case = case.file("packed", zstd).file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("a\nb\nc\nd\n");
    case.pipeline().ok().prints("");
    // Its second half is gone.
    let whole = fs::read(case.path("zipped.gz")).unwrap();
    fs::write(case.path("cut.gz"), &whole[..whole.len() - 6]).unwrap();
    let text = case.read("pipeline.toml").replace("\"packed\"", "\"cut.gz\"");
    case.file("pipeline.toml", text).pipeline().code(1).says("cut.gz: ");
}

#[test]
fn files_that_are_there_may_be_read_from_their_end_on() {
    let pipeline = |state: &str| {
        let source =
            "paths = \"*.log\"\nfollow = true\nbegin_at = \"end\"\nbatch = { linger = \"0s\" }";
        Pipeline::with(state).source("in", "file", source).sink("out", "stdout", "").to_string()
    };
    for state in ["", "state = \"state\""] {
        let case = Case::new().file("a.log", "old\nol").file("pipeline.toml", pipeline(state));
        let mut run = Run::start(&case);
        run.says("a.log is read from its end on: 4 bytes of it are left out");
        // A file that comes later is new, and is read from its begin.
        fs::write(case.path("b.log"), "new\n").unwrap();
        run.expect(&["new"]);
        case.append("a.log", "d but not ended\n");
        run.expect(&["old but not ended"]);
        run.stop(Signal::TERM);
        if !state.is_empty() {
            // The next run goes on, and does not begin at the end again.
            case.append("a.log", "meanwhile\n");
            let mut run = Run::start(&case);
            run.expect(&["meanwhile"]);
            run.stop(Signal::TERM);
        }
    }
    let text = pipeline("").replace("follow = true\n", "");
    Case::new().file("pipeline.toml", text).pipeline().code(2).says("it needs `follow = true`");
}

/// In UTF-16, neither a byte 0x0a nor an odd place ends a line.
#[test]
fn the_end_of_a_file_of_two_bytes_a_character_is_behind_a_whole_line() {
    for big in [false, true] {
        let bytes = |text: &str| -> Vec<u8> {
            let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            text.encode_utf16().flat_map(unit).collect()
        };
        let charset = if big { "utf-16be" } else { "utf-16le" };
        let source = format!(
            "paths = \"a.log\"\nfollow = true\nbegin_at = \"end\"\nbatch = {{ linger = \"0s\" }}\n\
             codec = {{ type = \"lines\", charset = \"{charset}\" }}"
        );
        let pipeline = Pipeline::new().source("in", "file", &source).sink("out", "stdout", "");
        // U+0A0A has the byte of a line end twice.
        let case = Case::new()
            .file("a.log", bytes("old\nh\u{a0a}\u{a00}"))
            .file("pipeline.toml", pipeline.to_string());
        let mut run = Run::start(&case);
        run.says("a.log is read from its end on: 8 bytes of it are left out");
        case.append("a.log", bytes("alf\n"));
        run.expect(&["h\u{a0a}\u{a00}alf"]);
        run.stop(Signal::TERM);
    }
}

#[test]
fn old_files_and_those_that_are_excluded_are_left_out() {
    let source = "paths = [\"*.log\", \"sub/**/*.log\"]\nexclude = [\"debug*\", \"sub/x/*\"]\nignore_older = \"1h\"\n\
                  metadata = { path = \"file\", offset = \"at\" }";
    let pipeline = Pipeline::new().source("in", "file", source).sink(
        "out",
        "stdout",
        "codec = { type = \"lines\", template = \"{file}@{at} {value}\" }",
    );
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    fs::create_dir_all(case.path("sub/x")).unwrap();
    for file in ["a.log", "debug.log", "old.log", "sub/b.log", "sub/x/c.log"] {
        fs::write(case.path(file), "é1\n2\n").unwrap();
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::open(case.path("old.log")).unwrap().set_modified(old).unwrap();
    case.pipeline().ok().prints("a.log@0 é1\na.log@4 2\nsub/b.log@0 é1\nsub/b.log@4 2\n");
}

#[test]
fn the_offset_of_a_record_counts_a_byte_order_mark() {
    let source = "paths = \"*.log\"\nmetadata = { offset = \"at\" }";
    let pipeline = Pipeline::new().source("in", "file", source).sink(
        "out",
        "stdout",
        "codec = { type = \"lines\", template = \"{at} {value}\" }",
    );
    let case = Case::new()
        .file("a.log", "\u{feff}one\ntwo\n")
        .file("b.log", "one\n")
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("3 one\n7 two\n0 one\n");
}

/// A file that a run has read is read on, however old it is.
#[test]
fn an_old_file_that_is_known_is_read_on() {
    let source = "paths = \"a.log\"\nignore_older = \"1h\"";
    let pipeline =
        Pipeline::with("state = \"state\"").source("in", "file", source).sink("out", "stdout", "");
    let case = Case::new().file("a.log", "1\n").file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("1\n");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    // Also as a copy at the same path, which has another inode.
    for text in ["1\n2\n", "1\n2\n3\n"] {
        fs::write(case.path("copy"), text).unwrap();
        fs::rename(case.path("copy"), case.path("a.log")).unwrap();
        fs::File::open(case.path("a.log")).unwrap().set_modified(old).unwrap();
        let expected = &text[text.len() - 2..];
        case.pipeline().ok().prints(expected);
    }
}

#[test]
fn lines_of_a_record_are_given_when_no_other_comes() {
    let codec =
        "codec = { type = \"lines\", multiline = { continues = \"^ \", timeout = \"50ms\" } }";
    let source =
        format!("paths = \"in.log\"\nfollow = true\n{codec}\nbatch = {{ linger = \"0s\" }}");
    for state in ["", "state = \"state\""] {
        let pipeline = Pipeline::with(state)
            .source("in", "file", &source)
            .sink("out", "stdout", "codec = \"json\"")
            .to_string();
        let case = Case::new().file("pipeline.toml", pipeline).file("in.log", "a\n 1\n 2\n");
        let mut run = Run::start(&case);
        run.expect(&["{\"value\":\"a\\n 1\\n 2\"}"]);
        // Half a line is none, and its record waits for it.
        case.append("in.log", "b\n 1\nc");
        run.expect(&["{\"value\":\"b\\n 1\"}"]);
        case.append("in.log", "\n");
        run.expect(&["{\"value\":\"c\"}"]);
        run.stop(Signal::TERM);
        if !state.is_empty() {
            case.append("in.log", "d\n");
            let mut run = Run::start(&case);
            run.expect(&["{\"value\":\"d\"}"]);
            run.stop(Signal::TERM);
        }
    }
}

//! Files that are followed, whatever their writer does with them: every line comes once, or a
//! warning names the file and the bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, lines, stop, wait};

fn following(paths: &str, settings: &str, state: bool) -> Case {
    let state = if state { "state = \"state\"\ncheckpoint_interval = \"5ms\"" } else { "" };
    let followed = format!("paths = {paths}\nfollow = true\nbatch = {{ linger = \"0s\" }}");
    let pipeline = Pipeline::with(state)
        .source("in", "file", &format!("{followed}\n{settings}"))
        .sink("out", "file", "path = \"out.txt\"\nappend = true");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

/// A run, and what it says on stderr.
struct Run<'a> {
    case: &'a Case,
    child: Child,
    said: mpsc::Receiver<String>,
    log: String,
}

impl<'a> Run<'a> {
    fn start(case: &'a Case) -> Self {
        let mut command = case.command_that_hears_hangups(&["run", "pipeline.toml"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let said = lines(child.stderr.take().unwrap());
        Self { case, child, said, log: String::new() }
    }

    /// Waits until the output is this.
    #[track_caller]
    fn wrote(&mut self, expected: &str) {
        let read = || fs::read_to_string(self.case.path("out.txt")).unwrap_or_default();
        while read() != expected {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.case.read("out.txt"));
            assert!(read().len() <= expected.len(), "{:?} for {expected:?}", read());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has said this.
    fn said(&mut self, text: &str) {
        while !self.log.contains(text) {
            self.log += &self.said.recv().unwrap_or_else(|_| panic!("{text:?}: {}", self.log));
            self.log.push('\n');
        }
    }

    /// Stops it, and gives all that it said.
    fn stop(self, signal: Signal) -> String {
        let Self { child, said, mut log, .. } = self;
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran = wait(child);
        assert!(ran.code > 128, "{ran:?}");
        log.extend(said.iter().map(|line| line + "\n"));
        log
    }
}

#[test]
fn a_file_that_is_written_anew_past_the_old_position_is_read_from_its_begin() {
    let header = format!("{}\n", "#".repeat(3000));
    for head in ["", &header] {
        for new in ["other line\nthat goes on past it\n", "x\n", "aaaa\nbbbb\n"] {
            let old = format!("{head}aaaa\nbbbc\n");
            let new = format!("{head}{new}");
            let case = following("\"in.log\"", "", false).file("in.log", &old);
            let mut run = Run::start(&case);
            run.wrote(&old);
            fs::write(case.path("in.log"), &new).unwrap(); // The same inode.
            run.wrote(&(old.clone() + &new));
            run.said("in.log was truncated or written anew: it is read from its begin. ");
            run.said(&format!("{} bytes of what it was were read", old.len()));
            case.append("in.log", "more\n");
            run.wrote(&(old + &new + "more\n"));
            run.stop(Signal::TERM);
        }
    }
}

#[test]
fn another_file_with_the_same_header_is_another_file() {
    let header = format!("{}\n", "column,".repeat(300));
    let (old, new) = (format!("{header}1\n2\n"), format!("{header}3\n4\n5\n"));
    let case = following("\"in.csv\"", "", true).file("in.csv", &old);
    let mut run = Run::start(&case);
    run.wrote(&old);
    run.stop(Signal::TERM);
    // Of another inode, and of the same.
    fs::rename(case.path("in.csv"), case.path("gone")).unwrap();
    fs::remove_file(case.path("gone")).unwrap();
    let case = case.file("in.csv", &new);
    let mut run = Run::start(&case);
    run.wrote(&(old.clone() + &new));
    run.stop(Signal::TERM);
    let third = format!("{header}6\n7\n8\n9\n");
    fs::write(case.path("in.csv"), &third).unwrap();
    let mut run = Run::start(&case);
    run.wrote(&(old + &new + &third));
    run.stop(Signal::TERM);
}

#[test]
fn a_writer_may_hold_a_renamed_file_until_it_is_rotated_again() {
    let case = following("\"in.log\"", "rotate_wait = \"10ms\"", false).file("in.log", "a\n");
    let mut run = Run::start(&case);
    run.wrote("a\n");
    let mut writer = OpenOptions::new().append(true).open(case.path("in.log")).unwrap();
    fs::rename(case.path("in.log"), case.path("in.log.1")).unwrap();
    case.append("in.log", "b\n");
    run.wrote("a\nb\n");
    // Longer than it may be quiet: nobody has rotated since.
    std::thread::sleep(Duration::from_millis(700));
    writer.write_all(b"late\n").unwrap();
    run.wrote("a\nb\nlate\n");
    run.stop(Signal::TERM);
}

#[test]
fn what_was_rotated_and_compressed_while_nobody_looked_is_read_on() {
    let case = following("\"in.log\"", "", true).file("in.log", "a\nb\n");
    let mut run = Run::start(&case);
    run.wrote("a\nb\n");
    run.stop(Signal::TERM);
    case.append("in.log", "unread\n");
    fs::rename(case.path("in.log"), case.path("in.log.1")).unwrap();
    assert!(Command::new("gzip").arg(case.path("in.log.1")).status().unwrap().success());
    case.append("in.log", "new\n");
    let mut run = Run::start(&case);
    run.wrote("a\nb\nunread\nnew\n");
    run.stop(Signal::TERM);
    // Once: the copy is known from now on.
    case.append("in.log", "more\n");
    let mut run = Run::start(&case);
    run.wrote("a\nb\nunread\nnew\nmore\n");
    run.stop(Signal::TERM);
    // Where it is nowhere to be found, that is said, with its name and bytes.
    fs::remove_file(case.path("in.log")).unwrap();
    case.append("in.log", "third\n");
    let mut run = Run::start(&case);
    run.wrote("a\nb\nunread\nnew\nmore\nthird\n");
    run.said("in.log, of which 9 bytes were read, is not there any more");
    run.stop(Signal::TERM);
}

#[test]
fn a_last_line_without_an_end_is_given_or_left_at_its_source() {
    for state in [false, true] {
        let case = following("\"in.log\"", "", state).file("in.log", "a\nlast");
        let mut run = Run::start(&case);
        run.wrote("a\n");
        let log = run.stop(Signal::TERM);
        let expected = if state { "a\n" } else { "a\nlast\n" };
        assert_eq!(case.read("out.txt"), expected);
        assert!(log.contains("every record that was read was delivered"), "{log}");
        if state {
            case.append("in.log", " line\n");
            let mut run = Run::start(&case);
            run.wrote("a\nlast line\n");
            run.stop(Signal::TERM);
        }
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn what_cannot_be_read_yet_is_looked_at_again_and_the_others_go_on() {
    let case = following("\"*.log*\"", "", false).file("a.log", "a\n");
    let lines: String = (0..20_000).map(|n| format!("zipped {}\n", n * 7919 % 10_007)).collect();
    let zipped = gzip(&lines);
    fs::write(case.path("b.log.gz"), &zipped[..zipped.len() / 2]).unwrap();
    assert!(Command::new("mkfifo").arg(case.path("c.log")).status().unwrap().success());
    let wide: Vec<u8> = "\u{feff}d\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(case.path("d.log"), wide).unwrap();
    let mut run = Run::start(&case);
    run.said("b.log.gz is not read: it cannot be read to its end: ");
    run.said("c.log is not read: it is not a regular file");
    run.said("d.log is not read: it is UTF-16");
    case.append("a.log", "more\n");
    let whole = |run: &mut Run<'_>| {
        let mut file = OpenOptions::new().append(true).open(case.path("b.log.gz")).unwrap();
        file.write_all(&zipped[zipped.len() / 2..]).unwrap();
        loop {
            let text = fs::read_to_string(run.case.path("out.txt")).unwrap();
            if text.lines().count() == 20_002 {
                return text;
            }
            assert!(run.child.try_wait().unwrap().is_none());
        }
    };
    let text = whole(&mut run);
    let zipped: String =
        text.lines().filter(|l| l.starts_with("zipped")).map(|l| format!("{l}\n")).collect();
    assert!(zipped == lines);
    run.stop(Signal::TERM);
}

/// Rotations behind a queue that is full: files are opened before they are gone.
#[test]
fn names_that_change_while_the_pipeline_waits_cost_nothing() {
    let case = following("\"in.log\"", "", false);
    let text = case.read("pipeline.toml") + "rate = 20_000\nqueue = 1\n";
    let text = text.replace("linger = \"0s\"", "linger = \"0s\", records = 500");
    let case = case.file("pipeline.toml", text).file("in.log", "");
    let mut run = Run::start(&case);
    let mut expected = String::new();
    for rotation in 0..6 {
        let lines: String =
            (0..3000).map(|n| format!("{rotation} {n} {}\n", "x".repeat(80))).collect();
        case.append("in.log", &lines);
        expected += &lines;
        std::thread::sleep(Duration::from_millis(350));
        fs::rename(case.path("in.log"), case.path(&format!("old.{rotation}"))).unwrap();
        case.append("in.log", "");
        if rotation > 1 {
            fs::remove_file(case.path(&format!("old.{}", rotation - 2))).unwrap();
        }
    }
    run.wrote(&expected);
    run.stop(Signal::TERM);
}

#[test]
fn deleted_files_and_idle_time_cost_no_state() {
    let case = following("\"logs/*\"", "rotate_wait = \"1ms\"", true);
    fs::create_dir(case.path("logs")).unwrap();
    let mut run = Run::start(&case);
    let mut expected = String::new();
    for n in 0..40 {
        fs::write(case.path(&format!("logs/{n}")), format!("{n}\n")).unwrap();
        expected += &format!("{n}\n");
        run.wrote(&expected);
        fs::remove_file(case.path(&format!("logs/{n}"))).unwrap();
    }
    fs::write(case.path("logs/last"), "last\n").unwrap();
    run.wrote(&(expected + "last\n"));
    // All but one are forgotten; then nothing changes, and nothing is written.
    let changed = || fs::metadata(case.path("state/state.redb")).unwrap().modified().unwrap();
    loop {
        let before = changed();
        std::thread::sleep(Duration::from_millis(300)); // Sixty checkpoints.
        if changed() == before {
            break;
        }
    }
    run.stop(Signal::TERM);
    let shown = case.run(&["state", "show", "state", "--json"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let files = shown["sources"]["in"]["position"].as_array().unwrap().len();
    assert_eq!(files, 1, "{shown:#}");
}

/// A writer that does what it likes, and a reader that is stopped and killed now and then.
#[test]
fn any_rotation_any_time_gives_every_line_once_or_a_warning() {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        // Whoever may be stopped for several rotations needs a pattern for the rotated files.
        let case = following("\"in.log*\"", "rotate_wait = \"50ms\"", true).file("in.log", "");
        let mut file = OpenOptions::new().append(true).open(case.path("in.log")).unwrap();
        let (mut next, mut written) = (0_u64, BTreeMap::new());
        let mut run = Some(Run::start(&case));
        let (mut log, mut rotations) = (String::new(), 0);
        let pause = |random: &mut fastrand::Rng| {
            std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        };
        for _ in 0..60 {
            for _ in 0..random.u64(1..200) {
                let line = format!("{seed} line {next}\n");
                file.write_all(line.as_bytes()).unwrap();
                written.insert(line, 0_u32);
                next += 1;
            }
            match random.u32(0..8) {
                0 | 1 => {
                    // By rename; the writer may go on in the old file for a while.
                    rotations += 1;
                    let old = case.path(&format!("in.log.{rotations}"));
                    fs::rename(case.path("in.log"), &old).unwrap();
                    File::create(case.path("in.log")).unwrap();
                    if random.bool() {
                        pause(&mut random);
                        let line = format!("{seed} late {next}\n");
                        file.write_all(line.as_bytes()).unwrap();
                        written.insert(line, 0);
                    }
                    file = OpenOptions::new().append(true).open(case.path("in.log")).unwrap();
                    pause(&mut random);
                }
                2 if run.is_some() => {
                    let mut rounds = 0;
                    // By truncation: what was not read by then is lost, and that is said, if
                    // something of the file was read.
                    let last = format!("{seed} line {}\n", next - 1);
                    while !fs::read_to_string(case.path("out.txt"))
                        .unwrap_or_default()
                        .contains(&last)
                    {
                        rounds += 1;
                        assert!(rounds < 1000, "{last:?} does not come");
                        pause(&mut random);
                    }
                    let line = format!("{seed} lost {next}\n");
                    file.write_all(line.as_bytes()).unwrap();
                    written.insert(line, 0);
                    file.set_len(0).unwrap();
                }
                3 => {
                    if let Some(stopped) = run.take() {
                        let signal = if random.bool() { Signal::TERM } else { Signal::KILL };
                        log += &stopped.stop(signal);
                    }
                }
                4 | 5 => {
                    run.get_or_insert_with(|| Run::start(&case));
                }
                _ => pause(&mut random),
            }
        }
        file.write_all(b"end\n").unwrap();
        let mut last = run.take().unwrap_or_else(|| Run::start(&case));
        while !fs::read_to_string(case.path("out.txt")).unwrap_or_default().contains("\nend\n") {
            assert!(last.child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(400)); // What is late may still come.
        log += &last.stop(Signal::TERM);
        for line in case.read("out.txt").lines().filter(|line| *line != "end") {
            let line = format!("{line}\n");
            let times =
                written.get_mut(&line).unwrap_or_else(|| panic!("{line:?} was not written"));
            *times += 1;
        }
        assert!(written.values().all(|times| *times <= 1), "none twice: {log}");
        let lost = written.values().filter(|times| **times == 0).count();
        let warnings = log.matches(" was truncated or written anew").count();
        assert!(lost == 0 || warnings > 0, "{lost} lines lost without a word: {log}");
    }
}

/// What a reader of `in.txt` takes, and what is left in the pipe for another.
#[test]
fn what_was_taken_from_stdin_is_delivered_and_the_rest_is_left_in_it() {
    let total = 400_000;
    let sink = "path = \"out.txt\"\nappend = true\nrate = 500_000";
    let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "file", sink);
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    for source in [format!("seq {total} |"), String::new()] {
        let script = format!(
            "{source} (\"$0\" run pipeline.toml 2> log & pid=$!; \
             while [ ! -s out.txt ] && kill -0 $pid; do :; done; kill -TERM $pid; wait $pid; \
             cat > rest){}",
            if source.is_empty() { " < input" } else { "" }
        );
        let input: String = (1..=total).map(|n| format!("{n}\n")).collect();
        fs::write(case.path("input"), &input).unwrap();
        let _ = fs::remove_file(case.path("out.txt"));
        let mut shell = Command::new("bash")
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_pipehost"))
            .current_dir(case.folder.path())
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .spawn()
            .unwrap();
        assert!(shell.wait().unwrap().success());
        let (log, rest) = (case.read("log"), case.read("rest"));
        let taken = case.read("out.txt");
        // A line of which a part was taken from a pipe is not delivered, and that is said.
        let torn = log.contains("records not delivered: 1 before or in `in`");
        let whole = format!("{taken}{rest}");
        if torn {
            assert!(!source.is_empty());
            let found = taken.lines().count() + rest.lines().count();
            assert_eq!(found, total as usize, "{log}");
        } else {
            assert!(whole == input, "{log}");
            assert!(log.contains("delivered") || rest.is_empty(), "{log}");
        }
    }
}

#[test]
fn sighup_drains_what_has_no_file_and_a_burst_of_signals_is_one() {
    let case = Case::new();
    let mut command = case.command_that_hears_hangups(&["run", "--plugin", "to-upper"]);
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"a\n").unwrap();
    let mut first = [0; 2];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"A\n");
    for _ in 0..3 {
        let _ = kill_process(Pid::from_child(&child), Signal::HUP);
    }
    let ran = stop(child, Signal::HUP).code(129);
    drop(ran.says("stopped by SIGHUP: every record that was read was delivered"));
}

#[test]
fn who_is_told_to_ignore_sighup_does() {
    let case = following("\"in.log\"", "", false).file("in.log", "a\n");
    // As by nohup(1).
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" run pipeline.toml"])
        .arg(env!("CARGO_BIN_EXE_pipehost"))
        .current_dir(case.folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = || fs::read_to_string(case.path("out.txt")).unwrap_or_default();
    while written() != "a\n" {
        assert!(child.try_wait().unwrap().is_none());
    }
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    case.append("in.log", "b\n");
    while written() != "a\nb\n" {
        assert!(child.try_wait().unwrap().is_none());
    }
    stop(child, Signal::TERM).code(143);
}

#[test]
fn what_is_closed_is_not_taken_for_empty() {
    let pipeline = Pipeline::new().source("in", "stdin", "").sink("out", "stdout", "");
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let run = |redirected: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("exec \"$0\" run pipeline.toml {redirected}")])
            .arg(env!("CARGO_BIN_EXE_pipehost"))
            .current_dir(case.folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("< /dev/null >&-");
    assert_eq!(code, Some(1));
    assert!(said.contains("the sink `out` writes to stdout, and stdout is closed"), "{said}");
    let (code, said) = run("<&- > /dev/null");
    assert_eq!(code, Some(1));
    assert!(said.contains("the source `in` reads stdin, and stdin is closed"), "{said}");
    assert_eq!(run("< /dev/null > /dev/null").0, Some(0));
    assert_eq!(run("<> /dev/null 1<> /dev/null").0, Some(0));
}

#[test]
fn a_full_device_is_no_quiet_end() {
    let pipeline = Pipeline::new()
        .source("in", "generate", "count = 10")
        .sink("out", "file", r#"path = "/dev/full""#)
        .to_string();
    let case = Case::new().file("pipeline.toml", pipeline);
    let mut said = String::new();
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    wait(child).code(1);
    assert!(said.contains("cannot write /dev/full: No space left on device"), "{said}");
}

#[test]
fn a_pipe_in_the_folder_does_not_stop_a_run_that_goes_on() {
    let case = following("\"in.log*\"", "", true).file("in.log", "a\n");
    let mut run = Run::start(&case);
    run.wrote("a\n");
    run.stop(Signal::TERM);
    for pipe in ["control.pipe", "in.log.gz"] {
        assert!(Command::new("mkfifo").arg(case.path(pipe)).status().unwrap().success());
    }
    case.append("in.log", "b\n");
    let mut run = Run::start(&case);
    run.wrote("a\nb\n");
    run.stop(Signal::TERM);
}

#[test]
fn members_that_come_to_a_compressed_file_are_read() {
    let case = following("\"in.log.gz\"", "", false).file("in.log.gz", gzip("a\nb\n"));
    let mut run = Run::start(&case);
    run.wrote("a\nb\n");
    let mut file = OpenOptions::new().append(true).open(case.path("in.log.gz")).unwrap();
    file.write_all(&gzip("c\nd\n")).unwrap();
    run.wrote("a\nb\nc\nd\n");
    run.stop(Signal::TERM);
}

#[test]
fn a_line_that_grew_between_two_runs_is_said() {
    let case = following("\"in.log\"", "", true).file("in.log", "a\nb");
    let text = case.read("pipeline.toml").replace("follow = true\n", "");
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    case.append("in.log", "cd\ne\n");
    case.pipeline().ok().says("in.log was read to its end, which was within a line, and has grown");
}

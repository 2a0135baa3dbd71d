//! How runs end: done, failed, stopped, out of time.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, guest, stop, wait};

/// stdin, one guest, stdout: the test decides what is read when.
fn piped(pipeline: &str, stage: &str) -> Pipeline {
    Pipeline::with(pipeline)
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("guest", "guest.wat", stage)
        .sink("out", "stdout", "")
}

fn case(guest_name: &str, pipeline: &Pipeline) -> Case {
    Case::new().file("guest.wat", guest(guest_name)).file("pipeline.toml", pipeline.to_string())
}

fn through(guest_name: &str, pipeline: &str, stage: &str) -> Case {
    case(guest_name, &piped(pipeline, stage))
}

/// Starts a run and waits until a first line has gone all the way through.
fn started(case: &Case) -> (Child, BufReader<ChildStdout>) {
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    child.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    (child, stdout)
}

/// Beside stdout, a sink that takes a record a second.
fn with_a_slow_sink(grace: &str) -> Case {
    let piped = piped(&format!("shutdown_grace = \"{grace}\""), "");
    case("pass", &piped.sink("slow", "null", "rate = 1"))
}

/// Starts a run, and waits until there are records that its slow sink does not take.
fn behind(case: &Case) -> (Child, BufReader<ChildStdout>) {
    let (mut child, mut stdout) = started(case);
    // The first may be taken, and then keeps the slow sink for an hour.
    for lines in [b"x\n".repeat(3600), b"y\n".to_vec()] {
        child.stdin.as_mut().unwrap().write_all(&lines).unwrap();
        // What is out here was read, and is on its way to the other sink.
        stdout.read_exact(&mut vec![0; lines.len()]).unwrap();
    }
    (child, stdout)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_stops_the_sources_and_drains_the_rest() {
    for (which, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
        let case = through("pass", "", "");
        let (child, mut stdout) = started(&case);
        signal(&child, which);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        wait(child)
            .code(code)
            .says(&format!("stopped by {name}: every record that was read was delivered"));
    }
}

#[test]
fn what_could_not_be_delivered_within_the_grace_is_said() {
    let (child, _stdout) = behind(&with_a_slow_sink("100ms"));
    stop(child, Signal::INT).code(130).says("stopped by SIGINT: records not delivered: ");
}

#[test]
fn a_second_signal_stops_at_once() {
    let (mut child, _stdout) = behind(&with_a_slow_sink("1h"));
    let stdin = child.stdin.take();
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    let ran = wait(child);
    assert!([130, 143].contains(&ran.code), "{ran:?}");
    ran.says("records not delivered: ");
    drop(stdin);
}

#[test]
fn what_a_failed_run_has_written_is_counted_and_so_is_what_it_has_read() {
    let good: String = (0..10_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let pipeline = Pipeline::new()
        .source("in", "file", "paths = \"in.json\"\ncodec = \"json\"")
        .sink("out", "file", "path = \"out.json\"\nappend = true");
    let case =
        Case::new().file("in.json", good + "bad\n").file("pipeline.toml", pipeline.to_string());
    for _ in 0..5 {
        fs::write(case.path("out.json"), "").unwrap();
        let ran = case.pipeline().code(1);
        let number = |after: &str| -> usize {
            let rest = ran.stderr.split_once(after).map_or("0", |(_, rest)| rest);
            let digits: String =
                rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
            digits.replace(',', "").parse().unwrap()
        };
        let written = case.read("out.json").lines().count();
        assert_eq!(number("pipeline: "), written, "{}", ran.stderr);
        // The last batch was not full when the bad record came.
        let missing = number("not delivered: ") + number("before or in `in`, ");
        assert_eq!(written + missing, 10_000, "{}", ran.stderr);
    }
}

#[test]
fn a_guest_that_spins_does_not_hold_up_the_end() {
    let limits = r#"limits = { fuel = 9_000_000_000_000, timeout = "1h" }"#;
    let pipeline = Pipeline::with("deadline = \"300ms\"\nshutdown_grace = \"100ms\"")
        .source("in", "generate", "")
        .stage("guest", "guest.wat", &format!("workers = 4\n{limits}"))
        .sink("out", "null", "");
    let case = case("loop-in-process", &pipeline);
    case.pipeline().code(124).says("the deadline passed: records not delivered: ");
}

#[test]
fn a_deadline_that_is_not_reached_says_nothing() {
    let case = through("pass", "deadline = \"1h\"", "");
    let ran = case.stdin("a\n").pipeline().ok();
    assert!(!ran.stderr.contains("deadline"), "{}", ran.stderr);
    ran.prints("a\n");
}

#[test]
fn a_closed_pipe_on_stdout_is_a_quiet_end() {
    let to_stdout = |count: &str| {
        Pipeline::new()
            .source("in", "generate", count)
            .stage("upper", "to-upper", "")
            .sink("out", "stdout", "")
    };
    let run = |pipeline: &Pipeline| {
        let case = Case::new().file("pipeline.toml", pipeline.to_string());
        case.closed_after_a_line();
        case
    };
    run(&to_stdout("")); // Without end, and yet it ends.
    let case = run(&to_stdout("count = 100_000").sink("copy", "file", r#"path = "copy""#));
    // Another sink still gets all.
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(case.read("copy") == expected);
}

#[test]
fn the_first_cause_ends_the_run_and_is_the_one_that_is_told() {
    let case = through("trap", "", "");
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    child.stdin.as_mut().unwrap().write_all(b"a\nb\n").unwrap();
    // stdin stays open: it is the failure that ends the run.
    let stdin = child.stdin.take();
    let ran = wait(child)
        .code(1)
        .says("error: stage `guest` rejected record 1 of stdin: trap: it trapped: ");
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
    drop(stdin);
}

#[test]
fn a_worker_that_fails_ends_the_run() {
    for settings in
        ["workers = 3", "workers = 3\nordered = false", "workers = 3\npartition = \"key\""]
    {
        let case = through(
            "poison",
            "",
            &format!("{settings}\nbatch = {{ records = 1, linger = \"0s\" }}"),
        );
        let input: String =
            (0..100).map(|n| if n == 50 { "P\n".into() } else { format!("{n}\n") }).collect();
        case.stdin(input)
            .pipeline()
            .code(1)
            .says("stage `guest` rejected record 51 of stdin: trap: ");
    }
}

#[test]
fn what_did_not_come_to_its_end_within_the_grace_is_said() {
    // All records are through, and the guest is asked for what it still holds.
    let case = through(
        "loop-in-finish",
        "shutdown_grace = \"100ms\"",
        "limits = { fuel = false, timeout = \"1h\" }",
    );
    let (child, _stdout) = started(&case);
    stop(child, Signal::TERM).code(143).says("stopped by SIGTERM: did not finish: `guest`, `out`");
}

#[test]
fn a_file_is_complete_after_a_signal_that_was_drained() {
    let pipeline = Pipeline::with(r#"shutdown_grace = "1m""#)
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("guest", "guest.wat", "")
        .sink("file", "file", r#"path = "out""#)
        .sink("print", "stdout", "");
    let case = case("pass", &pipeline);
    let (child, _stdout) = started(&case);
    assert!(!case.path("out").exists());
    stop(child, Signal::TERM).code(143).says("every record that was read was delivered");
    assert_eq!(fs::read_to_string(case.path("out")).unwrap(), "first\n");
}

#[test]
fn a_signal_ends_a_run_that_has_not_begun() {
    // Nobody reads the pipe that the sink is to write to, so it does not open.
    let pipeline = Pipeline::new()
        .source("in", "generate", "")
        .stage("guest", "guest.wat", "")
        .sink("pipe", "file", r#"path = "pipe""#);
    let case = case("pass", &pipeline);
    let made = std::process::Command::new("mkfifo").arg(case.path("pipe")).status().unwrap();
    assert!(made.success());
    let mut child = case.spawn(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"]);
    // It serves metrics just before it opens what it writes to; signals are heard by then.
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving metrics") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
    }
    stop(child, Signal::TERM).code(143);
}

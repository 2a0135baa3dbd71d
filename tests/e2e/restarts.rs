//! What a run that is stopped or ends keeps of event time, windows and sinks for the next.

use std::fs;
use std::io::Write as _;
use std::process::Child;

use crate::harness::{Case, Pipeline, wait};

const STATE: &str = "state = \"state\"\ncheckpoint_interval = \"1ms\"";
const CODEC: &str = "codec = { type = \"json\", timestamp = \"at\", value = \"v\" }";

fn event(second: u32, value: &str) -> String {
    format!("{{\"at\":\"2024-01-01T00:00:{second:02}Z\",\"v\":\"{value}\"}}\n")
}

/// As soon as it comes, with its time.
const AT_ONCE: &str = "batch = { linger = \"0s\" }\nwatermark = {}";

/// Sources whose records are counted in windows of ten seconds, and are in `out.txt` too.
fn counting(sources: Pipeline, inputs: &str) -> Case {
    let count = format!("input = {inputs}\nconfig = {{ size = \"10s\" }}");
    let pipeline = sources
        .stage("count", "aggregate", &count)
        .sink("out", "file", &format!("path = \"out.txt\"\ninput = {inputs}"))
        .sink("windows", "file", r#"path = "windows""#)
        .sink("late", "file", "path = \"late\"\ninput = \"count.late\"");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

fn followed(names: &[&str]) -> Pipeline {
    names.iter().fold(Pipeline::with(STATE), |pipeline, name| {
        let paths = format!("paths = \"{name}.json\"");
        pipeline.source(name, "file", &format!("{paths}\nfollow = true\n{CODEC}\n{AT_ONCE}"))
    })
}

/// Waits until something was written, and a few checkpoints after it.
fn checkpoints_after(case: &Case, written: &str, child: &mut Child) {
    let mut running = || assert!(child.try_wait().unwrap().is_none());
    while fs::metadata(case.path(written)).map_or(0, |metadata| metadata.len()) == 0 {
        running();
    }
    let state = || fs::metadata(case.path("state/state.redb")).unwrap().modified().unwrap();
    for _ in 0..3 {
        let before = state();
        while state() == before {
            running();
        }
    }
}

#[test]
fn windows_that_closed_at_the_end_do_not_close_again_in_the_next_run() {
    let source = Pipeline::with(STATE).source("in", "stdin", &format!("{CODEC}\n{AT_ONCE}"));
    let case = counting(source, "\"in\"");
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    child.stdin.as_mut().unwrap().write_all(event(1, "a").as_bytes()).unwrap();
    // The last checkpoint before the end knows of an open window; the one of the end must not.
    checkpoints_after(&case, "out.txt", &mut child);
    wait(child).ok();
    assert_eq!(case.read("windows"), "1\n");
    case.pipeline().ok();
    assert_eq!(case.read("windows"), "1\n");
}

#[test]
fn a_signal_closes_no_window_behind_a_fan_in() {
    for _ in 0..3 {
        let case = counting(followed(&["a", "b"]), "[\"a\", \"b\"]")
            .file("a.json", event(1, "a"))
            .file("b.json", event(2, "b"));
        case.suspended("");
        assert_eq!(case.read("windows"), "");
        // The rest, as files that end.
        case.append("a.json", event(3, "a"));
        let text = case.read("pipeline.toml").replace("follow = true", "");
        let case = case.file("pipeline.toml", text);
        case.pipeline().ok();
        assert_eq!((&*case.read("windows"), &*case.read("late")), ("3\n", ""));
    }
}

#[test]
fn time_does_not_go_back() {
    let case =
        counting(followed(&["in"]), "\"in\"").file("in.json", event(1, "a") + &event(30, "b"));
    case.suspended("");
    assert_eq!(case.read("windows"), "1\n");
    // Its window was closed by the run before.
    case.append("in.json", event(2, "late"));
    let text = case.read("pipeline.toml").replace("follow = true", "");
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    assert_eq!((&*case.read("windows"), &*case.read("late")), ("1\n1\n", "late\n"));
}

#[test]
fn what_a_closed_stdout_did_not_take_comes_with_the_next_run() {
    let pipeline =
        Pipeline::with(STATE).source("in", "generate", "count = 100_000").sink("out", "stdout", "");
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    case.closed_after_a_line();
    let rest = case.pipeline().ok().stdout;
    let first: u64 = rest.lines().next().unwrap().parse().unwrap();
    let expected: String = (first..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(rest == expected, "whole batches, up to the last one");
}

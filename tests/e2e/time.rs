//! Event time: watermarks, windows, sessions, joins.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::harness::{Case, Pipeline, wait};

/// JSON lines with a time, a key and a value.
const CODEC: &str = "codec = { type = \"json\", timestamp = \"at\", key = \"id\", value = \"v\" }";

/// The settings of a source that reads such lines.
fn lines(name: &str, rest: &str) -> String {
    format!("paths = \"{name}.json\"\n{CODEC}\n{rest}")
}

fn event(second: u32, id: &str, value: &str) -> String {
    format!("{{\"at\":\"2024-01-01T00:00:{second:02}Z\",\"id\":\"{id}\",\"v\":\"{value}\"}}\n")
}

#[test]
fn two_inputs_are_joined_by_key_and_time() {
    let watermark = "watermark = {}\nbatch = { records = 1 }";
    let join = "input = [\"orders\", \"payments\"]\nbatch = { linger = \"1ms\" }\n\
                config = { within = \"10s\", unmatched = true }";
    let template = r#"template = "{timestamp} {key}: {value} / {right}""#;
    let pipeline = Pipeline::new()
        .source("orders", "file", &lines("orders", watermark))
        .source("payments", "file", &lines("payments", watermark))
        .stage("join", "join", join)
        .sink("out", "stdout", &format!("codec = {{ type = \"lines\", {template} }}"))
        .sink("late", "file", "path = \"late\"\ninput = \"join.late\"")
        .sink("unmatched", "file", "path = \"unmatched\"\ninput = \"join.unmatched\"");
    let case = Case::new()
        .file("orders.json", event(1, "a", "order a") + &event(2, "b", "order b"))
        .file("payments.json", event(3, "b", "paid b") + &event(40, "a", "paid a"))
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("2024-01-01T00:00:03Z b: order b / paid b\n");
    let mut unmatched: Vec<_> = case.read("unmatched").lines().map(str::to_owned).collect();
    unmatched.sort();
    assert_eq!(unmatched, ["order a", "paid a"]);
    assert_eq!(case.read("late"), "");
}

#[test]
fn a_window_closes_while_no_record_comes_and_what_comes_then_is_late() {
    let timed = "batch = { linger = \"0s\" }\nwatermark = { lag = \"1s\", idle = \"20ms\" }";
    let codec = r#"codec = { type = "lines", template = "{key} {value}" }"#;
    let pipeline = Pipeline::new()
        .source("in", "stdin", &format!("{CODEC}\n{timed}"))
        .stage("count", "aggregate", r#"config = { size = "1s" }"#)
        .sink("out", "stdout", &format!("input = [\"count\", \"count.late\"]\n{codec}"));
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all((event(0, "a", "x") + &event(0, "a", "y")).as_bytes()).unwrap();
    // Nothing more is written: the clock closes the window.
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "a 2\n");
    stdin.write_all(event(0, "a", "too late").as_bytes()).unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "a too late\n");
    drop(child.stdin.take());
    wait(child).ok();
}

#[test]
fn behind_a_fan_in_the_slower_input_tells_the_time() {
    let watermark = "watermark = {}\nbatch = { records = 1 }";
    let late: String = (0..50).map(|second| event(second, "a", "x")).collect();
    let sessions = "input = [\"fast\", \"slow\"]\nconfig = { gap = \"10s\" }";
    let pipeline = Pipeline::new()
        .source("fast", "file", &lines("fast", watermark))
        .source("slow", "file", &lines("slow", watermark))
        .stage("sessions", "sessionize", sessions)
        .sink("out", "file", r#"path = "out""#)
        .sink("late", "file", "path = \"late\"\ninput = \"sessions.late\"");
    let case = Case::new()
        .file("fast.json", late.clone())
        .file("slow.json", late)
        .file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok();
    assert_eq!(case.read("out"), "100\n", "one session, of both");
    assert_eq!(case.read("late"), "");
}

#[test]
fn a_timed_stage_without_time_is_a_mistake() {
    let source = |settings: &str| Pipeline::new().source("in", "file", &lines("in", settings));
    let counted = |before: Pipeline, settings: &str| {
        let pipeline = before
            .stage("t", "aggregate", &format!("config = {{ size = \"1s\" }}\n{settings}"))
            .sink("out", "file", r#"path = "out""#)
            .sink("late", "file", "path = \"late\"\ninput = \"t.late\"");
        Case::new().file("in.json", "").file("pipeline.toml", pipeline.to_string()).pipeline()
    };
    counted(source(""), "").code(2).says(
        "the stage `t` waits for time to pass, and nothing says how far it has come on the way from \
         `in`",
    );
    let between = |settings: &str| source("").stage("s", "to-upper", settings);
    counted(between(""), "").code(2);
    counted(between("watermark = {}"), "").ok();
    // It says itself that it keeps by key.
    counted(source("watermark = {}"), "workers = 2").ok();
    counted(source("watermark = {}"), "workers = 2\npartition = \"key\"").ok();
    counted(source("watermark = {}"), "partition = \"attribute:a\"")
        .code(2)
        .says("`t` keeps its state by `key`, and its partition is `attribute:a`");
}

#[test]
fn a_stage_that_tells_its_inputs_apart_must_have_as_many() {
    let pipeline = Pipeline::new()
        .source("in", "file", &lines("in", "watermark = {}"))
        .stage("join", "join", r#"config = { within = "1s" }"#)
        .sink("out", "file", r#"path = "out""#)
        .sink("late", "file", "path = \"late\"\ninput = \"join.late\"");
    let case = Case::new().file("in.json", "").file("pipeline.toml", pipeline.to_string());
    case.pipeline()
        .code(2)
        .says("the stage `join` takes 2 inputs, and has 1")
        .says("in this order: `input = [\"left\", \"right\"]`");
}

#[test]
fn a_stage_that_keeps_something_is_not_divided_at_random() {
    let case = |rest: &str| {
        let pipeline = Pipeline::new()
            .source("in", "file", &lines("in", ""))
            .stage("d", "dedupe", &format!("workers = 2\n{rest}"))
            .sink("out", "file", r#"path = "out""#);
        let records = event(0, "a", "x") + &event(1, "a", "y") + &event(2, "b", "z");
        Case::new().file("in.json", records).file("pipeline.toml", pipeline.to_string())
    };
    case("").pipeline().code(2).says("`d` has a state and 2 workers");
    let case = case("partition = \"key\"");
    case.pipeline().ok();
    assert_eq!(case.read("out"), "x\nz\n");
}

#[test]
fn a_record_of_the_far_future_does_not_make_others_late() {
    let far = "{\"at\":\"2262-01-01T00:00:00Z\",\"id\":\"a\",\"v\":\"far\"}\n";
    let input = event(1, "a", "x") + far + &event(2, "a", "y") + &event(30, "a", "z");
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", &lines("in", "watermark = {}\nbatch = { records = 1 }"))
        .stage("count", "aggregate", r#"config = { size = "10s" }"#)
        .sink("windows", "file", r#"path = "windows""#)
        .sink("late", "file", "path = \"late\"\ninput = \"count.late\"");
    let case = Case::new().file("in.json", &input).file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().says(
        "a record of in.json has the time 2262-01-01T00:00:00Z, which is more than 86400s ahead",
    );
    assert_eq!(case.read("late"), "");
    assert_eq!(case.read("windows").lines().count(), 3);
    // Nor in a later run.
    case.append("in.json", event(31, "a", "w"));
    case.pipeline().ok();
    assert_eq!(case.read("late"), "");
}

#[test]
fn time_is_taken_where_order_still_holds() {
    // Batches overtake each other: some cost much work, others none.
    let input: String = (0..40_000)
        .map(|n| {
            let (second, milli) = (n / 1000 % 60, n % 1000);
            format!("{{\"at\":\"2024-01-01T00:00:{second:02}.{milli:03}Z\",\"id\":\"a\",\"v\":\"{n}\"}}\n")
        })
        .collect();
    let work = "workers = 4\nordered = false\nwatermark = {}\nconfig = { work = 40 }";
    let pipeline = Pipeline::new()
        .source("in", "file", &lines("in", "batch = { records = 64 }"))
        .stage("work", "double", work)
        .stage("count", "aggregate", r#"config = { size = "1s" }"#)
        .sink("windows", "file", r#"path = "windows""#)
        .sink("late", "file", "path = \"late\"\ninput = \"count.late\"");
    let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok();
    assert_eq!(case.read("late").lines().count(), 0, "nothing is late on ordered input");
    let counted: u64 = case.read("windows").lines().map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(counted, 40_000);
}

//! Event time: watermarks, windows, sessions, joins.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::harness::{Case, plugin, wait};

/// JSON lines with a time, a key and a value.
const CODEC: &str = "codec = { type = \"json\", timestamp = \"at\", key = \"id\", value = \"v\" }";

fn stage(name: &str, kind: &str, input: &str, rest: &str) -> String {
    let plugin = plugin(kind);
    format!("[[stage]]\nname = \"{name}\"\nplugin = \"{plugin}\"\ninput = {input}\n{rest}\n")
}

fn sink(name: &str, input: &str) -> String {
    format!(
        "[[sink]]\nname = \"{name}\"\ntype = \"file\"\npath = \"{name}\"\ninput = \"{input}\"\n"
    )
}

fn file_source(name: &str, rest: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\ntype = \"file\"\npaths = \"{name}.json\"\n{CODEC}\n{rest}\n"
    )
}

fn event(second: u32, id: &str, value: &str) -> String {
    format!("{{\"at\":\"2024-01-01T00:00:{second:02}Z\",\"id\":\"{id}\",\"v\":\"{value}\"}}\n")
}

#[test]
fn two_inputs_are_joined_by_key_and_time() {
    let watermark = "watermark = {}\nbatch = { records = 1 }";
    let case = Case::new()
        .file("orders.json", event(1, "a", "order a") + &event(2, "b", "order b"))
        .file("payments.json", event(3, "b", "paid b") + &event(40, "a", "paid a"))
        .file(
            "pipeline.toml",
            [
                file_source("orders", watermark),
                file_source("payments", watermark),
                stage(
                    "join",
                    "join",
                    "[\"orders\", \"payments\"]",
                    "batch = { linger = \"1ms\" }\nconfig = { within = \"10s\", unmatched = true }",
                ),
                "[[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"join\"\n\
                 codec = { type = \"lines\", template = \"{timestamp} {key}: {value} / {right}\" }\n"
                    .to_owned(),
                sink("late", "join.late"),
                sink("unmatched", "join.unmatched"),
            ]
            .concat(),
        );
    case.pipeline().ok().prints("2024-01-01T00:00:03Z b: order b / paid b\n");
    let mut unmatched: Vec<_> = case.read("unmatched").lines().map(str::to_owned).collect();
    unmatched.sort();
    assert_eq!(unmatched, ["order a", "paid a"]);
    assert_eq!(case.read("late"), "");
}

#[test]
fn a_window_closes_while_no_record_comes_and_what_comes_then_is_late() {
    let case = Case::new().file(
        "pipeline.toml",
        [
            format!(
                "[[source]]\nname = \"in\"\ntype = \"stdin\"\n{CODEC}\n\
                 batch = {{ linger = \"0s\" }}\nwatermark = {{ lag = \"1s\", idle = \"20ms\" }}\n"
            ),
            stage("count", "window-count", "\"in\"", "config = { size = \"1s\" }"),
            "[[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = [\"count\", \"count.late\"]\n\
             codec = { type = \"lines\", template = \"{key} {value}\" }\n"
                .to_owned(),
        ]
        .concat(),
    );
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
    let case = Case::new().file("fast.json", late.clone()).file("slow.json", late).file(
        "pipeline.toml",
        [
            file_source("fast", watermark),
            file_source("slow", watermark),
            stage("sessions", "sessionize", "[\"fast\", \"slow\"]", "config = { gap = \"10s\" }"),
            sink("out", "sessions"),
            sink("late", "sessions.late"),
        ]
        .concat(),
    );
    case.pipeline().ok();
    assert_eq!(case.read("out"), "100\n", "one session, of both");
    assert_eq!(case.read("late"), "");
}

#[test]
fn a_timed_stage_without_time_is_a_mistake() {
    let case = |source: &str, stages: &[String]| {
        let case = Case::new().file("in.json", "").file(
            "pipeline.toml",
            [&[file_source("in", source)], stages, &[sink("out", "t"), sink("late", "t.late")]]
                .concat()
                .concat(),
        );
        case.pipeline()
    };
    let count = |input: &str, rest: &str| {
        stage("t", "window-count", input, &format!("config = {{ size = \"1s\" }}\n{rest}"))
    };
    case("", &[count("\"in\"", "")]).code(2).says(
        "the stage `t` waits for time to pass, and nothing says how far it has come on the way from \
         `in`",
    );
    let between = |rest| stage("s", "to-upper", "\"in\"", rest);
    case("", &[between(""), count("\"s\"", "")]).code(2);
    case("", &[between("watermark = {}"), count("\"s\"", "")]).ok();
    case("watermark = {}", &[count("\"in\"", "workers = 2")])
        .code(2)
        .says("`t` keeps what belongs together, and has 2 workers");
    case("watermark = {}", &[count("\"in\"", "workers = 2\npartition = \"key\"")]).ok();
}

#[test]
fn a_stage_that_tells_its_inputs_apart_must_have_as_many() {
    let case = Case::new().file("in.json", "").file(
        "pipeline.toml",
        [
            file_source("in", "watermark = {}"),
            stage("join", "join", "\"in\"", "config = { within = \"1s\" }"),
            sink("out", "join"),
            sink("late", "join.late"),
        ]
        .concat(),
    );
    case.pipeline()
        .code(2)
        .says("the stage `join` takes 2 inputs, and has 1")
        .says("in this order: `input = [\"left\", \"right\"]`");
}

#[test]
fn a_stage_that_keeps_something_is_not_divided_at_random() {
    let case = |rest: &str| {
        let stages = stage("d", "dedupe", "\"in\"", &format!("workers = 2\n{rest}"));
        let text = [file_source("in", ""), stages, sink("out", "d")].concat();
        let records = event(0, "a", "x") + &event(1, "a", "y") + &event(2, "b", "z");
        Case::new().file("in.json", records).file("pipeline.toml", text)
    };
    case("").pipeline().code(2).says("`d` keeps what belongs together, and has 2 workers");
    let case = case("partition = \"key\"");
    case.pipeline().ok();
    assert_eq!(case.read("out"), "x\nz\n");
}

#[test]
fn a_record_of_the_far_future_does_not_make_others_late() {
    let far = "{\"at\":\"2262-01-01T00:00:00Z\",\"id\":\"a\",\"v\":\"far\"}\n";
    let input = event(1, "a", "x") + far + &event(2, "a", "y") + &event(30, "a", "z");
    let case = Case::new().file("in.json", &input).file(
        "pipeline.toml",
        [
            "[pipeline]\nstate = \"state\"\n".to_owned(),
            file_source("in", "watermark = {}\nbatch = { records = 1 }"),
            stage("count", "window-count", "\"in\"", "config = { size = \"10s\" }"),
            sink("windows", "count"),
            sink("late", "count.late"),
        ]
        .concat(),
    );
    case.pipeline().ok().says(
        "a record of in.json has the time 2262-01-01T00:00:00Z, which is more than 86400s ahead",
    );
    assert_eq!(case.read("late"), "");
    assert_eq!(case.read("windows").lines().count(), 3);
    // Nor in a later run.
    case.append("in.json", &event(31, "a", "w"));
    case.pipeline().ok();
    assert_eq!(case.read("late"), "");
}

#[test]
fn time_is_taken_where_order_still_holds() {
    // Batches overtake each other: some cost much work, others none.
    let double = plugin("double");
    let input: String = (0..40_000)
        .map(|n| {
            let (second, milli) = (n / 1000 % 60, n % 1000);
            format!("{{\"at\":\"2024-01-01T00:00:{second:02}.{milli:03}Z\",\"id\":\"a\",\"v\":\"{n}\"}}\n")
        })
        .collect();
    let case = Case::new().file("in.json", input).file(
        "pipeline.toml",
        [
            file_source("in", "batch = { records = 64 }"),
            format!(
                "[[stage]]\nname = \"work\"\nplugin = \"{double}\"\ninput = \"in\"\nworkers = 4\n\
                 ordered = false\nwatermark = {{}}\nconfig = {{ work = 40 }}\n"
            ),
            stage("count", "window-count", "\"work\"", "config = { size = \"1s\" }"),
            sink("windows", "count"),
            sink("late", "count.late"),
        ]
        .concat(),
    );
    case.pipeline().ok();
    assert_eq!(case.read("late").lines().count(), 0, "nothing is late on ordered input");
    let counted: u64 = case.read("windows").lines().map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(counted, 40_000);
}

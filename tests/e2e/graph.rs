//! Fan-out, fan-in, ports, workers, queues.

use crate::harness::{Case, Pipeline, Ran, guest};

/// `pass.wat` and a pipeline.
fn case(pipeline: &Pipeline) -> Case {
    Case::new().file("pass.wat", guest("pass")).file("pipeline.toml", pipeline.to_string())
}

/// Behind five thousand numbers.
fn numbered() -> Pipeline {
    let settings = "count = 5000\nkey = \"{n}\"\nbatch = { records = 7 }";
    Pipeline::new().source("in", "generate", settings)
}

fn numbers(count: u32) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

#[test]
fn several_readers_of_a_port_each_get_all() {
    let case = case(
        &numbered()
            .stage("a", "pass.wat", "")
            .stage("b", "pass.wat", r#"input = "in""#)
            .sink("x", "file", "path = \"x\"\ninput = \"a\"")
            .sink("y", "file", "path = \"y\"\ninput = \"b\"")
            .sink("z", "file", "path = \"z\"\ninput = \"in\""),
    );
    case.pipeline().ok();
    for name in ["x", "y", "z"] {
        assert_eq!(case.read(name), numbers(5000), "{name}");
    }
}

#[test]
fn a_node_with_several_inputs_gets_all_of_each_in_its_order() {
    let case = case(
        &numbered()
            .stage("a", "pass.wat", "")
            .stage("b", "pass.wat", r#"input = ["in", "a"]"#)
            .sink("x", "file", "path = \"x\"\ninput = [\"a\", \"b\"]"),
    );
    case.pipeline().ok();
    let mut counts = vec![0; 5001];
    for line in case.read("x").lines() {
        counts[line.parse::<usize>().unwrap()] += 1;
    }
    assert!(counts[1..].iter().all(|&count| count == 3));
}

fn with_workers(settings: &str) -> (Ran, String) {
    let settings = format!("workers = 4\n{settings}");
    let pipeline = numbered().stage("a", "pass.wat", &settings).sink("x", "file", r#"path = "x""#);
    let case = case(&pipeline);
    let ran = case.pipeline().ok();
    let written = case.read("x");
    (ran, written)
}

#[test]
fn order_is_kept_across_workers() {
    assert_eq!(with_workers("").1, numbers(5000));
    assert_eq!(with_workers("partition = \"key\"").1, numbers(5000));
    assert_eq!(with_workers("partition = \"attribute:none\"").1, numbers(5000));
}

#[test]
fn without_order_every_record_still_comes_once() {
    for settings in ["ordered = false", "ordered = false\npartition = \"key\""] {
        let (_, written) = with_workers(settings);
        let mut lines: Vec<u32> = written.lines().map(|line| line.parse().unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, (1..=5000).collect::<Vec<_>>());
    }
}

#[test]
fn a_key_always_goes_to_the_same_worker() {
    // Each worker counts what it saw; a key that is always at one worker is counted up
    // without a gap, in whatever batches its records come.
    let wasi = crate::harness::plugin_folder("tests/guests/wasi");
    let codec = r#"codec = { type = "json", key = "key", value = "do" }"#;
    let source = format!("paths = \"in\"\n{codec}\nbatch = {{ records = 3 }}");
    let pipeline = Pipeline::new()
        .source("in", "file", &source)
        .stage("count", &wasi, "workers = 3\npartition = \"key\"")
        .sink("out", "stdout", r#"codec = { type = "lines", template = "{key}" }"#)
        .sink("counts", "file", r#"path = "counts""#);
    // One key alone: all its records are at one worker.
    let input = "{\"key\":\"k\",\"do\":\"count\"}\n".repeat(20);
    let case = Case::new().file("pipeline.toml", pipeline.to_string()).file("in", input);
    case.pipeline().ok();
    assert_eq!(case.read("counts"), numbers(20));
}

#[test]
fn a_full_queue_drops_where_that_is_wished_and_counts_it() {
    let some = "path = \"some\"\nqueue = 1\nwhen_full = \"drop\"\nrate = 1000";
    let pipeline = Pipeline::new()
        .source("in", "generate", "count = 1000\nbatch = { records = 10 }")
        .stage("upper", "to-upper", "")
        .sink("all", "file", r#"path = "all""#)
        .sink("some", "file", some);
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let ran = case.pipeline().ok();
    assert_eq!(case.read("all"), numbers(1000));
    let written = case.read("some").lines().count();
    assert!(written < 1000);
    ran.says(&format!("some: {} records were dropped because its queue was full", 1000 - written));
}

#[test]
fn batches_are_made_anew_where_a_node_asks_for_it() {
    // 10 records in batches of 3 come; the guest answers a thousand rows to each batch, so
    // what comes out counts the batches: of 4, 4 and 2.
    let batches = |batch: &str| {
        let pipeline = Pipeline::new()
            .source("in", "generate", "count = 10\nbatch = { records = 3 }")
            .stage("many", "many.wat", &format!("batch = {{ {batch} }}"))
            .sink("out", "stdout", "");
        let case =
            Case::new().file("many.wat", guest("many")).file("pipeline.toml", pipeline.to_string());
        case.pipeline().ok().stdout.lines().count() / 1000
    };
    assert_eq!(batches("records = 4, linger = \"1h\""), 3);
    assert_eq!(batches("records = 100, linger = \"1h\""), 1);
    assert_eq!(batches("records = 1"), 10);
    assert_eq!(batches("records = 100, bytes = \"1B\", linger = \"1h\""), 4);
}

#[test]
fn a_batch_does_not_wait_longer_than_it_may() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let batch = r#"batch = { records = 1000, linger = "20ms" }"#;
    let case = case(
        &Pipeline::new()
            .source("in", "stdin", batch)
            .stage("a", "pass.wat", batch)
            .sink("out", "stdout", ""),
    );
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one line\n").unwrap();
    let mut line = String::new();
    // stdin stays open, and the batches are far from full.
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "one line\n");
    drop(stdin);
    crate::harness::wait(child).ok();
}

#[test]
fn back_pressure_holds_an_exact_number_of_batches() {
    let case = case(
        &Pipeline::with("deadline = \"3s\"\nshutdown_grace = \"0s\"")
            .source("in", "generate", "batch = { records = 10 }")
            .stage("a", "pass.wat", "queue = 2")
            .stage("b", "pass.wat", "queue = 1\nworkers = 3")
            // It takes a record a second, so the first ten for longer than the run lasts.
            .sink("out", "null", "queue = 3\nrate = 1"),
    );
    // A source holds the batch that it cannot send; a stage the two in its queue and the
    // one that it cannot send; one with three workers the one in its queue, the six that
    // may be under way, and none beside; a sink three, as the ten that it is at are written.
    case.pipeline()
        .code(124)
        .says("not delivered: 10 before or in `in`, 30 before or in `a`, 70 before or in `b`, 30 before or in `out`");
}

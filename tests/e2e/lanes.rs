//! Lanes: how many a stage has follows from what it says that it keeps, and from how much there is
//! to do. Whatever their number, the records are those of one lane.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};

use crate::harness::{Case, Pipeline, Ran, guest, plugin_folder, wait};

/// Numbers the records of each value, slowly.
fn slow_count() -> String {
    plugin_folder("tests/guests/slow-count")
}

fn settings(keeps: &str, more: &str) -> String {
    format!(
        "limits = {{ fuel = false }}\nconfig = {{ keeps = \"{keeps}\", steps = 20_000 }}\n{more}"
    )
}

/// Lines of some values, in batches each of which takes one lane some time.
fn input() -> String {
    (0..10_000).map(|n| format!("{}\n", n * 7 % 50)).collect()
}

fn case(stage: &str) -> Case {
    let pipeline = Pipeline::with("name = \"p\"")
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 250 }")
        .stage("count", &slow_count(), stage)
        .sink("out", "stdout", "");
    Case::new().file("in.txt", input()).file("pipeline.toml", pipeline.to_string())
}

/// How many lanes a stage had, as the summary says.
fn lanes(ran: &Ran, stage: &str) -> usize {
    let row = ran.stderr.lines().find(|line| line.trim_start().starts_with(stage)).unwrap();
    let lanes = row.split_once('×').map(|(_, rest)| rest.split(' ').next().unwrap());
    lanes.map_or(1, |lanes| lanes.parse().unwrap())
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// Each record, with its number among those of its value.
fn numbered() -> Vec<String> {
    let mut counts = BTreeMap::new();
    let mut number = |value: &str| {
        let count = counts.entry(value.to_owned()).or_insert(0);
        *count += 1;
        format!("{value} {count}")
    };
    input().lines().map(&mut number).collect()
}

#[test]
fn a_stage_that_keeps_by_key_gets_more_lanes_once_one_does_not_keep_up() {
    let ran = case(&settings("value", "")).pipeline().ok();
    assert!(ran.stdout.lines().eq(numbered()), "in order, each key counted in one place");
    assert_eq!(lanes(&ran, "count"), cores(), "{}", ran.stderr);
}

#[test]
fn a_stage_that_keeps_nothing_gets_more_lanes_and_keeps_the_order() {
    let ran = case(&settings("nothing", "")).pipeline().ok();
    let values = ran.stdout.lines().map(|line| line.split(' ').next().unwrap());
    assert!(values.eq(input().lines()));
    let lanes = lanes(&ran, "count");
    assert!((2.min(cores())..=cores()).contains(&lanes), "{}", ran.stderr);
    // `workers` says how many, and each out of order has all the same records.
    let ran = case(&settings("nothing", "workers = 3\nordered = false")).pipeline().ok();
    let mut values: Vec<_> =
        ran.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let input = input();
    let mut expected: Vec<_> = input.lines().collect();
    values.sort_unstable();
    expected.sort_unstable();
    assert_eq!(values, expected);
}

#[test]
fn a_stage_that_keeps_anything_has_one_lane() {
    let ran = case(&settings("anything", "")).pipeline().ok();
    assert!(ran.stdout.lines().eq(numbered()));
    assert_eq!(lanes(&ran, "count"), 1);
    let one = case(&settings("value", "workers = 1")).pipeline().ok();
    assert!(one.stdout.lines().eq(numbered()));
    assert_eq!(lanes(&one, "count"), 1, "as the pipeline says");
}

#[test]
fn stages_behind_a_slow_source_stay_in_one_lane() {
    let pipeline = Pipeline::with("name = \"p\"")
        .source("in", "stdin", "batch = { linger = \"0s\" }")
        .stage("first", "to-upper", "")
        .stage("second", "add-prefix", "config = { prefix = \"x\" }")
        .sink("out", "stdout", "");
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut stdout = BufReader::new(stdout);
    for n in 0..100 {
        writeln!(stdin, "a{n}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("xA{n}\n"));
    }
    drop(stdin);
    let ran = wait(child).ok();
    assert_eq!((lanes(&ran, "first"), lanes(&ran, "second")), (1, 1), "{}", ran.stderr);
}

#[test]
fn what_each_stage_of_a_chain_takes_and_sends_is_counted() {
    let pipeline = Pipeline::with("name = \"p\"\ndead_letters = \"dead\"")
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 250 }")
        .stage("some", "filter", "config = { field = \"value\", contains = \"7\" }\nworkers = 2")
        .stage("twice", "double", "on_error = \"dead-letter\"\nworkers = 2")
        .stage("upper", "to-upper", "workers = 2")
        .sink("out", "stdout", "")
        .sink("tap", "file", "path = \"tap.txt\"\ninput = \"some\"");
    let input = input() + "not 7\n";
    let case = Case::new().file("in.txt", &input).file("pipeline.toml", pipeline.to_string());
    let ran = case.pipeline().ok();
    let some: Vec<_> = input.lines().filter(|line| line.contains('7')).collect();
    let doubled: Vec<_> =
        some.iter().filter_map(|line| Some((2 * line.parse::<u64>().ok()?).to_string())).collect();
    assert!(ran.stdout.lines().eq(doubled.iter().map(String::as_str)));
    assert!(case.read("tap.txt").lines().eq(some.iter().copied()), "an edge leaves the chain");
    let counts = |stage: &str| -> Vec<usize> {
        let row = ran.stderr.lines().find(|line| line.trim_start().starts_with(stage)).unwrap();
        let cells = row.split_whitespace().filter(|cell| !cell.starts_with('×')).skip(1);
        cells.take(3).map(|cell| cell.replace(',', "").parse().unwrap()).collect()
    };
    assert_eq!(counts("some"), [input.lines().count(), some.len(), 0]);
    assert_eq!(counts("twice"), [some.len(), doubled.len(), 1]);
    assert_eq!(counts("upper"), [doubled.len(), doubled.len(), 0]);
}

#[test]
fn key_groups_go_on_in_another_number_of_lanes_and_not_in_another_number_of_groups() {
    let pipeline = |settings: &str, stage: &str| {
        Pipeline::with(&format!("name = \"p\"\nstate = \"state\"\n{settings}"))
            .source("in", "file", "paths = \"*.txt\"\nbatch = { records = 250 }")
            .stage("count", &slow_count(), stage)
            .sink("out", "file", "path = \"out\"")
            .to_string()
    };
    let input = input();
    let half = input.len() / 2;
    let (first, second) = input.split_at(half + input[half..].find('\n').unwrap() + 1);
    let by_value = |more: &str| settings("value", more);
    let case = Case::new()
        .file("a.txt", first)
        .file("pipeline.toml", pipeline("", &by_value("workers = 1")));
    case.pipeline().ok();
    let refused = |case: Case, text: String, why: &str| {
        let case = case.file("pipeline.toml", text);
        case.pipeline().code(1).says(why);
        case
    };
    let case = case.file("b.txt", second);
    let why = "the state of the stage `count` has 64 key groups, and key_groups is 32";
    let case = refused(case, pipeline("key_groups = 32", &by_value("")), why);
    let why =
        "the stage `count` kept a state, which would be lost: now it says that it keeps nothing";
    let case = refused(case, pipeline("", &settings("nothing", "")), why);
    let why =
        "the state of the stage `count` is divided by key, and the stage does not keep by key";
    let case = refused(case, pipeline("", &settings("anything", "")), why);
    let case = case.file("pipeline.toml", pipeline("", &by_value("workers = 3")));
    case.pipeline().ok();
    let expected = numbered();
    assert!(case.read("out").lines().eq(expected.iter().map(String::as_str)));
    case.run(&["state", "show", "state"]).ok();
}

#[test]
fn a_stage_saves_the_key_groups_that_it_holds() {
    let pipeline = Pipeline::with("state = \"state\"")
        .source("in", "file", "paths = \"in.txt\"")
        .stage("guest", "guest.wat", "")
        .sink("out", "stdout", "");
    Case::new()
        .file("in.txt", "a\n")
        .file("guest.wat", guest("lie-group"))
        .file("pipeline.toml", pipeline.to_string())
        .pipeline()
        .code(1)
        .says("it saved the key group 7, and it has those from 0 up to 1 of 1");
}

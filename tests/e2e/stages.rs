//! Each stage of `plugins/` through the sandbox. What exactly each does is the matter of
//! its own native tests; here it is that the sandboxed build does it too.

use crate::harness::{Case, StageCase, plugin};

#[track_caller]
fn check(plugin: &str, config: &str, input: &[&str], output: &[&str]) {
    let made = StageCase::plugin(plugin)
        .settings(&format!("config = {{ {config} }}"))
        .input(input)
        .run_ok();
    assert_eq!(made.lines, output);
}

#[test]
fn filter() {
    let lines = ["disk full", "all is well", "disk is gone"];
    check(
        "filter",
        "field = \"value\", contains = \"disk\"",
        &lines,
        &["disk full", "disk is gone"],
    );
    check(
        "filter",
        "field = \"value\", equals = \"disk full\", invert = true",
        &lines,
        &lines[1..],
    );
    check("filter", "field = \"value\", matches = \"^a|gone$\"", &lines, &lines[1..]);
    check("filter", "field = \"value\", one_of = [\"all is well\"]", &lines, &lines[1..2]);
}

#[test]
fn to_upper() {
    check("to-upper", "", &["data-1", "straße", ""], &["DATA-1", "STRASSE", ""]);
}

#[test]
fn add_prefix() {
    check("add-prefix", "prefix = \"> \"", &["a", ""], &["> a", "> "]);
}

#[test]
fn double() {
    check("double", "work = 1000", &["1", "-21", "0"], &["2", "-42", "0"]);
}

/// Several stages in a row, and records as JSON.
fn chain(stages: &[(&str, &str)], input: &str) -> String {
    let mut pipeline =
        "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = \"in.txt\"\n".to_owned();
    let mut last = "in".to_owned();
    for (name, config) in stages {
        pipeline += &format!(
            "[[stage]]\nname = \"{name}\"\nplugin = \"{}\"\ninput = \"{last}\"\nconfig = {{ {config} }}\n",
            plugin(name)
        );
        last = (*name).to_owned();
    }
    pipeline += &format!(
        "[[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"{last}\"\ncodec = \"json\"\n"
    );
    Case::new().file("pipeline.toml", pipeline).file("in.txt", input).pipeline().ok().stdout
}

#[test]
fn parse_log_and_add_context() {
    let json = chain(
        &[("parse-log", ""), ("add-context", "attributes = { host = \"web-1\" }")],
        "2023-10-27T10:00:00Z INFO Application started\n",
    );
    assert_eq!(
        json,
        "{\"timestamp\":\"2023-10-27T10:00:00Z\",\"value\":\"Application started\",\
         \"attributes\":{\"level\":\"INFO\",\"host\":\"web-1\"}}\n"
    );
    let made =
        StageCase::plugin("parse-log").input(&["nonsense", "2023-10-27T10:00:00Z INFO x"]).run_ok();
    assert_eq!(made.lines, ["x"]);
    assert_eq!(made.letters[0].reason, "no level after the time");
}

#[test]
fn alert_and_route() {
    let routed = Case::new()
        .file(
            "pipeline.toml",
            format!(
                r#"
                [[source]]
                name = "in"
                type = "file"
                paths = "in.txt"
                [[stage]]
                name = "parse"
                plugin = "{}"
                input = "in"
                [[stage]]
                name = "alert"
                plugin = "{}"
                input = "parse"
                config = {{ level = "ERROR", threshold = 2 }}
                [[stage]]
                name = "route"
                plugin = "{}"
                input = ["alert", "alert.alerts"]
                config = {{ attribute = "level", routes = {{ bad = ["ERROR"] }} }}
                [[sink]]
                name = "bad"
                type = "file"
                path = "bad"
                input = "route.bad"
                [[sink]]
                name = "rest"
                type = "file"
                path = "rest"
                input = "route"
                "#,
                plugin("parse-log"),
                plugin("alert"),
                plugin("route")
            ),
        )
        .file("in.txt", "2023-10-27T10:00:00Z ERROR a\n2023-10-27T10:00:00Z INFO b\n2023-10-27T10:00:00Z ERROR c\n");
    routed.pipeline().ok();
    assert_eq!(routed.read("rest"), "b\n");
    let mut bad: Vec<_> = routed.read("bad").lines().map(str::to_owned).collect();
    bad.sort(); // Two edges lead into `route`: which is read first is not said.
    assert_eq!(bad, ["ALERT: 2 ERROR records, the last: c", "a", "c"]);
}

#[test]
fn a_part_of_what_came_in_need_not_be_copied_out() {
    let made =
        StageCase::guest("excerpt").settings("batch = { records = 1 }").input(&["abcd", "xyz"]);
    assert_eq!(made.run_ok().lines, ["bc", "yz"]);
}

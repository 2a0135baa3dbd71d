//! Each stage of `plugins/` through the sandbox. What exactly each does is the matter of
//! its own native tests; here it is that the sandboxed build does it too.

use crate::harness::{Case, Pipeline, StageCase, plugin};

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

#[test]
fn a_program_of_jq_that_does_not_end_costs_its_record_alone() {
    let program = "program = 'if . == 2 then last(repeat(1)) else . + 1 end'";
    let made = StageCase::plugin("jq")
        .settings(&format!("config = {{ {program} }}\nlimits = {{ fuel = 20_000_000 }}"))
        .input(&["1", "2", "3", "no JSON"])
        .run_ok();
    assert_eq!(made.lines, ["2", "4"]);
    let reasons: Vec<_> =
        made.letters.iter().map(|letter| (&*letter.value, &*letter.reason)).collect();
    assert_eq!(reasons.len(), 2);
    let looped = reasons.iter().find(|(value, _)| *value == "2").unwrap().1;
    // It says in which functions.
    assert!(
        looped.starts_with("fuel: it used up its fuel") && looped.contains(", in `"),
        "{looped}"
    );
    assert!(reasons.iter().any(|(value, why)| *value == "no JSON" && why.contains("no JSON")));
}

#[test]
fn jq_with_dates_and_regular_expressions() {
    let program = "program = 'select(.level != \"DEBUG\") | del(.password) | .day = (.at | fromdate | strftime(\"%A\")) | .user |= sub(\"(?<a>.)@.*\"; \"\\(.a)\")'";
    check(
        "jq",
        program,
        &[
            r#"{"level":"DEBUG"}"#,
            r#"{"level":"INFO","password":"x","at":"2024-02-29T12:00:00Z","user":"jo@example.com"}"#,
        ],
        &[r#"{"level":"INFO","at":"2024-02-29T12:00:00Z","user":"jo","day":"Thursday"}"#],
    );
}

#[test]
fn replace_redact_and_set() {
    check("replace", "pattern = '(\\d+)ms', with = '${1} ms'", &["took 17ms"], &["took 17 ms"]);
    check("redact", "", &["mail jo@example.com from 192.0.2.1"], &["mail [email] from [ip]"]);
    check("set", "value = '<{value}>'", &["a"], &["<a>"]);
    let made = StageCase::plugin("redact")
        .settings("config = { hash_key_env = \"KEY\" }\ngrants = { env = { KEY = \"secret\" } }")
        .input(&["a@b.c", "to a@b.c"])
        .run_ok();
    // As of `printf a@b.c | openssl dgst -sha256 -hmac secret`.
    assert_eq!(made.lines, ["[email:0ce3629b4ac1ef13]", "to [email:0ce3629b4ac1ef13]"]);
    StageCase::plugin("redact")
        .settings("config = { hash_key_env = \"KEY\" }")
        .is_refused("grant it with grants = { env = { KEY = ");
}

#[test]
fn parsers_of_grok_and_of_pairs() {
    let grok = chain(
        &[("parse-grok", "pattern = '%{IP:client} %{WORD:verb} %{URIPATHPARAM:path}'")],
        "192.0.2.1 GET /a?b=1\n",
    );
    let expected = r#"{"value":"192.0.2.1 GET /a?b=1","attributes":{"client":"192.0.2.1","path":"/a?b=1","verb":"GET"}}"#;
    assert_eq!(grok, format!("{expected}\n"));
    let pairs = chain(
        &[("parse-key-value", ""), ("set", "value = '{msg}', remove = ['msg']")],
        "level=info msg=\"two words\"\n",
    );
    assert_eq!(pairs, "{\"value\":\"two words\",\"attributes\":{\"level\":\"info\"}}\n");
}

#[test]
fn sample_and_throttle() {
    check("sample", "one_in = 2", &["1", "2", "3", "4", "5"], &["2", "4"]);
    check("throttle", "records = 2, per = \"1h\"", &["1", "2", "3"], &["1", "2"]);
}

#[test]
fn enrich_reads_a_table_that_it_is_granted() {
    let case = |grants: &str| {
        let pipeline = Pipeline::new()
            .source("in", "file", "paths = \"in.txt\"")
            .stage("users", "enrich", &format!(
                "config = {{ table = \"/tables/users.csv\", column = \"id\", by = \"value\" }}\n{grants}"
            ))
            .sink("out", "stdout", "codec = { type = \"lines\", template = \"{value} {name}\" }");
        let case = Case::new().file("pipeline.toml", pipeline.to_string()).file("in.txt", "7\n8\n");
        std::fs::create_dir(case.path("tables")).unwrap();
        case.file("tables/users.csv", "id,name\n7,\"Jo, a user\"\n")
    };
    case("grants = { read = { \"/tables\" = \"tables\" } }")
        .pipeline()
        .ok()
        .prints("7 Jo, a user\n8 \n");
    case("")
        .pipeline()
        .code(2)
        .says("cannot read the table /tables/users.csv")
        .says("grants = { read = ");
}

/// The groups of windows with numbers, across a restart with other lanes, of which some had none.
#[test]
fn aggregate_keeps_its_numbers_in_a_state() {
    let pipeline = |workers: usize, follow: bool| {
        let source =
            "codec = { type = \"json\", key = \"k\", timestamp = \"t\", attributes = [\"n\"] }";
        let outputs = "outputs = { sum = { sum = \"n\" }, p50 = { quantile = \"n\", at = 0.5 } }";
        Pipeline::with("state = \"state\"")
            .source("in", "file", &format!("paths = \"in.jsonl\"\nfollow = {follow}\n{source}\nwatermark = {{ lag = \"0s\" }}"))
            .stage("count", "aggregate", &format!("workers = {workers}\nconfig = {{ size = \"1m\", {outputs} }}"))
            .sink("counts", "file", "path = \"counts.txt\"\ncodec = { type = \"lines\", template = \"{key} {value} {sum} {p50}\" }")
            .sink("late", "null", "input = \"count.late\"")
            .sink("tap", "file", "path = \"out.txt\"\ninput = \"in\"")
            .to_string()
    };
    let record = |key: &str, n: u32| {
        format!("{{\"t\":\"2024-02-29T12:00:01Z\",\"k\":\"{key}\",\"n\":{n}}}\n")
    };
    let case =
        Case::new().file("in.jsonl", record("a", 10)).file("pipeline.toml", pipeline(3, true));
    case.suspended("");
    for (workers, key) in [(5, "b"), (1, "c"), (2, "d")] {
        case.append("in.jsonl", &(record("a", 10) + &record(key, 0)));
        std::fs::write(case.path("pipeline.toml"), pipeline(workers, true)).unwrap();
        case.suspended("");
    }
    std::fs::write(case.path("pipeline.toml"), pipeline(4, false)).unwrap();
    case.append("in.jsonl", record("a", 10));
    case.pipeline().ok();
    let counts = case.read("counts.txt");
    let mut counts: Vec<&str> = counts.lines().collect();
    counts.sort_unstable();
    // A quantile is at most one per cent away.
    assert_eq!(counts[0].rsplit_once(' ').unwrap().0, "a 5 50");
    assert_eq!(counts[1..], ["b 1 0 0", "c 1 0 0", "d 1 0 0"]);
}

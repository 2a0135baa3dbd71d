//! `pipehost test` and `inspect --diff`: what they find.

use std::fs;

use crate::harness::{Case, assemble, plugin_folder};

/// A folder with this guest as its stage, and a case.
fn test(own: &str, case_text: &str) -> Case {
    let case = Case::new()
        .file("stage.wat", assemble(own))
        .file("pipehost.toml", "[build]\ncommand = \"true\"\noutput = \"stage.wat\"\n");
    fs::create_dir(case.path("tests")).unwrap();
    case.file("tests/a.toml", case_text)
}

#[test]
fn a_case_says_what_goes_in_and_what_must_come_out() {
    let right = "[[input]]\nvalue = \"a\"\nkey = \"k\"\n[[output]]\nvalue = \"a\"\nkey = \"k\"\n";
    let ran = test("", right).run(&["test"]).ok();
    assert_eq!(
        ran.stdout,
        "./tests/a.toml  ok      1 record, 1 way to divide them\n\n1 passed, 0 failed\n"
    );
    let wrong = right.replace("[[output]]\nvalue = \"a\"", "[[output]]\nvalue = \"b\"");
    let told = test("", &wrong).run(&["test"]).code(1).stdout;
    for line in
        ["- key = \"k\"  value = \"b\"", "+ key = \"k\"  value = \"a\"", "0 passed, 1 failed"]
    {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    let rejected = "[[input]]\nvalue = \"a\"\n[[rejected]]\ninput = 1\nreason = \"why\"\n";
    let told = test("", rejected).run(&["test"]).code(1).stdout;
    assert!(told.contains("- record 1: \"why\"") && told.contains("+ value = \"a\""), "{told}");
}

/// The counter keeps something, and says in its answer how many calls there were.
#[test]
fn a_stage_that_depends_on_how_records_are_divided_is_found() {
    let counts_calls =
        fs::read_to_string(crate::harness::root().join("tests/guests/counts-calls.wat"));
    let text = "[[input]]\nvalue = \"a\"\nrepeat = 4\n";
    let case = test(&counts_calls.unwrap(), text);
    for args in [&["test"][..], &["test", "--bless"]] {
        // There is no right answer that could be written.
        let told = case.run(args).code(1).stdout;
        assert!(told.contains("FAILED") && told.contains("0 passed, 1 failed"), "{told}");
        assert!(told.contains("depends on how the records are divided"), "{told}");
        assert_eq!(fs::read_to_string(case.path("tests/a.toml")).unwrap(), text);
    }
    let case = test("", text);
    case.run(&["test", "--bless"]).ok();
    case.run(&["test"]).ok();
}

/// One instance holds all keys, so it finds its state under any of them.
#[test]
fn a_state_that_is_saved_under_another_key_is_found() {
    let other = crate::harness::root().join("tests/guests/saves-by-another-key.wat");
    let text = "[[input]]\nvalue = \"{n}\"\nrepeat = 9\n[[output]]\nvalue = \"{n}\"\nrepeat = 9\n";
    let told = test(&fs::read_to_string(other).unwrap(), text).run(&["test"]).code(1).stdout;
    for text in ["its keys shared by several instances", "it saved the key group 0"] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
}

#[test]
fn instances_that_share_the_keys_may_say_last_things_in_any_order() {
    let mut text = "[config]\nsize = \"1h\"\n".to_owned();
    for key in ["a", "b", "c", "d", "e", "f", "a", "b", "e"] {
        text += &format!("[[input]]\nkey = \"{key}\"\ntime = 2024-02-29T12:00:00Z\n");
    }
    let case = test("", &text);
    case.run(&["test", "--component", "aggregate", "--bless"]).ok();
    let ran = case.run(&["test", "--component", "aggregate"]).ok();
    assert!(ran.stdout.contains("9 records, 7 ways to divide them"), "{}", ran.stdout);
    let blessed = case.read("tests/a.toml");
    assert_eq!(blessed.matches("[[output]]").count(), 6, "{blessed}");
}

/// The guest connects to the address in each record, and answers what it was told.
#[test]
fn what_servers_say_over_tcp_is_in_the_case() {
    let guest = plugin_folder("tests/guests/network");
    let text = |more: &str| {
        format!(
            "[[input]]\nvalue = \"192.0.2.1:9000\"\n[[input]]\nvalue = \"[2001:db8::1]:9000\"\n\
             [[input]]\nvalue = \"192.0.2.2:9000\"\n\
             [[output]]\nvalue = \"hello\"\n[[output]]\nvalue = \"\"\n\
             [[rejected]]\ninput = 3\nreason_contains = \"refused: permission denied\"\n\
             [[grants.tcp]]\naddress = \"192.0.2.1:9000\"\nanswer = \"hello\"\nclose = true\n\
             [[grants.tcp]]\naddress = \"[2001:db8::1]:9000\"\nclose = true\n{more}"
        )
    };
    test("", &text("")).run(&["test", "--component", &guest]).ok();
    let wrong = "[[grants.tcp]]\naddress = \"localhost\"\nwant = \"a\"\n";
    let told = test("", &text(wrong)).run(&["test", "--component", &guest]).code(2).stderr;
    for text in ["an IP address and a port", "`want`"] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
}

#[test]
fn a_case_that_does_not_fit_the_stage_fails_and_the_others_are_run() {
    let case = test("", "[[input]]\nfrom = \"left\"\nvalue = \"a\"\n")
        .file("tests/b.toml", "[[input]]\nvalue = \"a\"\n[[output]]\nvalue = \"a\"\n")
        .file("tests/c.toml", "limits = { fuel = false }\n");
    let told = case.run(&["test"]).code(1).stdout;
    for text in ["the stage names no inputs", "./tests/b.toml  ok", "2 passed, 1 failed"] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
}

#[test]
fn a_stage_may_have_other_ports_after_a_restart() {
    let text = "[config]\nroutes = { a = [\"k\"] }\n[[input]]\nkey = \"k\"\n\
                [[input]]\nrestart = { routes = { b = [\"k\"], a = [\"l\"] } }\n\
                [[input]]\nkey = \"k\"\n[[input]]\nkey = \"l\"\n\
                [[output]]\nport = \"a\"\nkey = \"k\"\n[[output]]\nport = \"a\"\nkey = \"l\"\n\
                [[output]]\nport = \"b\"\nkey = \"k\"\n";
    test("", text).run(&["test", "--component", "route"]).ok();
}

#[test]
fn every_mistake_in_the_cases_is_told() {
    let case = test("", "[[input]]\nvalu = \"a\"\n").file("tests/b.toml", "clock = 5.5\n");
    let told = case.run(&["test"]).code(2).stderr;
    assert!(!told.contains("\\u{"), "{told}");
    for text in ["tests/a.toml:2", "`valu`", "did you mean `value`", "tests/b.toml:1", "`clock`"] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
    fs::remove_file(case.path("tests/a.toml")).unwrap();
    fs::remove_file(case.path("tests/b.toml")).unwrap();
    case.run(&["test"]).code(2).says("there is no case in ./tests");
}

#[test]
fn the_difference_of_two_components_is_told() {
    let case = Case::new();
    let told = case.run(&["inspect", "filter", "--diff", "to-upper", "--set", "contains=x"]);
    let told = told.ok().stdout;
    for line in ["name\n  - to-upper 0.1.0\n  + filter 0.1.0\n", "configuration\n"] {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    case.run(&["inspect", "filter", "--diff", "filter"])
        .ok()
        .prints("they are the same component\n");
    // What depends on a configuration that is not given is not said to be the same.
    let told = case.run(&["inspect", "filter", "--diff", "route"]).ok().stdout;
    assert!(told.contains("--set NAME=VALUE"), "{told}");
}

/// A pipeline with a case beside it: lines in, records out at a sink and at a port.
fn pipeline_case(case: &str) -> Case {
    let pipeline = crate::harness::Pipeline::with("state = \"state\"")
        .source("log", "file", "paths = \"no-such-file.log\"\non_error = \"fail\"")
        .stage("parse", "parse-log", "on_error = \"fail\"\nwatermark = { lag = \"5s\" }")
        .stage("count", "aggregate", "config = { size = \"1m\" }")
        .sink("out", "http", "url = \"http://127.0.0.1:9\"\ninput = \"parse\"")
        .sink("counts", "file", "path = \"counts.txt\"\ninput = \"count\"")
        .sink("late", "null", "input = \"count.late\"");
    Case::new().file("p.toml", pipeline.to_string()).file("p.test.toml", case)
}

const LINES: &str = r#"
[[input]]
to = "log"
value = "2026-11-30T10:00:0{n}Z INFO line {n}"
repeat = 3

[[input]]
to = "log"
value = "bad x"
"#;

const EXPECTED: &str = r#"
[[output]]
from = "out"
time = 2026-11-30T10:00:01Z
value = "line 1"
attributes = { level = "INFO" }

[[output]]
from = "out"
time = 2026-11-30T10:00:02Z
value = "line 2"
attributes = { level = "INFO" }

[[output]]
from = "out"
time = 2026-11-30T10:00:03Z
value = "line 3"
attributes = { level = "INFO" }

[[rejected]]
by = "parse"
reason_contains = "no RFC"
"#;

/// Nothing of the world is read or written: neither the input nor the output is there.
#[test]
fn a_pipeline_has_cases_beside_it() {
    let right = EXPECTED.replace("no RFC", "not an RFC");
    let case = pipeline_case(&format!("{LINES}{right}"));
    case.run(&["test", "p.toml"])
        .ok()
        .prints("p.test.toml  ok      4 records\n\n1 passed, 0 failed\n");
    assert!(!case.path("state").exists() && !case.path("counts.txt").exists());
    // The same from the log on, with what is not as expected.
    let wrong = EXPECTED.replace("line 2", "line 5");
    let case = case.file("p.wrong.test.toml", format!("{LINES}{wrong}\n"));
    let told = case.run(&["test", "p.toml"]).code(1).stdout;
    for text in [
        "p.test.toml        ok      4 records\n",
        "p.wrong.test.toml  FAILED\n    `out`:\n",
        "      - time = 2026-11-30T10:00:02Z  value = \"line 5\"  attributes.level = \"INFO\"\n",
        "      + time = 2026-11-30T10:00:02Z  value = \"line 2\"  attributes.level = \"INFO\"\n",
        "    - `parse` is expected to reject a record, and does not, or for another reason\n",
        "    + `parse` rejects record 4: \"bad\" is not an RFC 3339 time\n",
        "\n1 passed, 1 failed\n",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
}

#[test]
fn a_case_may_look_at_ports_and_at_nodes_that_get_nothing() {
    let text = "nothing = [\"out\", \"parse\"]\n[[input]]\nto = \"log\"\nvalue = \"bad x\"\n\
                [[rejected]]\nby = \"parse\"\nreason = \"\\\"bad\\\" is not an RFC 3339 time\"\n";
    let case = pipeline_case(text);
    case.run(&["test", "p.toml"]).ok();
    // A record may enter behind the source.
    let text = "[[input]]\nto = \"count\"\ntime = 2026-11-30T10:00:00Z\nvalue = \"x\"\nrepeat = 5\n\
                [[output]]\nfrom = \"count\"\ntime = 2026-11-30T10:00:00Z\nkey = \"\"\nvalue = \"5\"\n\
                attributes = { window_start = \"2026-11-30T10:00:00Z\", \
                window_end = \"2026-11-30T10:01:00Z\" }\n";
    pipeline_case(text).run(&["test", "p.toml"]).ok();
}

/// A mistake in one case does not keep the others from being run.
#[test]
fn mistakes_in_the_cases_of_a_pipeline_are_all_told() {
    let told = |text: &str| {
        let case = pipeline_case(text).file("p.right.test.toml", "nothing = [\"out\"]\n");
        let told = case.run(&["test", "p.toml"]).code(1).stdout;
        assert!(told.contains("p.right.test.toml  ok      0 records\n"), "{told}");
        move |expected: &str| assert!(told.contains(expected), "{expected:?} is not in {told}")
    };
    let nothing = "nothing = [\"out\"]\n";
    let has = told(&format!("{nothing}[[input]]\nto = \"lag\"\n[[input]]\nto = \"parse.left\"\n"));
    has("the pipeline has no source, stage or sink `lag`");
    has("`parse` does not tell its inputs apart: write `to = \"parse\"`");
    has("p.test.toml:3:6");
    told("[[output]]\nfrom = \"nowhere\"\n")("the pipeline has no source, stage or sink `nowhere`");
    told("[[output]]\nfrom = \"parse.nope\"\n")("the stage `parse` has no port `nope`");
    told("[[input]]\nvalue = \"x\"\n[[rejected]]\nby = \"parse\"\n")(
        "a rejection has either `reason` or `reason_contains`",
    );
    told("[[input]]\nto = \"log\"\n")("the case expects nothing");
    told(&format!("{nothing}[[input]]\nto = \"log\"\nkey = \"x\"\n"))(
        "the codec of `log` makes records of `value`: it takes no time, key or attributes",
    );
    let case = Case::new().file("p.toml", "");
    case.run(&["test", "p.toml"]).code(2).says("p.toml has no test cases: they are p.test.toml");
    case.run(&["test", "p.toml", "--bless"])
        .code(2)
        .says("--bless and --component are for a stage");
}

/// What comes by several ways is compared in any order, and a source is read by its codec.
#[test]
fn a_case_reads_codecs_and_knows_several_ways() {
    let pipeline = crate::harness::Pipeline::new()
        .source("csv", "file", "paths = \"x.csv\"\ncodec = { type = \"csv\", header = true }")
        .source("posted", "http", "listen = \"127.0.0.1:1\"\nack = \"queued\"")
        .source("made", "generate", "count = 3")
        .sink("out", "stdout", "input = [\"csv\", \"posted\", \"made\"]\nrate = 1");
    let text = "[[input]]\nto = \"csv\"\nvalue = \"a,b\"\n[[input]]\nto = \"csv\"\nvalue = \"1,2\"\n\
                [[input]]\nto = \"posted\"\nvalue = \"p\"\n\
                [[input]]\nto = \"made\"\nkey = \"k\"\nvalue = \"m\"\n\
                [[output]]\nfrom = \"out\"\nkey = \"k\"\nvalue = \"m\"\n\
                [[output]]\nfrom = \"out\"\nvalue = \"p\"\n\
                [[output]]\nfrom = \"out\"\nvalue = \"1,2\"\nattributes = { a = \"1\", b = \"2\" }\n";
    let case = Case::new().file("p.toml", pipeline.to_string()).file("p.test.toml", text);
    case.run(&["test", "p.toml"]).ok();
}

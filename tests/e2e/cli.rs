//! The command line: a chain of plugins, overrides, help, and what the other verbs print.

use crate::harness::{Case, Pipeline, guest, plugin};

#[test]
fn a_pipeline_and_a_component_are_measured() {
    let filter = plugin("filter");
    let pipeline = Pipeline::new()
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("some", &filter, r#"config = { field = "value", contains = "1" }"#)
        .sink("out", "stdout", "");
    let lines: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let case = Case::new().file("pipeline.toml", pipeline.to_string()).file("in.txt", &lines);
    let bench = |arguments: &[&str]| {
        case.run(&[&["bench", "--rounds", "1", "--seconds", "1"], arguments].concat())
    };
    let text = bench(&["pipeline.toml", "--svg", "out.svg"]).ok().stdout;
    let head = "pipeline: 10,000 records, 0.0 MB; medians of 1 rounds, in turn\n";
    assert!(text.starts_with(head), "{text}");
    for part in ["sandboxed         native    ratio", "peak memory", "`out` writes nothing here"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(case.read("out.svg").starts_with("<svg "));
    let json = bench(&["pipeline.toml", "--json", "--rate", "1000"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["records"], &json["bytes"]), (&10_000.into(), &lines.len().into()));
    assert_eq!(json["native_stages"][0], "some");
    // Those that are due within a second, and have a 1.
    assert_eq!(json["latency"]["records"], 271);
    assert!(json["latency"]["p50"].as_f64().unwrap() > 0.0);
    assert!(json["sandboxed"]["cpu"].as_f64().unwrap() > 0.0);

    // What the pipeline has made is left as it was.
    let made = case.read("pipeline.toml").replace(
        "type = \"stdout\"",
        "type = \"file\"\npath = \"made.txt\"\nappend = true\nrotate = { size = \"1KiB\" }",
    );
    std::fs::write(case.path("made.toml"), made).unwrap();
    std::fs::write(case.path("made.txt"), "before\n").unwrap();
    let files = || std::fs::read_dir(case.folder.path()).unwrap().count();
    let before = files();
    bench(&["made.toml"]).ok();
    assert_eq!((case.read("made.txt"), files()), ("before\n".to_owned(), before));

    let component = ["--set", "field=value", "--set", "contains=INFO", "--records", "1000"];
    let text = bench(&[&[&*filter][..], &component].concat()).ok().stdout;
    assert!(text.starts_with("filter: 1,000 records; "), "{text}");
    std::fs::write(case.path("mixed.txt"), "1\nx\n2\n").unwrap();
    let text = bench(&[&plugin("double"), "--input", "mixed.txt"]).ok().stdout;
    assert!(text.contains("records rejected in each run: 1\n"), "{text}");
    bench(&[&filter]).code(2).says("give either `attribute` or `field`");
    let endless = case.read("pipeline.toml").replace("\"file\"\npaths", "\"stdin\"\n#");
    std::fs::write(case.path("endless.toml"), endless).unwrap();
    bench(&["endless.toml"]).code(2).says("the source `in` has no end: stdin cannot be read a");
}

#[test]
fn a_chain_of_plugins_between_stdin_and_stdout() {
    let case = Case::new()
        .stdin("2023-10-27T10:00:00Z INFO started\n2023-10-27T10:00:01Z ERROR disk full\n");
    let [parse, filter, upper] = ["parse-log", "filter", "to-upper"].map(plugin);
    let arguments = [
        "run",
        "--plugin",
        &parse,
        "--plugin",
        &filter,
        "--plugin",
        &upper,
        "--set",
        "filter.level=ERROR",
        "--workers",
        "2",
        "--fuel",
        "300000000",
        "--timeout",
        "10s",
        "--memory",
        "32MiB",
    ];
    case.run(&arguments).ok().prints("DISK FULL\n");
}

#[test]
fn a_chain_fails_at_a_rejected_record_or_keeps_it() {
    let double = plugin("double");
    let case = Case::new().stdin("1\nx\n");
    case.run(&["run", "--plugin", &double])
        .code(1)
        .says("stage `double` rejected record 2 of stdin");
    case.run(&["run", "--plugin", &double, "--dead-letters", "dead"]).ok().prints("2\n");
    assert_eq!(crate::harness::letters(&case, "dead")[0].value, "x");
}

#[test]
fn limits_of_the_command_line_are_limits() {
    let case = Case::new().file("work.wat", guest("work")).stdin("a\n");
    let run = |flags: &[&str]| case.run(&[&["run", "--plugin", "work.wat"], flags].concat());
    run(&["--fuel", "20000000"]).ok().prints("a\n");
    run(&["--fuel", "1000"]).code(1).says("fuel: it used up its fuel");
    let case = Case::new().file("loop.wat", guest("loop-in-process")).stdin("a\n");
    case.run(&["run", "--plugin", "loop.wat", "--fuel", "9000000000000", "--timeout", "50ms"])
        .code(1)
        .says("timeout: it ran longer than 50ms");
    let case = Case::new().file("memory.wat", guest("memory")).stdin("a\n");
    case.run(&["run", "--plugin", "memory.wat", "--memory", "8MiB"])
        .code(1)
        .says("memory: it wanted");
}

#[test]
fn mistakes_in_the_usage_are_named() {
    let case = Case::new();
    case.run(&["run"]).code(2).says("PIPELINE.toml");
    case.run(&["run", "missing.toml"]).code(2).says("cannot read the pipeline missing.toml");
    case.run(&["run", "--plugin", "a.wasm", "--timeout", "5"]).code(2).says("the unit is missing");
    case.run(&["run", "--plugin", "a.wasm", "--memory", "5 apples"]).code(2).says("is not a size");
    let double = plugin("double");
    case.run(&["run", "--plugin", &double, "--set", "dubble.work=1"])
        .code(2)
        .says("there is no stage `dubble`, there is `double`");
    case.run(&["run", "--plugin", &double, "--set", "work=1"])
        .code(2)
        .says("write STAGE.NAME=VALUE");
    case.run(&["run", "--plugin", &double, "--set", "double.work=much"])
        .code(2)
        .says("\"much\" is not of type \"integer\"");
}

#[test]
fn help_tells_what_there_is() {
    let help = Case::new().run(&["--help"]).ok().stdout;
    for text in [
        "run",
        "check",
        "graph",
        "inspect",
        "dead-letter",
        "completions",
        "man",
        "Exit codes: 0 done",
    ] {
        assert!(help.contains(text), "{text}");
    }
    let run = Case::new().run(&["run", "--help"]).ok().stdout;
    for text in [
        "--plugin",
        "--set",
        "--workers",
        "--fuel",
        "--timeout",
        "--memory",
        "--metrics",
        "< in.log > out.log",
    ] {
        assert!(run.contains(text), "{text}");
    }
}

#[test]
fn completions_and_man_page() {
    assert!(
        Case::new().run(&["completions", "bash"]).ok().stdout.contains("complete -F _pipehost")
    );
    let man = Case::new().run(&["man"]).ok().stdout;
    assert!(man.starts_with(".ie \\n(.g") && man.contains("PIPEHOST RUN"), "{man}");
    assert!(man.contains("PIPEHOST DEAD-LETTER REPLAY"), "{man}");
}

#[test]
fn inspect_shows_what_a_component_is() {
    let shown = Case::new()
        .run(&["inspect", &plugin("alert"), "--set", "level=ERROR", "--set", "threshold=3"])
        .ok()
        .stdout;
    for text in [
        "name        alert 0.1.0\n",
        "summary     Counts the records of a level and raises an alert at each threshold\n",
        "state       kept by the host (checkpoint)\n",
        "ports       out, alerts\n",
        "reads       value, attribute `level`\n",
        "grants      may use env\n",
        "wasi:cli/stdout@0.2",
        "SETTING    TYPE          DEFAULT   MEANING\n",
        "level      text          required  The level to count.\n",
        "\n[[stage]]\nname = \"alert\"\nplugin = \"alert\"\ninput = \"NODE\"\n\
         config = { level = \"ERROR\", threshold = 3 }\n",
    ] {
        assert!(shown.contains(text), "{text:?} is not in {shown}");
    }
    // Without what it requires, it is opened with examples of that. A stage with two inputs has both.
    let join = Case::new().run(&["inspect", &plugin("join")]).ok().stdout;
    for text in [
        "            with the settings of the example below:\n",
        "inputs      left, right\n",
        "ports       out, late\n",
        "input = [\"LEFT\", \"RIGHT\"]\nconfig = { within = \"90s\" }\n",
    ] {
        assert!(join.contains(text), "{text:?} is not in {join}");
    }
    let schema = Case::new().run(&["inspect", &plugin("join"), "--schema"]).ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["within"]));
    Case::new().run(&["inspect", "missing.wasm"]).code(2).says("missing.wasm does not exist");
    let case = Case::new().file("not-a-stage.wat", guest("not-a-stage"));
    case.run(&["inspect", "not-a-stage.wat"]).code(2).says("it is not a stage: it exports ");
}

#[test]
fn graphs_in_three_forms() {
    let out = "path = \"o\"\ninput = [\"parse\", \"log\"]\nwhen_full = \"drop\"";
    let pipeline = Pipeline::new()
        .source("log", "stdin", "")
        .stage("parse", "parse.wasm", "workers = 2")
        .sink("out", "file", out)
        .sink("bad", "null", r#"input = "parse.bad""#);
    let case = Case::new().file("p.toml", pipeline.to_string());
    let graph = |format: &str| case.run(&["graph", "p.toml", "--format", format]).ok().stdout;
    assert_eq!(
        graph("text"),
        "log (stdin)\n\
         ├─► parse (parse.wasm ×2)\n\
         │   ├─► [drops when full] out (o)\n\
         │   └─► [bad] bad (null)\n\
         └─► [drops when full] out (o)\n"
    );
    assert!(graph("mermaid").starts_with("flowchart LR\n    log([\"log (stdin)\"])\n"));
    assert!(graph("mermaid").contains("    parse -->|bad| bad\n"));
    assert!(graph("dot").contains("    \"parse\" -> \"bad\" [label=\"bad\"];\n"));
}

#[test]
fn color_only_where_it_is_wished() {
    let case = Case::new().file("p.toml", "x = 1\n");
    let plain = case.run(&["check", "p.toml"]).code(2).stderr;
    assert!(!plain.contains('\u{1b}'), "no escape sequences in a pipe: {plain:?}");
    let mut command = case.command(&["check", "p.toml"]);
    command.env("CLICOLOR_FORCE", "1");
    let colored = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(colored.contains('\u{1b}'), "{colored:?}");
}

#[test]
fn quiet_is_quiet() {
    let upper = plugin("to-upper");
    let ran = Case::new().stdin("a\n").run(&["run", "--quiet", "--plugin", &upper]).ok();
    let said: Vec<_> = ran.stderr.lines().filter(|line| !line.starts_with("building ")).collect();
    assert_eq!(said, [] as [&str; 0]);
}

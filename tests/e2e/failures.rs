//! Stages that trap, lie, or want what they may not have; and what becomes of the
//! records around them.

use crate::harness::{Case, Letter, Pipeline, StageCase, guest as guest_text};

fn guest(name: &str) -> StageCase {
    StageCase::guest(name).input(&["a", "b", "c"])
}

#[test]
fn a_guest_that_behaves_is_not_in_the_way() {
    guest("pass").passes();
}

#[test]
fn traps_and_errors_are_told_apart() {
    guest("trap").refuses("trap: it trapped: wasm `unreachable` instruction executed");
    guest("error").refuses("error: no luck");
    StageCase::wasi().input(&["exit"]).refuses("trap: it exited with code 1");
    let panics = StageCase::wasi().input(&["panic"]).run_ok();
    assert!(panics.letters[0].reason.contains("on purpose"), "{:?}", panics.letters);
}

#[test]
fn what_a_guest_says_is_short_and_moves_no_cursor() {
    let made = StageCase::wasi().input(&["shout"]).run_ok();
    let reason = &made.letters[0].reason;
    assert!(reason.len() < 5000 && !reason.contains('\u{1b}'), "{reason:?}");
}

#[test]
fn a_stage_that_fails_to_finish_fails_the_pipeline() {
    guest("trap-in-finish")
        .case()
        .pipeline()
        .code(1)
        .says("stage `stage` failed when it was asked to finish: it trapped: ");
}

#[test]
fn the_first_record_at_fault_ends_a_pipeline_that_is_to_fail() {
    // All 4,096 are: to find each would take thousands of calls.
    let lines = vec!["x"; 4096];
    let case = StageCase::guest("trap").input(&lines).case();
    let pipeline = case.read("pipeline.toml").replace("dead-letter\"", "fail\"");
    let ran = case.file("pipeline.toml", pipeline).pipeline();
    ran.code(1).says("rejected record 1 of in.txt").says("failed and was restored: 13 × trap");
}

#[test]
fn an_endless_loop_is_stopped_wherever_it_is() {
    let short = "limits = { timeout = \"100ms\", fuel = false }";
    guest("loop-in-process").settings(short).refuses("timeout: ");
    guest("loop-in-process").refuses("fuel: ");
    guest("loop-in-open").is_refused("does not open: it used up its fuel");
    guest("loop-in-open").settings(short).is_refused("does not open: it ran longer than 100ms");
    guest("loop-in-start").is_refused("it used up its fuel");
    guest("loop-in-start").settings(short).is_refused("it ran longer than 100ms");
    guest("loop-in-schema").settings("limits = { compile = { time = \"1s\" } }").is_refused(
        "the check of its configuration against its schema takes longer than 1s \
         (limits.compile.time)",
    );
}

#[test]
fn an_answer_that_lies_is_named() {
    let lies = |name: &str, rule: &str| {
        guest(name).refuses(&format!("contract: its answer breaks the contract: {rule}"));
    };
    lies("lie-port", "it sent rows to port 9, and its plan has 1");
    lies("lie-row", "in an output for port 0, row 99999 was picked from a batch of 1");
    lies("lie-descending", "in an output for port 0, the ends of the value descend");
    lies("lie-length", "in an output for port 0, the value has 1 ends for 2 rows");
    lies("lie-data", "in an output for port 0, the value has 2 bytes of data and ends at 1");
    lies("lie-inherited", "in an output for port 0, the value has inherited rows");
    lies(
        "lie-excerpt",
        "in an output for port 0, the value has a row that is no part of the 1 bytes",
    );
    lies("lie-excerpt-of", "in an output for port 0, the value is an excerpt of a column that it");
    lies("lie-rejected", "it rejected row 7 of a batch of 1");
    guest("gigabyte").refuses("trap: ");
}

#[test]
fn one_poisonous_record_in_4096_is_rejected_and_4095_go_through_in_order() {
    let lines: Vec<String> = (0..4096)
        .map(|n| if n == 2741 { "Poison".to_owned() } else { format!("line {n}") })
        .collect();
    let made = StageCase::guest("poison")
        .input(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        .run_ok();
    let expected: Vec<_> = lines.iter().filter(|line| *line != "Poison").cloned().collect();
    assert_eq!(made.lines, expected);
    let [letter] = &made.letters[..] else { panic!("{:?}", made.letters) };
    assert_eq!((&*letter.value, letter.number), ("Poison", 2742));
    // 1 of 4096, found by halves: twelve divisions, and the record itself.
    assert!(made.ran.stderr.contains("failed and was restored: 13 × trap"), "{}", made.ran.stderr);
}

#[test]
fn a_state_survives_the_failure_of_its_instance() {
    let lines = ["count", "count", "panic", "count", "exit", "count"];
    for batch in ["batch = { records = 1 }", "", "batch = { records = 2 }"] {
        let made = StageCase::wasi().settings(batch).input(&lines).run_ok();
        // Whatever the batches: records that failed have left no mark on the state.
        assert_eq!(made.lines, ["1", "2", "3", "4"], "{batch}");
        assert_eq!(made.letters.len(), 2);
    }
}

#[test]
fn a_failing_stage_costs_its_neighbours_nothing() {
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("bomb", "bomb.wat", r#"on_error = "dead-letter""#)
        .stage("upper", "to-upper", r#"input = "in""#)
        .sink("bombed", "file", "path = \"bombed\"\ninput = \"bomb\"")
        .sink("out", "stdout", "");
    let input: String = (0..100).map(|n| format!("line {n}\n")).collect();
    let case = Case::new()
        .file("pipeline.toml", pipeline.to_string())
        .file("bomb.wat", guest_text("memory-bomb"))
        .file("in.txt", &input);
    case.pipeline().ok().prints(&input.to_uppercase());
    assert_eq!(case.read("bombed"), "");
    assert_eq!(crate::harness::letters(&case, "dead").len(), 100);
}

#[test]
fn a_retryable_rejection_is_tried_again() {
    let retry = |attempts: u32| {
        guest("flaky").settings(&format!("retry = {{ attempts = {attempts}, backoff = \"1ms\" }}"))
    };
    // Its first two answers refuse the first row and send nothing; then it gives in. The
    // rows that it did not refuse, it filtered out.
    let made = retry(3).run_ok();
    assert_eq!(made.lines, ["a"]);
    assert_eq!(made.letters, []);
    let made = retry(2).run_ok();
    assert_eq!(made.lines, [] as [&str; 0]);
    let letter =
        |attempts| Letter { value: "a".into(), number: 1, reason: "not yet.".into(), attempts };
    assert_eq!(made.letters, [letter(2)]);
    assert_eq!(guest("flaky").run_ok().letters, [letter(1)]);
}

#[test]
fn a_component_of_another_world_is_refused() {
    let refused = |name: &str, why: &str| guest(name).is_refused(why);
    refused(
        "not-a-stage",
        "it is not a stage: it exports nothing, and a stage exports `pipehost:stage/stage@0.2.0`",
    );
    refused(
        "core-module",
        "is a core module that exports `add`; a stage exports `pipehost:stage/stage@0.2.0#process`",
    );
    refused("composed", "it is not a stage: it exports `run`");
    refused("program", "is a program with a `main`, and a stage is a library");
    refused("imports-unknown", "it imports `acme:kv/store@1.0.0`, which pipehost does not provide");
}

/// A component of Python has 38 core instances, if its WASI is stubbed.
#[test]
fn a_component_may_have_many_core_instances() {
    let component = |instances: usize| {
        let instances = "(core instance (instantiate $m))".repeat(instances);
        format!("(component (core module $m (memory 1)) {instances})")
    };
    let told = |instances: usize| {
        let case = StageCase::plugin("./many.wat").case().file("many.wat", component(instances));
        case.pipeline().code(2).stderr
    };
    assert!(told(3).contains("it is not a stage"), "{}", told(3));
    let without_memory = component(64).replace("(memory 1)", "");
    let case = StageCase::plugin("./many.wat").case().file("many.wat", without_memory);
    case.pipeline().code(2).says("it is not a stage");
    assert!(told(65).contains("it does not fit the limits of a stage"), "{}", told(65));
}

#[test]
fn what_is_no_component_is_refused() {
    let refused = |name: &str, content: &[u8], why: &str| {
        StageCase::plugin(&format!("./{name}"))
            .case()
            .file(name, content)
            .pipeline()
            .code(2)
            .says(why);
    };
    refused("empty.wasm", b"", "is not WebAssembly");
    refused("text.wasm", b"hello", "is not WebAssembly");
    refused("broken.wat", b"(component", "is not WebAssembly text");
    refused("torn.wasm", b"\0asm\x0d\0\x01\0\x07", "it is not a valid component");
    let old = guest_text("pass").replace("@0.2.0", "@0.1.0");
    let why = "built for version 0.1.0 of the contract pipehost:stage, and this pipehost runs 0.2.0: \
               build it again";
    refused("old.wat", old.as_bytes(), why);
    let clocks = r#"(component (import "wasi:clocks/system-clock@0.3.0" (instance)))"#;
    let why =
        "it imports `wasi:clocks/system-clock@0.3.0`, and pipehost provides WASI 0.2, not 0.3";
    refused("later.wat", clocks.as_bytes(), why);
    StageCase::plugin("./missing.wasm").is_refused("./missing.wasm does not exist");
    StageCase::plugin("/tmp").is_refused("has no pipehost.toml with a [build] and no Cargo.toml");
}

#[test]
fn a_source_folder_that_does_not_compile_says_why() {
    let case = StageCase::plugin("./broken").case();
    std::fs::create_dir_all(case.path("broken/src")).unwrap();
    let manifest =
        "[package]\nname = \"broken\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
    case.file("broken/Cargo.toml", manifest)
        .file("broken/src/lib.rs", "fn wrong() -> u8 { \"text\" }")
        .pipeline()
        .code(2)
        .says("cargo could not build")
        .says("mismatched types");
}

#[test]
fn nothing_is_granted_by_default() {
    let made = StageCase::wasi()
        .input(&["args", "all-env", "read /etc/passwd", "write /tmp/x", "read ../in.txt"])
        .run_ok();
    assert_eq!(made.lines[..2], ["[]", "[]"]);
    assert!(made.lines[2..].iter().all(|line| line.starts_with("refused: ")), "{:?}", made.lines);
}

#[test]
fn grants_give_what_they_name_and_no_more() {
    let case = StageCase::wasi()
        .settings("[stage.grants]\nenv = { TOKEN = \"secret\" }\nread = { \"/in\" = \"readable\" }\nwrite = { \"/out\" = \"writable\" }")
        .input(&[
            "env TOKEN",
            "env HOME",
            "read /in/file",
            "write /in/file",
            "write /out/made",
            "read /out/made",
            "read /in/../writable/made",
        ])
        .case();
    for folder in ["readable", "writable"] {
        std::fs::create_dir(case.path(folder)).unwrap();
    }
    let case = case.file("readable/file", "contents");
    let ran = case.pipeline().ok();
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[..3], ["Some(\"secret\")", "None", "contents"]);
    assert!(lines[3].starts_with("refused: "), "{lines:?}");
    assert_eq!(lines[4..6], ["done", "written"]);
    assert!(lines[6].starts_with("refused: "), "{lines:?}");
    assert_eq!(case.read("writable/made"), "written");
}

/// The functions have the names that their author gave them; how a panic ends is left out.
#[test]
fn a_trap_and_a_panic_say_where_they_happened() {
    let made = StageCase::wasi().input(&["panic", "exit"]).run_ok();
    let reason = &made.letters[0].reason;
    assert!(reason.contains("on purpose") && reason.contains(", in `"), "{reason}");
    let place = reason.split(", in ").nth(1).unwrap();
    assert!(place.starts_with("`<wasi_guest::WasiGuest as pipehost_plugin::"), "{reason}");
    assert!(!place.contains("panicking"), "{reason}");
}

#[test]
fn a_call_whose_time_runs_out_says_where_it_was() {
    for (fuel, why) in
        [("fuel = 1_000_000_000_000", "fuel is counted"), ("fuel = false", "it is not")]
    {
        let limits = format!("limits = {{ {fuel}, timeout = \"300ms\" }}");
        let made = StageCase::guest("loop-in-process").settings(&limits).input(&["x"]).run_ok();
        let reason = &made.letters[0].reason;
        let expected = "timeout: it ran longer than 300ms (limits.timeout), in `process`";
        assert_eq!(reason, expected, "{why}");
    }
    // One that waits is not asked a second time: it would wait again.
    let wait =
        StageCase::wasi().settings("limits = { timeout = \"300ms\" }").input(&["sleep 60000"]);
    let made = wait.run_ok();
    assert_eq!(made.letters[0].reason, "timeout: it ran longer than 300ms (limits.timeout)");
}

/// One that answers too late has failed, and is not asked again.
#[test]
fn a_late_answer_is_a_timeout() {
    let pipeline = crate::harness::Pipeline::with("dead_letters = \"dead\"")
        .source("in", "generate", "count = 20000\nbatch = { records = 5000 }")
        .stage(
            "double",
            "double",
            "config = { work = 200 }\nlimits = { fuel = false, timeout = \"1ms\" }\n\
             on_error = \"dead-letter\"",
        )
        .sink("out", "null", "");
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let ran = case.pipeline().ok();
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// A guest that finds no folder does not even ask the host: its own words are all that there is.
#[test]
fn the_grant_that_is_missing_is_named() {
    let reason = |settings: &str| {
        let made = StageCase::wasi().settings(settings).input(&["open /data/x"]).run_ok();
        made.letters[0].reason.clone()
    };
    let none = reason("");
    assert!(
        none.ends_with("; no folder is granted to it: grants.read = { \"/GUEST\" = \"FOLDER\" }"),
        "{none}"
    );
    // A file that is not in a granted folder is one that is not there.
    let other = reason("grants = { read = { \"/other\" = \".\" } }");
    assert!(!other.contains("grant"), "{other}");
    // Words of a record give no advice.
    let quoted = StageCase::wasi().input(&["No such file or directory"]).run_ok();
    assert_eq!(quoted.letters[0].reason, "\"No\" is not known");
}

//! A stage that keeps failing is no longer called.

use crate::harness::{Case, Pipeline, guest, letters};

/// Batches of one record through a guest that traps on values that begin with `P`.
fn case(breaker: &str, rest: &str, input: &str) -> Case {
    let settings = format!("on_error = \"dead-letter\"\nbreaker = {{ {breaker} }}\n{rest}");
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 1 }")
        .stage("poison", "poison.wat", &settings)
        .sink("out", "stdout", "");
    Case::new()
        .file("in.txt", input)
        .file("poison.wat", guest("poison"))
        .file("pipeline.toml", pipeline.to_string())
}

fn reasons(case: &Case) -> Vec<String> {
    letters(case, "dead").into_iter().map(|letter| letter.reason).collect()
}

#[test]
fn fewer_failures_than_it_allows_leave_it_closed() {
    let case = case("failures = 3", "", "a\nP\nP\nb\n");
    let ran = case.pipeline().ok().prints("a\nb\n");
    assert!(!ran.stderr.contains("breaker"), "{}", ran.stderr);
    assert_eq!(reasons(&case).len(), 2);
}

#[test]
fn it_fails_the_pipeline_if_it_is_to() {
    let case = case("failures = 2", "", "a\nP\nP\nb\n");
    case.pipeline().code(1).says(
        "error: stage `poison` failed 2 times within 60s, the last: it trapped: wasm \
         `unreachable` instruction executed, in `process` (breaker)",
    );
}

#[test]
fn or_all_records_are_rejected_while_it_is_open() {
    let case = case(
        "failures = 2, on_open = \"dead-letter\", cool_down = \"1h\"",
        "",
        "a\nP1\nP2\nb\nc\n",
    );
    case.pipeline()
        .ok()
        .prints("a\n")
        .says("the breaker of stage `poison` is open: it failed 2 times within 60s")
        .says("its breaker opened once, and is open");
    let reasons = reasons(&case);
    assert_eq!(reasons.len(), 4);
    assert!(reasons[..2].iter().all(|reason| reason.starts_with("trap: ")), "{reasons:?}");
    for reason in &reasons[2..] {
        assert!(reason.starts_with("breaker: its stage failed 2 times within 60s"), "{reason}");
    }
}

#[test]
fn or_the_stage_pauses_until_a_probe_goes_through() {
    // The third failure is a probe: it opens again at once, and the next one closes it.
    for workers in ["", "workers = 2"] {
        let case = case(
            "failures = 2, on_open = \"pause\", cool_down = \"30ms\"",
            workers,
            "a\nP1\nP2\nP3\nb\nc\n",
        );
        case.pipeline().ok().prints("a\nb\nc\n").says("stage `poison` works again");
        assert_eq!(reasons(&case).len(), 3, "all went to the guest");
    }
}

#[test]
fn failures_out_of_its_window_do_not_count() {
    let input = "P\n".repeat(20);
    let case = case("failures = 20, window = \"1ns\"", "", &input);
    case.pipeline().ok();
    assert_eq!(reasons(&case).len(), 20);
}

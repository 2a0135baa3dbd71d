//! Every pipeline of `host/examples/`, with its exact output.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Case, Ran, letters, root};

/// A copy of the examples, so that what they write does not lie in the repository.
fn examples() -> Case {
    let case = Case::new();
    fs::create_dir_all(case.path("host/examples")).unwrap();
    symlink(root().join("plugins"), case.path("plugins")).unwrap();
    for file in fs::read_dir(root().join("host/examples")).unwrap() {
        let file = file.unwrap().path();
        let is_input = file.extension().is_some_and(|e| e == "toml" || e == "txt")
            || file.file_name().is_some_and(|name| name == "logs.log");
        if is_input {
            fs::copy(&file, case.path("host/examples").join(file.file_name().unwrap())).unwrap();
        }
    }
    case
}

fn run(case: &Case, example: &str) -> Ran {
    case.run(&["run", &format!("host/examples/{example}.toml")])
}

#[test]
fn five_records_upper_cased_and_prefixed() {
    run(&examples(), "five").ok().prints(
        "Processed: {ID:1 Value:PROCESSED-DATA-1}\n\
         Processed: {ID:2 Value:PROCESSED-DATA-2}\n\
         Processed: {ID:3 Value:PROCESSED-DATA-3}\n\
         Processed: {ID:4 Value:PROCESSED-DATA-4}\n\
         Processed: {ID:5 Value:PROCESSED-DATA-5}\n",
    );
}

#[test]
fn ten_integers_doubled_by_three_workers() {
    let ran = run(&examples(), "workers").ok().says("double ×3  10   10");
    ran.prints("2\n4\n6\n8\n10\n12\n14\n16\n18\n20\n");
}

#[test]
fn a_bounded_stage_before_a_slow_consumer() {
    let ran = run(&examples(), "bounded").ok();
    let expected: String = (1..=30).map(|n| format!("ITEM {n}\n")).collect();
    // Both queues were full, and neither held more than its two batches.
    assert_eq!(ran.stderr.matches("    2/2  ").count(), 2, "{}", ran.stderr);
    ran.prints(&expected);
}

#[test]
fn a_run_that_meets_its_deadline() {
    let ran = run(&examples(), "deadline")
        .code(124)
        .says("the deadline passed: every record that was read was delivered");
    let lines: Vec<_> = ran.stdout.lines().collect();
    let expected: Vec<_> = (1..=lines.len()).map(|n| format!("TICK {n}")).collect();
    assert_eq!(lines, expected);
    assert!((1..=11).contains(&lines.len()), "{lines:?}");
}

#[test]
fn a_batch_stage_with_a_remainder() {
    let case = examples();
    let ran = run(&case, "batch").ok();
    let expected: String = (1..=10).map(|n| format!("ITEM-{n}\n")).collect();
    // Batches of 3, 3, 3, 1 came; batches of 4, 4, 2 went on: three calls, ten records.
    let row = ran.stderr.lines().find(|line| line.starts_with("  print")).unwrap();
    assert!(row.contains("10   10"), "{row}");
    ran.prints(&expected);
}

#[test]
fn errors_that_fail_the_pipeline() {
    run(&examples(), "errors-fail")
        .code(1)
        .says("error: stage `double` rejected record 3 of host/examples/numbers.txt: \"three\" is not a 64-bit integer")
        .prints("");
}

#[test]
fn errors_that_are_skipped() {
    let ran =
        run(&examples(), "errors-skip").ok().says("double: 2 records were rejected and dropped");
    ran.prints("2\n4\n8\n12\n");
}

#[test]
fn errors_that_become_dead_letters() {
    let case = examples();
    run(&case, "errors-dead-letter").ok().prints("2\n4\n8\n12\n");
    let letters = letters(&case, "host/examples/errors.dead");
    let found: Vec<_> = letters.iter().map(|l| (&*l.value, l.number, &*l.reason)).collect();
    assert_eq!(
        found,
        [
            ("three", 3, "\"three\" is not a 64-bit integer"),
            ("5.5", 5, "\"5.5\" is not a 64-bit integer"),
        ]
    );
}

#[test]
fn the_log_pipeline() {
    let case = examples();
    run(&case, "logs")
        .ok()
        .prints("ALERT: 3 CRITICAL records, the last: [WebServer] Service is down\n");
    assert_eq!(
        case.read("host/examples/processed.log"),
        "2023-10-27T10:00:02Z ERROR [WebServer] Failed to connect to database\n\
         2023-10-27T10:00:04Z CRITICAL [WebServer] Database is unreachable\n\
         2023-10-27T10:00:06Z CRITICAL [WebServer] Disk is full\n\
         2023-10-27T10:00:07Z ERROR [WebServer] Request failed with status 500\n\
         2023-10-27T10:00:08Z CRITICAL [WebServer] Service is down\n"
    );
}

#[test]
fn every_example_is_fit_to_run() {
    let case = examples();
    for file in fs::read_dir(case.path("host/examples")).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".test.toml") {
            let pipeline = file.with_file_name(name.replace(".test.toml", ".toml"));
            case.run(&["test", &pipeline.display().to_string()]).ok();
        } else if name.ends_with(".toml") {
            let ran = case.run(&["check", &file.display().to_string()]).ok();
            assert!(ran.stdout.contains(": no mistakes (1 source, "), "{}", ran.stdout);
        }
    }
}

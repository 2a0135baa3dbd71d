//! Time: whatever guests do, others get theirs.

use rustix::process::Signal;

use crate::harness::{Case, Pipeline, guest};
use crate::support::{Run, cores, get, hostile, metric};

/// A stage of each record, beside a neighbour that counts.
fn pipeline(pipeline: &str, hostile_stages: &[(String, String)], verbs: &[&str]) -> Case {
    let limits = r#"limits = { timeout = "1h", fuel = 9_000_000_000_000_000 }"#;
    let mut pipeline = Pipeline::with(&format!("shutdown_grace = \"100ms\"\n{pipeline}"))
        .source("verbs", "file", "paths = \"verbs\"\nbatch = { records = 1 }")
        .source("made", "generate", "rate = 1000")
        .stage("neighbour", "pass.wat", "")
        .sink("out", "null", "");
    for (n, (plugin, settings)) in hostile_stages.iter().enumerate() {
        let settings = format!("input = \"verbs\"\non_error = \"skip\"\n{limits}\n{settings}");
        let (stage, sink) = (format!("hostile-{n}"), format!("null-{n}"));
        pipeline = pipeline.stage(&stage, plugin, &settings).sink(&sink, "null", "");
    }
    let case = Case::new()
        .file("pipeline.toml", pipeline.to_string())
        .file("pass.wat", guest("pass"))
        .file("loop.wat", guest("loop-in-process"))
        .file("fill.wat", guest("fill-forever"))
        .file("verbs", verbs.iter().map(|verb| format!("{verb}\n")).collect::<String>());
    std::fs::create_dir(case.path("granted")).unwrap();
    case.file("granted/file", vec![b'x'; 1 << 20])
}

/// Runs until all hostile guests are inside of a call and the neighbour has got on meanwhile;
/// then a signal ends it.
fn the_rest_goes_on(case: &Case, stages: usize) {
    let command = case.command(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"]);
    let mut run = Run::start(command);
    let address = run.address("serving metrics at http://");
    let run = run.watch();
    let (mut inside, mut before) = (0, 0.0);
    loop {
        assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
        let text = get(address, "/metrics").1;
        // A guest that has a record and gave nothing back is inside of a call.
        inside = (0..stages)
            .filter(|n| {
                let labels = format!("stage=\"hostile-{n}\",pipeline=\"pipeline\"");
                metric(&text, "pipeline_stage_records_in_total", &labels) > 0.0
            })
            .count()
            .max(inside);
        if inside < stages {
            continue;
        }
        let out = metric(
            &text,
            "pipeline_stage_records_out_total",
            "stage=\"out\",pipeline=\"pipeline\"",
        );
        if before == 0.0 {
            before = out.max(1.0);
        }
        if out >= before + 500.0 {
            break;
        }
    }
    run.signal(Signal::TERM);
    let ran = run.end();
    assert_eq!(ran.code, 143, "{}", ran.stderr);
    assert!(ran.stderr.contains("records not delivered: "), "{}", ran.stderr);
}

/// As many as there are cores, and twice as many.
fn with_many(verb: &str, settings: &str) {
    for stages in [cores(), 2 * cores()] {
        let hostile = vec![(hostile(), settings.to_owned()); stages];
        the_rest_goes_on(&pipeline("", &hostile, &[verb]), stages);
    }
}

const READ: &str = "grants = { read = { \"/\" = \"granted\" } }";

#[test]
fn guests_that_compute() {
    for plugin in ["./loop.wat", "./fill.wat"] {
        for stages in [cores(), 2 * cores()] {
            let hostile = vec![(plugin.to_owned(), String::new()); stages];
            the_rest_goes_on(&pipeline("", &hostile, &["x"]), stages);
        }
    }
}

#[test]
fn guests_that_write() {
    with_many("write 65536", "");
    with_many("write-and-flush 4096", "");
    with_many("write-zeroes 65536", "");
    with_many("write 0", "");
}

#[test]
fn guests_that_ask_for_what_is_always_there() {
    for verb in ["random 4096", "clock", "environment", "subscribe", "preopens", "poll 500"] {
        with_many(verb, "");
    }
}

#[test]
fn guests_that_read_folders() {
    for verb in ["stat 100000", "stat 1", "open 100000", "list", "read 1000000"] {
        with_many(verb, READ);
    }
}

#[test]
fn a_write_beyond_its_permit_traps() {
    let verbs = ["write 65537", "write 16000000", "write-unasked 1", "write-and-flush 4097"];
    let case = pipeline("", &[(hostile(), String::new())], &verbs);
    let text = case.read("pipeline.toml").replace("rate = 1000", "count = 1");
    let ran = case.file("pipeline.toml", text).pipeline().ok();
    assert!(ran.stderr.contains("hostile-0: failed and was restored: 4 × trap"), "{ran:?}");
}

#[test]
fn calls_of_the_host_burn_fuel() {
    for verb in ["write 65536", "clock", "random 4096", "poll 1"] {
        let case = pipeline("", &[(hostile(), String::new())], &[verb]);
        let text = case
            .read("pipeline.toml")
            .replace("fuel = 9_000_000_000_000_000", "fuel = 1_000_000_000")
            .replace("rate = 1000", "count = 1");
        let ran = case.file("pipeline.toml", text).pipeline().ok();
        assert!(ran.stderr.contains("hostile-0: failed and was restored: 1 × fuel"), "{ran:?}");
    }
}

#[test]
fn a_deadline_ends_what_does_not_end() {
    let hostile = vec![(hostile(), String::new()); 2 * cores()];
    let case = pipeline("deadline = \"500ms\"", &hostile, &["write 65536"]);
    case.pipeline().code(124).says("the deadline passed: records not delivered: ");
}

#[test]
fn a_call_ends_with_its_time() {
    let case = pipeline("", &vec![(hostile(), String::new()); 2 * cores()], &["write 65536"]);
    let text = case
        .read("pipeline.toml")
        .replace("timeout = \"1h\"", "timeout = \"50ms\"")
        .replace("rate = 1000", "count = 1");
    let ran = case.file("pipeline.toml", text).pipeline().ok();
    let failed = ran.stderr.matches("failed and was restored: 1 × timeout").count();
    assert_eq!(failed, 2 * cores(), "{}", ran.stderr);
}

#[test]
fn many_names_with_one_beginning_take_no_time_to_compare() {
    // More than a name may have: refused, whatever their number.
    let names = |length: usize| crate::memory::fresh(1, 1000, length);
    let run = |length: usize| {
        let pipeline = Pipeline::new()
            .source("in", "file", r#"paths = "in.txt""#)
            .stage("guest", "guest.wat", r#"on_error = "skip""#)
            .sink("out", "stdout", r#"codec = "json""#);
        let case = Case::new()
            .file("guest.wat", names(length))
            .file("in.txt", "x\n")
            .file("pipeline.toml", pipeline.to_string());
        case.pipeline().ok()
    };
    assert_eq!(run(1024).stdout.matches("\":\"\"").count(), 1000);
    let refused = run(1025);
    assert!(refused.stderr.contains("1 × contract"), "{}", refused.stderr);
}

#[test]
fn pipes_in_a_folder_keep_no_thread() {
    let verbs = vec!["fifo"; 700];
    let case = pipeline("", &[(hostile(), READ.to_owned())], &verbs);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(case.path("granted/fifo"))
            .status()
            .unwrap()
            .success()
    );
    let text = case.read("pipeline.toml").replace("rate = 1000", "count = 1");
    let text = text.replace(
        "[[sink]]\nname = \"out\"\ntype = \"null\"",
        "[[sink]]\nname = \"out\"\ntype = \"file\"\npath = \"out.txt\"",
    );
    let case = case.file("pipeline.toml", text);
    let ran = case.pipeline().ok();
    assert!(ran.stderr.contains("hostile-0: 700 records were rejected"), "{}", ran.stderr);
    assert_eq!(case.read("out.txt"), "1\n");
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_nothing() {
    let lines: String = (0..50).map(|_| "flood\n").collect();
    let wasi = crate::harness::plugin_folder("tests/guests/wasi");
    let limits = r#"limits = { log = "1GiB", fuel = 9_000_000_000_000, timeout = "1h" }"#;
    let pipeline = Pipeline::with(r#"shutdown_grace = "1h""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .source("wait", "stdin", "")
        .stage("loud", &wasi, &format!("input = [\"in\", \"wait\"]\n{limits}"))
        .sink("out", "file", "path = \"out.txt\"\nappend = true");
    let case = Case::new().file("in.txt", lines).file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    let _nobody_reads = child.stderr.take();
    while case.path("out.txt").metadata().map_or(0, |m| m.len()) < 50 * 8 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    drop(stdin);
}

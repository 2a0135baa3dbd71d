//! Whole pipelines: throughput, memory, what checkpoints cost, how long a record takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pipehost_observe::pace::Pace;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::{again, alternate, figure, median, native_stage, prepared, ratio, run};

pub const LINES: u64 = 2_000_000;

pub fn figures(runtime: &Runtime) {
    log_pipeline(runtime);
    lines(runtime);
    checkpoints(runtime);
    latency(runtime);
    slow_sink();
}

/// The log pipeline over 2 million lines from a file, sandboxed and native.
fn log_pipeline(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("in.log");
    write_log(&log);
    let level = json!({ "attribute": "level", "one_of": ["ERROR", "CRITICAL"] });
    let sandboxed = prepared(runtime, &log_text("", &[&log], &folder.path().join("out.log")));
    let mut native = again(&sandboxed);
    native.runners = vec![
        native_stage("parse-log", &json!({})),
        native_stage("filter", &level),
        native_stage("add-context", &json!({ "attributes": { "host": "web-1" } })),
        native_stage("alert", &json!({ "level": "CRITICAL", "threshold": 1000 })),
    ];
    let mut cpu = [Vec::new(), Vec::new()];
    let [cpu_sandboxed, cpu_native] = cpu.each_mut();
    let one = |prepared, cpu: &mut Vec<Duration>| {
        let (wall, time, metrics) = run(runtime, again(prepared));
        assert_eq!(metrics.processed.get(), LINES / 4 + LINES / 8 / 1000);
        cpu.push(time);
        wall
    };
    let wall = alternate(7, || one(&sandboxed, cpu_sandboxed), || one(&native, cpu_native));
    ratio("log pipeline, sandboxed against native: CPU", cpu.map(median), LINES as f64, "1.15");
    ratio("log pipeline, sandboxed against native: wall time", wall, LINES as f64, "");
}

/// Lines from a file that is in the page cache, and to another: by the time of all cores
/// together, the kernel's included.
fn lines(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("in.log");
    write_log(&log);
    let bytes = std::fs::metadata(&log).expect("it was written").len() as f64;
    let out = folder.path().join("out.log");
    let sinks = ["type = \"null\"".to_owned(), format!("type = \"file\"\npath = {out:?}")];
    let [read, copied] = sinks.map(|sink| {
        let text = format!(
            "[[source]]\nname = \"log\"\ntype = \"file\"\npaths = {log:?}\n\
             [[sink]]\nname = \"out\"\ninput = \"log\"\n{sink}\n"
        );
        let times = (0..7).map(|_| run(runtime, prepared(runtime, &text)).1);
        bytes / median(times.collect()).as_secs_f64() / 1e9
    });
    figure("lines read from a file, by CPU time", &format!("{read:.1} GB/s"), "1.5 GB/s");
    let written = 1.0 / (1.0 / copied - 1.0 / read);
    figure("  written to a file, by CPU time", &format!("{written:.1} GB/s"), "1.5 GB/s");
}

/// The log pipeline from files to a file.
pub fn log_text(pipeline: &str, logs: &[&Path], out: &Path) -> String {
    format!(
        r#"
        [pipeline]
        {pipeline}
        [[source]]
        name = "log"
        type = "file"
        paths = {logs:?}
        [[stage]]
        name = "parse"
        plugin = "parse-log"
        input = "log"
        [[stage]]
        name = "filter"
        plugin = "filter"
        input = "parse"
        config = {{ attribute = "level", one_of = ["ERROR", "CRITICAL"] }}
        [[stage]]
        name = "context"
        plugin = "add-context"
        input = "filter"
        config = {{ attributes = {{ host = "web-1" }} }}
        [[stage]]
        name = "alert"
        plugin = "alert"
        input = "context"
        config = {{ level = "CRITICAL", threshold = 1000 }}
        [[sink]]
        name = "out"
        type = "file"
        path = {out:?}
        input = ["alert", "alert.alerts"]
    "#
    )
}

/// The log pipeline over so many lines that it runs for seconds, with a checkpoint each
/// second and without.
fn checkpoints(runtime: &Runtime) {
    const COPIES: usize = 10;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("in.log");
    write_log(&log);
    let out = folder.path().join("out.log");
    let logs: Vec<_> = (0..COPIES).map(|n| folder.path().join(format!("in-{n}.log"))).collect();
    for copy in &logs {
        std::fs::copy(&log, copy).expect("the folder takes it");
    }
    let logs: Vec<&Path> = logs.iter().map(AsRef::as_ref).collect();
    let (mut states, mut cuts) = (0, 0);
    let mut one = |keep: bool| {
        states += 1;
        let state = folder.path().join(format!("state-{states}"));
        let settings = if keep { format!("state = {state:?}") } else { String::new() };
        let prepared = prepared(runtime, &log_text(&settings, &logs, &out));
        let (wall, _, metrics) = run(runtime, prepared);
        cuts = cuts.max(metrics.checkpoints());
        wall
    };
    let one = std::cell::RefCell::new(&mut one);
    let wall = alternate(5, || (one.borrow_mut())(true), || (one.borrow_mut())(false));
    let what = "log pipeline of 20 million lines, a checkpoint each second";
    ratio(what, wall, (LINES * COPIES as u64) as f64, "1.05");
    figure("  checkpoints in a run", &cuts.to_string(), "");
}

/// Ten records a second through five stages that wait for nothing.
fn latency(runtime: &Runtime) {
    let mut text = "[[source]]\nname = \"made\"\ntype = \"generate\"\ncount = 1000\n\
                    batch = { linger = \"0s\" }\n"
        .to_owned();
    let mut last = "made".to_owned();
    for n in 0..5 {
        text += &format!("[[stage]]\nname = \"s{n}\"\nplugin = \"to-upper\"\ninput = \"{last}\"\n");
        last = format!("s{n}");
    }
    text += &format!("[[sink]]\nname = \"null\"\ntype = \"null\"\ninput = \"{last}\"\n");
    let mut prepared = prepared(runtime, &text);
    let pace = Arc::new(Pace::new(10.0, Duration::from_secs(20)));
    prepared.pace = Some(pace.clone());
    run(runtime, prepared);
    let at = |part| format!("{:.0} µs", pace.quantile(part).as_secs_f64() * 1e6);
    figure("a record through five stages, ten a second: p50", &at(0.5), "");
    figure("  p99", &at(0.99), "1000 µs");
}

pub fn write_log(path: &Path) {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let levels = ["INFO", "ERROR", "DEBUG", "INFO", "WARN", "CRITICAL", "INFO", "DEBUG"];
    for (number, level) in (0..LINES).zip(levels.iter().cycle()) {
        let (minute, second) = (number / 60 % 60, number % 60);
        writeln!(file, "2023-10-27T10:{minute:02}:{second:02}Z {level} request {number:08} was served to a client somewhere in the network in good time")
            .expect("the file takes it");
    }
    file.flush().expect("the file takes it");
}

/// 1 GB through a sink that takes 200 MB a second, in the real program.
fn slow_sink() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = folder.path().join("slow.toml");
    let record = "x".repeat(1000);
    std::fs::write(
        &pipeline,
        format!(
            r#"
            [[source]]
            name = "made"
            type = "generate"
            count = 1_000_000
            template = "{record}"
            [[stage]]
            name = "upper"
            plugin = "to-upper"
            input = "made"
            [[sink]]
            name = "slow"
            type = "null"
            rate = 200_000
            input = "upper"
            "#,
        ),
    )
    .expect("the folder takes it");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pipehost"))
        .args(["run", "--quiet"])
        .arg(&pipeline)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("the child can be waited for").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = high.and_then(|high| high.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(child.wait().expect("it ended").success());
    let value = format!("{} MB", peak / 1000);
    figure("1 GB through a slow sink: peak resident memory", &value, "150 MB");
}

//! The figures that the project promises, each a ratio within one run: two things are
//! timed alternately in one process, and the medians compared. Absolute times on shared
//! machines mean nothing, ratios do.
//!
//!     cargo bench

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipehost::config;
use pipehost::metrics::Metrics;
use pipehost::native;
use pipehost::pipeline;
use pipehost::prepare::{Prepared, prepare};
use pipehost::record::{Batch, BatchBuilder};
use pipehost::stage::{Care, Runner, Worker};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

fn main() {
    // `cargo test` runs benchmarks too, to see that they build; there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime");
    println!("{:<58} {:>8} {:>8}", "", "ratio", "at most");
    filter(&runtime);
    log_pipeline(&runtime);
    checkpoints(&runtime);
    slow_sink();
}

/// Times two things alternately and gives the median of each.
fn alternate(
    rounds: usize,
    mut a: impl FnMut() -> Duration,
    mut b: impl FnMut() -> Duration,
) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let (first, second) = (a(), b());
        if round > 0 {
            times[0].push(first); // The first round warms up.
            times[1].push(second);
        }
    }
    times.map(|mut list| {
        list.sort();
        list[list.len() / 2]
    })
}

fn report(what: &str, [sandboxed, native]: [Duration; 2], records: f64, at_most: f64) {
    let ratio = sandboxed.as_secs_f64() / native.as_secs_f64();
    let each = |time: Duration| time.as_nanos() as f64 / records;
    println!(
        "{what:<58} {ratio:>8.2} {at_most:>8.2}   ({:.1} ns against {:.1} ns a record)",
        each(sandboxed),
        each(native)
    );
}

/// `filter` on an attribute, sandboxed and native, on batches of 4,096 log records.
fn filter(runtime: &Runtime) {
    const CALLS: u32 = 200;
    let text = r#"
        [[source]]
        name = "none"
        type = "generate"
        count = 0
        [[stage]]
        name = "filter"
        plugin = "../plugins/filter"
        input = "none"
        config = { attribute = "level", equals = "ERROR" }
        [[sink]]
        name = "null"
        type = "null"
        input = "filter"
    "#;
    let prepared = runtime.block_on(prepared(text));
    let native = native_stage("filter", &json!({ "attribute": "level", "equals": "ERROR" }));
    let metrics = Arc::new(Metrics::default());
    let worker = |runner: Runner, name: &str| {
        let worker = Worker::start(
            runner,
            0,
            metrics.node(name),
            Care { first_fails: true, ..Care::default() },
        );
        runtime.block_on(worker).expect("the stage starts")
    };
    let mut workers =
        [worker(prepared.runners[0].clone(), "sandboxed"), worker(native.clone(), "native")];
    let mut control = [worker(native.clone(), "a"), worker(native, "b")];
    let batch = log_batch(4096);
    let time = |worker: &mut Worker| {
        let start = Instant::now();
        runtime.block_on(async {
            for _ in 0..CALLS {
                let answer = worker.process(&batch).await.expect("the stage does not fail");
                assert_eq!(answer.emitted[0].batch.len, 512);
            }
        });
        start.elapsed()
    };
    let records = f64::from(CALLS) * 4096.0;
    let [a, b] = &mut control;
    report(
        "control: native filter against itself",
        alternate(20, || time(a), || time(b)),
        records,
        1.05,
    );
    let [sandboxed, native] = &mut workers;
    report(
        "filter on an attribute: sandboxed against native",
        alternate(40, || time(sandboxed), || time(native)),
        records,
        1.25,
    );
}

/// Records as `parse-log` makes them; one of eight is an ERROR.
fn log_batch(len: u64) -> Batch {
    let mut builder = BatchBuilder::default();
    for number in 0..len {
        let level = if number % 8 == 0 { "ERROR" } else { "INFO" };
        let value = format!(
            "request {number} was served to a client somewhere in the network in {number} ms, all well"
        );
        let attributes = [("level", level.as_bytes())];
        builder.push(
            &"log".into(),
            number,
            Some(number as i64),
            None,
            Some(value.as_bytes()),
            attributes.into_iter(),
        );
    }
    builder.take()
}

const LINES: u64 = 2_000_000;

/// The log pipeline over 2 million lines from a file, sandboxed and native.
fn log_pipeline(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("in.log");
    write_log(&log);
    let context = json!({ "attributes": { "host": "web-1" } });
    let level = json!({ "attribute": "level", "one_of": ["ERROR", "CRITICAL"] });
    let alert = json!({ "level": "CRITICAL", "threshold": 1000 });
    let text = log_text("", &[&log], &folder.path().join("out.log"));
    let run = |native: bool| {
        runtime.block_on(async {
            let mut prepared = prepared(&text).await;
            if native {
                prepared.runners = vec![
                    native_stage("parse-log", &json!({})),
                    native_stage("filter", &level),
                    native_stage("add-context", &context),
                    native_stage("alert", &alert),
                ];
            }
            let metrics = prepared.metrics.clone();
            let before = cpu_time();
            let running = pipeline::start(prepared).await.expect("the pipeline starts");
            let (_keep, stops) = mpsc::channel(1);
            let ending = running.finish(stops).await;
            assert!(ending.failure.is_none(), "{:?}", ending.failure);
            assert_eq!(metrics.processed.get(), LINES / 4 + LINES / 8 / 1000);
            (ending.elapsed, cpu_time() - before)
        })
    };
    let (mut cpu_sandboxed, mut cpu_native) = (Vec::new(), Vec::new());
    let wall = alternate(
        5,
        || {
            let (wall, cpu) = run(false);
            cpu_sandboxed.push(cpu);
            wall
        },
        || {
            let (wall, cpu) = run(true);
            cpu_native.push(cpu);
            wall
        },
    );
    let median = |list: &mut Vec<Duration>| {
        list.sort();
        list[list.len() / 2]
    };
    let cpu = [median(&mut cpu_sandboxed), median(&mut cpu_native)];
    report("log pipeline, 2 million lines: wall time", wall, LINES as f64, 1.6);
    report("log pipeline, 2 million lines: CPU time", cpu, LINES as f64, 1.6);
}

/// The log pipeline from files to a file.
fn log_text(pipeline: &str, logs: &[&Path], out: &Path) -> String {
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
        plugin = "../plugins/parse-log"
        input = "log"
        [[stage]]
        name = "filter"
        plugin = "../plugins/filter"
        input = "parse"
        config = {{ attribute = "level", one_of = ["ERROR", "CRITICAL"] }}
        [[stage]]
        name = "context"
        plugin = "../plugins/add-context"
        input = "filter"
        config = {{ attributes = {{ host = "web-1" }} }}
        [[stage]]
        name = "alert"
        plugin = "../plugins/alert"
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
    let mut states = 0;
    let (mut cuts, mut runs) = (0, 0);
    let mut run = |keep: bool| {
        states += 1;
        let state = folder.path().join(format!("state-{states}"));
        let settings = if keep { format!("state = {state:?}") } else { String::new() };
        let text = log_text(&settings, &[&*log; COPIES], &out);
        runtime.block_on(async {
            let prepared = prepared(&text).await;
            let metrics = prepared.metrics.clone();
            let running = pipeline::start(prepared).await.expect("the pipeline starts");
            let (_keep, stops) = mpsc::channel(1);
            let ending = running.finish(stops).await;
            assert!(ending.failure.is_none(), "{:?}", ending.failure);
            if keep {
                cuts += metrics.checkpoints();
                runs += 1;
            }
            ending.elapsed
        })
    };
    let run = std::cell::RefCell::new(&mut run);
    let wall = alternate(5, || (run.borrow_mut())(true), || (run.borrow_mut())(false));
    let what = "log pipeline, 20 million lines: a checkpoint each second";
    report(what, wall, (LINES * COPIES as u64) as f64, 1.05);
    println!("{:<58} {:>8}", "  checkpoints in a run", cuts / runs);
}

fn write_log(path: &Path) {
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
            plugin = "{plugins}/to-upper"
            input = "made"
            [[sink]]
            name = "slow"
            type = "null"
            rate = 200_000
            input = "upper"
            "#,
            plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").display(),
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
    println!(
        "{:<58} {:>5} MB {:>5} MB",
        "1 GB through a slow sink: peak resident memory",
        peak / 1000,
        150
    );
}

/// CPU time of this process, all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("CPU time is positive")
}

async fn prepared(text: &str) -> Prepared {
    let (config, mistakes) = config::read(text, Path::new(env!("CARGO_MANIFEST_DIR")));
    prepare(config, mistakes, &mut |_| {}).await.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn native_stage(name: &str, config: &serde_json::Value) -> Runner {
    native::runner(name, &config.to_string()).expect("it is there").expect("it opens")
}

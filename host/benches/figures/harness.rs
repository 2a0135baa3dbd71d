//! How figures are taken: two things in turn, in one process, and their medians compared.
//! Absolute times on shared machines mean little, ratios do.

#[path = "../../../tests/guests/assemble.rs"]
mod assemble;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipehost_config as config;
use pipehost_native as native;
use pipehost_observe::metrics::Metrics;
use pipehost_pipeline as pipeline;
use pipehost_pipeline::prepare::{Options, Prepared, prepare};
use pipehost_record::{Batch, BatchBuilder};
use pipehost_sandbox::{Runner, Worker, WorkerOptions};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use assemble::assemble as guest;

/// Times two things in turn and gives the median of each; a first round warms up.
pub fn alternate(
    rounds: usize,
    mut a: impl FnMut() -> Duration,
    mut b: impl FnMut() -> Duration,
) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let (first, second) = (a(), b());
        if round > 0 {
            times[0].push(first);
            times[1].push(second);
        }
    }
    times.map(median)
}

pub fn median(mut list: Vec<Duration>) -> Duration {
    list.sort();
    list[list.len() / 2]
}

/// Prints the ratio of the first to the second, and what each took for one of `count`.
pub fn ratio(what: &str, [a, b]: [Duration; 2], count: f64, bound: &str) {
    let ratio = a.as_secs_f64() / b.as_secs_f64();
    let each = |time: Duration| nanoseconds(time.as_nanos() as f64 / count);
    println!("{what:<64} {ratio:>8.2} {bound:>10}   ({} against {})", each(a), each(b));
}

/// Prints a figure that is no ratio.
pub fn figure(what: &str, value: &str, bound: &str) {
    println!("{what:<64} {value:>8} {bound:>10}");
}

pub fn nanoseconds(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{ns:.1} ns"),
    }
}

/// CPU time of this process, all threads.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("CPU time is positive")
}

/// A pipeline whose paths start from `host/`.
pub fn prepared(runtime: &Runtime, text: &str) -> Prepared {
    let (config, mistakes) = config::read(text, Path::new(env!("CARGO_MANIFEST_DIR")));
    let prepared = runtime.block_on(prepare(
        config,
        mistakes,
        Options::new(pipehost_stages::STAGES),
        &mut |_| {},
    ));
    prepared.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// Runs a pipeline to its end: wall time, CPU time, and what it counted.
pub fn run(runtime: &Runtime, mut prepared: Prepared) -> (Duration, Duration, Arc<Metrics>) {
    prepared.metrics = Arc::default();
    let metrics = prepared.metrics.clone();
    let before = cpu_time();
    let ending = runtime.block_on(async {
        let running = pipeline::start(prepared).await.expect("the pipeline starts");
        let (_keep, stops) = mpsc::channel(1);
        running.finish(stops).await
    });
    assert!(ending.failure.is_none(), "{:?}", ending.failure);
    (ending.elapsed, cpu_time() - before, metrics)
}

/// The same pipeline for one more run.
pub fn again(prepared: &Prepared) -> Prepared {
    Prepared {
        config: prepared.config.clone(),
        graph: prepared.graph.clone(),
        runners: prepared.runners.clone(),
        metrics: Arc::default(),
        replay: None,
        warnings: Vec::new(),
        pace: None,
    }
}

pub fn native_stage(name: &str, config: &serde_json::Value) -> Runner {
    native::runner(name, &config.to_string()).expect("it is there").expect("it opens")
}

/// The first runner of a pipeline with this one stage: the lines of its table.
pub fn sandboxed(runtime: &Runtime, stage: &str, ports: &[&str]) -> Runner {
    let inputs: Vec<_> = ports.iter().map(|port| format!("\"{port}\"")).collect();
    let text = format!(
        "[[source]]\nname = \"none\"\ntype = \"generate\"\ncount = 0\n\
         [[stage]]\nname = \"stage\"\ninput = \"none\"\n{stage}\n\
         [[sink]]\nname = \"null\"\ntype = \"null\"\ninput = [{}]\n",
        inputs.join(", ")
    );
    prepared(runtime, &text).runners.remove(0)
}

pub fn worker(runtime: &Runtime, runner: &Runner) -> Worker {
    let options = WorkerOptions { first_fails: true, ..WorkerOptions::default() };
    let metrics = Metrics::default().node("stage");
    runtime.block_on(Worker::start(runner.clone(), 0, metrics, options)).expect("the stage starts")
}

/// The time of so many calls on one batch.
pub fn calls(runtime: &Runtime, worker: &mut Worker, batch: &Batch, count: u32) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..count {
            let answer = worker.process(batch).await.expect("the stage does not fail");
            assert!(answer.rejected.is_empty());
        }
        start.elapsed()
    })
}

/// Records as `parse-log` makes them; one of eight is an ERROR.
pub fn log_batch(len: u64, value_bytes: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    let value = "x".repeat(value_bytes);
    for number in 0..len {
        let level = if number % 8 == 0 { "ERROR" } else { "INFO" };
        let attributes = [("level", level.as_bytes())];
        let time = Some(number as i64);
        builder.push(
            &"log".into(),
            number,
            time,
            None,
            Some(value.as_bytes()),
            attributes.into_iter(),
        );
    }
    builder.take()
}

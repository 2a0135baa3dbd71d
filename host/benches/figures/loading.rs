//! From a component to its first batch: compiled, from the cache, in a warm process; and many
//! instances side by side.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipehost_config::Plugin;
use pipehost_config::grants::Grants;
use pipehost_config::limits::Limits;
use pipehost_observe::metrics::Metrics;
use pipehost_sandbox::compile::Metering;
use pipehost_sandbox::compile::Source;
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::{Component, Program, Runner, Worker, WorkerOptions};
use tokio::runtime::Runtime;

use crate::harness::{calls, figure, guest, log_batch, median, nanoseconds, sandboxed};

pub fn figures(runtime: &Runtime) {
    warm(runtime);
    cold();
    many(runtime);
}

/// A new instance in a process that has the component.
fn warm(runtime: &Runtime) {
    let stage = "plugin = \"filter\"\nconfig = { attribute = \"level\", equals = \"ERROR\" }";
    let runner = sandboxed(runtime, stage, &["stage"]);
    let batch = log_batch(1, 80);
    let metrics = Metrics::default().node("stage");
    let times = |runner: &Runner| {
        (0..200)
            .map(|number| {
                let options = WorkerOptions::default();
                let start = Instant::now();
                let started = Worker::start(runner.clone(), number, metrics.clone(), options);
                let mut worker = runtime.block_on(started).expect("it starts");
                calls(runtime, &mut worker, &batch, 1);
                start.elapsed()
            })
            .collect()
    };
    let value = nanoseconds(median(times(&runner)).as_nanos() as f64);
    figure("a warm process: instantiate, open, first batch of `filter`", &value, "20 µs");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pass.wat");
    std::fs::write(&path, guest("")).expect("the folder takes it");
    let runner = sandboxed(runtime, &format!("plugin = {path:?}"), &["stage"]);
    let value = nanoseconds(median(times(&runner)).as_nanos() as f64);
    figure("  the same of a stage without a runtime", &value, "20 µs");
}

/// The real program, from its start to its end, with one record.
fn cold() {
    let caches = tempfile::tempdir().expect("a folder");
    let run = |cache: &Path| {
        let start = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_pipehost"))
            .args(["run", "--quiet", "--set", "filter.field=value", "--set", "filter.contains=x"])
            .args(["--plugin", "filter"])
            .env("XDG_CACHE_HOME", cache)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
        start.elapsed()
    };
    let cached = caches.path().join("cached");
    std::fs::create_dir(&cached).expect("the folder takes it");
    run(&cached);
    let with = median((0..20).map(|_| run(&cached)).collect());
    let without = median(
        (0..5)
            .map(|n| {
                let cache = caches.path().join(format!("new-{n}"));
                std::fs::create_dir(&cache).expect("the folder takes it");
                run(&cache)
            })
            .collect(),
    );
    let text = |time: Duration| nanoseconds(time.as_nanos() as f64);
    figure("a cold process with the compile cache: start to end", &text(with), "15 ms");
    figure("  without the cache: `filter` is compiled", &text(without), "");
}

/// An instance that has waited for its turn is in no cache: the first call brings it in.
const SEVERAL: u32 = 32;

/// Many instances alive, each with its own store and a mebibyte that it has touched.
fn many(runtime: &Runtime) {
    const TOUCH: &str = r#"
        (func $open (param i32 i32) (result i32)
          (local $at i32)
          (drop (memory.grow (i32.const 16)))
          (local.set $at (i32.const 262144))
          (loop $touch
            (i32.store8 (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (br_if $touch (i32.lt_u (local.get $at) (i32.const 1310720))))
          (i32.const 112))
    "#;
    // Of calls to each in turn, one or several at a time, and what is resident.
    let call = |instances: u32| {
        let engine = Arc::new(Engine::new(Metering::Fuel, instances + 1).expect("an engine"));
        let bytes = wat_component(&guest(TOUCH));
        let limits = Limits::default();
        let component = Component::load(engine, "touch".into(), &bytes, limits, Grants::default());
        let component = component.unwrap_or_else(|why| panic!("{why:?}"));
        let metrics = Metrics::default().node("touch");
        let opened = Program::open(component.into(), "1".to_owned(), "{}".to_owned(), &metrics);
        let program = runtime.block_on(opened).expect("it opens");
        let runner = Runner::Sandboxed(Arc::new(program));
        let mut workers: Vec<Worker> = (0..instances as usize)
            .map(|n| {
                let started =
                    Worker::start(runner.clone(), n, metrics.clone(), WorkerOptions::default());
                runtime.block_on(started).expect("it starts")
            })
            .collect();
        let batch = log_batch(1, 80);
        let mut turns = |calls_each: u32| {
            let rounds = 10_000 / instances;
            let round = |_| {
                let start = Instant::now();
                for _ in 0..rounds {
                    for worker in &mut workers {
                        calls(runtime, worker, &batch, calls_each);
                    }
                }
                start.elapsed() / (rounds * instances * calls_each)
            };
            median((0..5).map(round).collect())
        };
        (turns(1), turns(SEVERAL), resident())
    };
    let (few, few_several, _) = call(10);
    let (lots, lots_several, memory) = call(10_000);
    figure(
        "10,000 instances with 1 MiB touched: resident",
        &format!("{:.1} GB", memory as f64 / 1e9),
        "12 GB",
    );
    let against =
        |lots: Duration, few: Duration| format!("{:.2}", lots.as_secs_f64() / few.as_secs_f64());
    figure("  a call to each in turn, against 10 instances", &against(lots, few), "1");
    let what = format!("  {SEVERAL} calls to each in turn, against 10 instances");
    figure(&what, &against(lots_several, few_several), "1");
}

fn wat_component(text: &str) -> Source {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guest.wat");
    std::fs::write(&path, text).expect("the folder takes it");
    pipehost_sandbox::plugin::read(&Plugin::new(Path::new(""), &path), &[], u64::MAX, &mut |_| {})
        .expect("it is a component")
}

/// Memory of this process that is resident, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    1024 * line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
}

//! What is allocated and copied: counted, by an allocator that counts.
//!
//! One test, so that no other allocates meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pipehost_config as config;
use pipehost_observe::metrics::Metrics;
use pipehost_pipeline as pipeline;
use pipehost_pipeline::prepare::{Options, Prepared, prepare};
use pipehost_record::{Batch, BatchBuilder};
use pipehost_sandbox::{Worker, WorkerOptions};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated and not freed, and the most that there were.
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn live(more: usize, less: usize) {
    let live = LIVE.fetch_add(more as u64, Ordering::Relaxed) + more as u64;
    PEAK.fetch_max(live, Ordering::Relaxed);
    LIVE.fetch_sub(less as u64, Ordering::Relaxed);
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        live(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        live(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Ordering::Relaxed);
        live(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes of some work.
fn counted<R>(work: impl FnOnce() -> R) -> (u64, u64) {
    let before = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    work();
    let after = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    (after.0 - before.0, after.1 - before.1)
}

fn prepared(runtime: &Runtime, text: &str) -> Prepared {
    let (config, mistakes) = config::read(text, Path::new(env!("CARGO_MANIFEST_DIR")));
    let prepared = runtime.block_on(prepare(
        config,
        mistakes,
        Options::new(pipehost_stages::STAGES),
        &mut |_| {},
    ));
    prepared.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn stage(plugin: &str, config: &str) -> String {
    format!(
        "[[source]]\nname = \"none\"\ntype = \"generate\"\ncount = 0\n\
         [[stage]]\nname = \"stage\"\nplugin = \"{plugin}\"\ninput = \"none\"\nconfig = {config}\n\
         [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"stage\"\n"
    )
}

/// Records with a value of 100 bytes and an attribute of 1,000 that no stage here reads.
fn batch(len: u64) -> Batch {
    let mut builder = BatchBuilder::default();
    let (value, unread) = (vec![b'x'; 100], vec![b'y'; 1000]);
    for number in 1..=len {
        let attributes = [("level", &b"INFO"[..]), ("unread", &unread[..])];
        builder.push(&"test".into(), number, None, None, Some(&value), attributes.into_iter());
    }
    builder.take()
}

/// What one call of a stage allocates on the host, once it has been called a few times.
fn call(runtime: &Runtime, text: &str, batch: &Batch) -> (u64, u64) {
    let runner = prepared(runtime, text).runners.remove(0);
    let metrics = Metrics::default().node("stage");
    let worker = Worker::start(runner, 0, metrics, WorkerOptions::default());
    let mut worker = runtime.block_on(worker).expect("it starts");
    for _ in 0..3 {
        runtime.block_on(worker.process(batch)).expect("it works");
    }
    counted(|| runtime.block_on(worker.process(batch)).expect("it works"))
}

/// What a run from a file to nothing allocates.
fn run(runtime: &Runtime, lines: &Path, records: usize) -> u64 {
    let text = format!(
        "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = {lines:?}\nbatch = {{ records = {records} }}\n\
         [[stage]]\nname = \"parse\"\nplugin = \"parse-log\"\ninput = \"in\"\n\
         [[stage]]\nname = \"filter\"\nplugin = \"filter\"\ninput = \"parse\"\n\
         config = {{ attribute = \"level\", equals = \"INFO\" }}\n\
         [[stage]]\nname = \"upper\"\nplugin = \"to-upper\"\ninput = \"filter\"\n\
         [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"upper\"\n"
    );
    let prepared = prepared(runtime, &text);
    let (allocations, _) = counted(|| assert_eq!(finish(runtime, prepared), LINES as u64));
    allocations
}

/// Runs to the end; the records that were written.
fn finish(runtime: &Runtime, prepared: Prepared) -> u64 {
    let processed = prepared.metrics.processed.clone();
    runtime.block_on(async {
        let running = pipeline::start(prepared).await.expect("it starts");
        let (_keep, stops) = mpsc::channel(1);
        let ending = running.finish(stops).await;
        assert!(ending.failure.is_none(), "{:?}", ending.failure);
    });
    processed.get()
}

/// The most that is allocated in a run that keeps a line of each batch, taken apart or not,
/// until all are written at once.
fn most(runtime: &Runtime, lines: &Path, stages: &str, last: &str) -> u64 {
    let text = format!(
        "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = {lines:?}\nbatch = {{ records = 1000 }}\n\
         [[stage]]\nname = \"filter\"\nplugin = \"filter\"\ninput = \"in\"\n\
         config = {{ field = \"value\", matches = \"000$\" }}\n{stages}\n\
         [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"{last}\"\n\
         batch = {{ records = 10_000, linger = \"1h\" }}\n"
    );
    let prepared = prepared(runtime, &text);
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    assert_eq!(finish(runtime, prepared), LINES as u64 / 1000);
    PEAK.load(Ordering::Relaxed) - before
}

const LINES: usize = 200_000;

#[test]
fn nothing_is_allocated_for_a_record_and_what_comes_out_is_copied_once() {
    let runtime = Runtime::new().expect("a runtime");
    let (small, large) = (batch(500), batch(4000));
    for (plugin, config) in
        [("filter", "{ attribute = \"level\", equals = \"INFO\" }"), ("to-upper", "{}")]
    {
        let text = stage(plugin, config);
        let (few, _) = call(&runtime, &text, &small);
        let (many, _) = call(&runtime, &text, &large);
        assert!(few < 60, "{plugin}: {few} allocations a call");
        assert!(many <= few + 2, "{plugin}: {few} for 500 records, {many} for 4,000");
    }

    // A value that is changed comes out once: its bytes, and where each ends.
    let (_, bytes) = call(&runtime, &stage("to-upper", "{}"), &large);
    let out = 4000 * (100 + 4);
    // And which rows it descends from.
    let parents = 4000 * 4;
    assert!((out..out + parents + 8192).contains(&bytes), "{bytes} bytes for {out}");
    // A filter answers row numbers: those that it was given, if it keeps all.
    let filter = stage("filter", "{ attribute = \"level\", equals = \"INFO\" }");
    let (_, bytes) = call(&runtime, &filter, &large);
    assert!(bytes < parents + 8192, "{bytes} bytes");

    // A whole run: with batches that are four times as large, a fourth of the allocations.
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().join("in.log");
    let text: String = (0..LINES)
        .map(|n| format!("2024-01-01T00:00:{:02}Z INFO a message of some length {n}\n", n % 60))
        .collect();
    std::fs::write(&lines, text).expect("the folder takes it");
    let small = run(&runtime, &lines, 500);
    let large = run(&runtime, &lines, 2000);
    let batches = |records: usize| (LINES / records) as f64;
    let a_batch = (small as f64 - large as f64) / (batches(500) - batches(2000));
    let beside = small as f64 - a_batch * batches(500);
    assert!(a_batch < 400.0, "{a_batch:.0} allocations a batch");
    assert!(beside < LINES as f64 / 20.0, "{beside:.0} allocations that belong to no batch");

    // Records that wait to be many keep nothing of the batches that they came in: with
    // lines of a kilobyte, all of those together have 200 MB.
    let text: String =
        (0..LINES).map(|n| format!("2024-01-01T00:00:{:02}Z INFO {n:01000}\n", n % 60)).collect();
    std::fs::write(&lines, text).expect("the folder takes it");
    let parse = "[[stage]]\nname = \"parse\"\nplugin = \"parse-log\"\ninput = \"filter\"";
    for (stages, last) in [("", "filter"), (parse, "parse")] {
        let most = most(&runtime, &lines, stages, last);
        assert!(most < 50_000_000, "{most} bytes behind `{last}`");
    }
}

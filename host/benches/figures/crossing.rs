//! What it costs to go into the sandbox and out of it, by what goes over.

use std::time::Duration;

use pipehost_record::Batch;
use pipehost_sandbox::Runner;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::{
    alternate, calls, figure, guest, log_batch, nanoseconds, native_stage, ratio, sandboxed, worker,
};

/// Its plan reads nothing at all.
const READS_NOTHING: &str = r#"
(data (i32.const 2048) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\60\00\00\00\01\00\00\00")
(func $open (param i32 i32) (result i32) (i32.const 2048))
"#;

pub fn figures(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, guest(text)).expect("the folder takes it");
        format!("plugin = {path:?}")
    };
    let stage = |settings: &str| sandboxed(runtime, settings, &["stage"]);
    let empty = stage(&file("empty.wat", READS_NOTHING));
    let pass = stage(&file("pass.wat", ""));

    let one = log_batch(1, 80);
    let [nothing, value] = in_turn(runtime, [&empty, &pass], [&one, &one], 20_000);
    figure("an empty call: one record, no column", &each(nothing, 20_000), "0.60 µs");
    ratio("  with a value of 80 bytes against without", [value, nothing], 20_000.0, "");

    let fuel = stage(&(file("fuel.wat", READS_NOTHING)));
    let epochs = stage(&(file("epochs.wat", READS_NOTHING) + "\nlimits = { fuel = false }"));
    let pair = in_turn(runtime, [&fuel, &epochs], [&one, &one], 20_000);
    ratio("  metered by fuel against by a clock", pair, 20_000.0, "");

    for len in [1, 16, 256, 4096] {
        let batch = log_batch(len, 80);
        let count = (400_000 / len).clamp(100, 20_000) as u32;
        let [value, nothing] = in_turn(runtime, [&pass, &empty], [&batch, &batch], count);
        let what = format!("projection: a value of 80 bytes read against not, batches of {len}");
        ratio(&what, [value, nothing], f64::from(count) * len as f64, "");
    }
    for bytes in [10, 100, 1000, 10_000] {
        let len = (1_000_000 / bytes).min(4096);
        let batch = log_batch(len as u64, bytes);
        let [value, _] = in_turn(runtime, [&pass, &empty], [&batch, &batch], 200);
        let rate = 200.0 * (len * bytes) as f64 / value.as_secs_f64() / 1e9;
        let what = format!("  bytes a second into the sandbox, values of {bytes} bytes");
        figure(&what, &format!("{rate:.1} GB/s"), "");
    }

    let filter = json!({ "attribute": "level", "equals": "ERROR" });
    let batch = log_batch(4096, 80);
    let plugin =
        |name: &str, config: &str| stage(&format!("plugin = \"{name}\"\nconfig = {config}"));
    let sandboxed_filter = plugin("filter", "{ attribute = \"level\", equals = \"ERROR\" }");
    let native_filter = native_stage("filter", &filter);
    let pair = in_turn(runtime, [&native_filter, &native_filter], [&batch, &batch], 200);
    ratio("control: the native filter against itself", pair, 200.0 * 4096.0, "");
    let [inside, outside] =
        in_turn(runtime, [&sandboxed_filter, &native_filter], [&batch, &batch], 200);
    ratio(
        "filter on an attribute, sandboxed against native",
        [inside, outside],
        200.0 * 4096.0,
        "",
    );
    let over = (inside.as_nanos() as f64 - outside.as_nanos() as f64) / (200.0 * 4096.0);
    figure("  over the native cost, a record", &nanoseconds(over), "10 ns");

    let upper = plugin("to-upper", "{}");
    let pair = in_turn(runtime, [&upper, &sandboxed_filter], [&batch, &batch], 100);
    ratio("a value in and out against an attribute in, picked rows out", pair, 100.0 * 4096.0, "");
}

fn in_turn(
    runtime: &Runtime,
    runners: [&Runner; 2],
    batches: [&Batch; 2],
    count: u32,
) -> [Duration; 2] {
    let [mut a, mut b] = runners.map(|runner| worker(runtime, runner));
    alternate(
        15,
        || calls(runtime, &mut a, batches[0], count),
        || calls(runtime, &mut b, batches[1], count),
    )
}

fn each(time: Duration, count: u32) -> String {
    nanoseconds(time.as_nanos() as f64 / f64::from(count))
}

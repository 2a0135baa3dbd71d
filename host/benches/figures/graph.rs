//! Stages in a row, workers, fan-out, and what it costs to keep the order.

use std::time::Duration;

use pipehost_pipeline::prepare::Prepared;
use tokio::runtime::Runtime;

use crate::harness::{again, alternate, figure, prepared, ratio, run};

const RECORDS: u64 = 1_000_000;

pub fn figures(runtime: &Runtime) {
    let one = row(runtime, 1);
    let base = cpu(runtime, &one);
    let mut first = None;
    for stages in [2, 4, 8, 16, 32] {
        let many = row(runtime, stages);
        let [many, one] = alternate(3, || cpu(runtime, &many), || cpu(runtime, &one));
        let each = (many.as_secs_f64() - one.as_secs_f64()) / (stages - 1) as f64;
        let first = *first.get_or_insert(each);
        let what = format!("CPU of a stage more, {stages} in a row, against the second");
        figure(&what, &format!("{:.2}", each / first), "0.9..1.1");
    }
    let _ = base;

    let work = |workers: usize, rest: &str| {
        let text = format!(
            "{}[[stage]]\nname = \"double\"\nplugin = \"double\"\ninput = \"made\"\n\
             workers = {workers}\nconfig = {{ work = 500 }}\n{rest}\n{}",
            source(200_000, "{n}"),
            sink("double")
        );
        prepared(runtime, &text)
    };
    let (single, double) = (work(1, ""), work(2, ""));
    let wall = |prepared: &Prepared| run(runtime, again(prepared)).0;
    let pair = alternate(5, || wall(&single), || wall(&double));
    ratio("one worker against two, in order", pair, 200_000.0, ">= 1.8");
    let unordered = work(2, "ordered = false");
    let pair = alternate(5, || wall(&double), || wall(&unordered));
    ratio("  two workers, in order against in any", pair, 200_000.0, "");

    let fan = |outs: usize| {
        let sinks: String = (0..outs)
            .map(|n| format!("[[sink]]\nname = \"out{n}\"\ntype = \"null\"\ninput = \"made\"\n"))
            .collect();
        prepared(runtime, &format!("{}{sinks}", source(RECORDS, "a record of some length, {n}")))
    };
    let (eight, one) = (fan(8), fan(1));
    let pair = alternate(5, || cpu(runtime, &eight), || cpu(runtime, &one));
    ratio("fan-out to eight against one, CPU", pair, RECORDS as f64, "");
}

fn source(count: u64, template: &str) -> String {
    format!(
        "[[source]]\nname = \"made\"\ntype = \"generate\"\ncount = {count}\ntemplate = \"{template}\"\n"
    )
}

fn sink(input: &str) -> String {
    format!("[[sink]]\nname = \"null\"\ntype = \"null\"\ninput = \"{input}\"\n")
}

fn cpu(runtime: &Runtime, prepared: &Prepared) -> Duration {
    run(runtime, again(prepared)).1
}

/// Stages that each look at all values, one behind the other.
fn row(runtime: &Runtime, stages: usize) -> Prepared {
    let mut text = source(RECORDS, "a record of some length, number {n}");
    let mut last = "made".to_owned();
    for n in 0..stages {
        text += &format!(
            "[[stage]]\nname = \"s{n}\"\nplugin = \"filter\"\ninput = \"{last}\"\n\
             config = {{ field = \"value\", contains = \"record\" }}\n"
        );
        last = format!("s{n}");
    }
    prepared(runtime, &(text + &sink(&last)))
}

//! The summary that is printed at the end of a run.

use std::fmt::Write as _;
use std::time::Duration;

use pipehost_config::graph::NodeId;
use pipehost_observe::metrics::{Activity, Cause};
use pipehost_pipeline::{Node, Nodes, RunReport};
use pipehost_record::foreign::Foreign;
use pipehost_serve::change::{self, Bottleneck, Change};
use pipehost_serve::status;
use serde_json::{Map, Value, json};

use crate::table::{Table, wrapped};

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// The table of all nodes, and totals.
pub fn render(name: &str, nodes: &Nodes, processed: u64, ending: &RunReport) -> String {
    let mut out = format!("{}\n\n", headline(name, processed, ending));
    for line in table(nodes, ending.elapsed) {
        let _ = writeln!(out, "{line}");
    }
    if let Some(bottleneck) = bottleneck(nodes, ending.elapsed) {
        let text = wrapped(&format!("bottleneck: {}", why(&bottleneck)), WIDTH);
        let _ = write!(out, "\n{}\n", text.join("\n"));
    }
    for node in nodes {
        for note in notes(node) {
            let _ = write!(out, "\n{}: {note}", node.name);
        }
    }
    out
}

/// How much was done, and how fast.
pub fn headline(name: &str, processed: u64, ending: &RunReport) -> String {
    let seconds = ending.elapsed.as_secs_f64();
    format!(
        "{}: {} records written in {}, {} records/s",
        Foreign::new(name),
        number(processed),
        time(ending.elapsed),
        number((processed as f64 / seconds.max(1e-6)) as u64)
    )
}

/// The same for programs.
pub fn fields(nodes: &Nodes, processed: u64, ending: &RunReport) -> Map<String, Value> {
    let seconds = ending.elapsed.as_secs_f64();
    let rows = nodes.iter().map(|node| {
        let metrics = &node.metrics;
        json!({
            "name": node.name,
            "in": metrics.records_in.get(),
            "out": metrics.records_out.get(),
            "rejected": metrics.rejected.get(),
            "dropped": metrics.dropped.get(),
            "dead_letters": metrics.dead_letters.get(),
            "retries": metrics.retries.get(),
            "call_seconds": metrics.duration.get_sample_sum(),
            "fuel": metrics.fuel.get(),
            "working_seconds": metrics.seconds(Activity::Working),
            "copying_seconds": metrics.seconds(Activity::Copying),
            "starved_seconds": metrics.seconds(Activity::WaitingForInput),
            "blocked_seconds": metrics.seconds(Activity::WaitingForOutput),
            "retrying_seconds": metrics.seconds(Activity::WaitingToRetry),
            "held_seconds": metrics.seconds(Activity::WaitingForRate),
            "notes": notes(node),
        })
    });
    let bottleneck = bottleneck(nodes, ending.elapsed).map(|bottleneck| bottleneck.node);
    Map::from_iter([
        ("records".to_owned(), processed.into()),
        ("seconds".to_owned(), seconds.into()),
        ("nodes".to_owned(), rows.collect()),
        ("bottleneck".to_owned(), bottleneck.into()),
    ])
}

/// The lines of the table.
fn table(nodes: &Nodes, elapsed: Duration) -> Vec<String> {
    Table {
        head: &[
            "", "in", "out", "rejected", "dropped", "time", "fuel", "queue", "works", "copies",
            "starved", "blocked", "retries", "held",
        ],
        rows: nodes.iter().map(|node| row(node, elapsed)).collect(),
        always: 3,
        least_first: &[
            "copies", "fuel", "queue", "starved", "blocked", "time", "works", "retries", "held",
        ],
        left: &[],
    }
    .lines(WIDTH)
}

/// The node that holds the others up, if there is one.
fn bottleneck(nodes: &Nodes, elapsed: Duration) -> Option<Bottleneck> {
    let nodes = status::of_nodes(nodes);
    let changes: Vec<_> = nodes.iter().map(|node| Change::of(None, node, elapsed)).collect();
    change::bottleneck(&nodes, &changes)
}

/// What a bottleneck does, for the operator.
pub fn why(bottleneck: &Bottleneck) -> String {
    let name = &bottleneck.node;
    let (busy, share) = (percent(bottleneck.busy), percent(bottleneck.share));
    match bottleneck.doing {
        Activity::WaitingToRetry => {
            format!("the others wait for `{name}`: it waits to try again, {share} of the time")
        }
        Activity::WaitingForRate => {
            format!("the others wait for `{name}`: it is held to its `rate`, {share} of the time")
        }
        _ => format!("the others wait for `{name}`: it is busy {busy} of the time"),
    }
}

/// The most lanes that a node had.
fn lanes(node: &Node) -> i64 {
    node.metrics.lanes.get().max(1)
}

fn row(node: &Node, elapsed: Duration) -> Vec<String> {
    let metrics = &node.metrics;
    let is_stage = matches!(node.id, NodeId::Stage(_));
    let is_source = matches!(node.id, NodeId::Source(_));
    let lanes = lanes(node);
    let name = if lanes > 1 { format!("{} ×{lanes}", node.name) } else { node.name.clone() };
    let only = |shown: bool, text: String| if shown { text } else { "-".to_owned() };
    let share = |doing, workers: i64| {
        percent(metrics.seconds(doing) / elapsed.as_secs_f64().max(1e-9) / workers as f64)
    };
    vec![
        name,
        number(metrics.records_in.get()),
        number(metrics.records_out.get()),
        only(
            !matches!(node.id, NodeId::Sink(_)) || metrics.rejected.get() > 0,
            number(metrics.rejected.get()),
        ),
        only(!is_source, number(metrics.dropped.get())),
        only(!is_source, time(Duration::from_secs_f64(metrics.duration.get_sample_sum()))),
        only(is_stage, short(metrics.fuel.get())),
        only(!is_source, format!("{}/{}", metrics.queue_peak(), node.queue)),
        share(Activity::Working, lanes),
        only(is_stage, share(Activity::Copying, lanes)),
        share(Activity::WaitingForInput, 1),
        only(!matches!(node.id, NodeId::Sink(_)), share(Activity::WaitingForOutput, 1)),
        share(Activity::WaitingToRetry, lanes),
        share(Activity::WaitingForRate, lanes),
    ]
}

/// The problems of a node.
fn notes(node: &Node) -> Vec<String> {
    let metrics = &node.metrics;
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(text);
    let failures: Vec<_> = metrics
        .failures()
        .map(|(cause, count)| format!("{} × {}", number(count), cause.name()))
        .collect();
    if !failures.is_empty() {
        note(format!("failed and was restored: {}", failures.join(", ")));
    }
    for cause in Cause::ALL {
        let rescued = metrics.rescued(cause).get();
        let batches = metrics.batch.get_sample_count();
        if let Some(raise) = what_to_raise(cause)
            && rescued > 0
            && rescued * OFTEN >= batches
        {
            note(format!(
                "{} of {} batches failed ({}) and passed once they were divided: raise {raise}, or \
                 make them smaller",
                number(rescued),
                number(batches),
                cause.name()
            ));
        }
    }
    let renewed = metrics.renewed.get();
    if renewed > 0 {
        let times = times(renewed);
        note(format!("its instances were replaced {times}, as their memory neared limits.memory"));
    }
    let opened = metrics.breaker_opened.get();
    if opened > 0 {
        let times = times(opened);
        let now = if metrics.is_breaker_open() { "is open" } else { "is closed" };
        note(format!("its breaker opened {times}, and {now}"));
    }
    let letters = metrics.dead_letters.get();
    if letters > 0 {
        note(format!("{} records are in the dead letters", number(letters)));
    }
    if metrics.skipped.get() > 0 {
        note(format!("{} records were rejected and dropped", number(metrics.skipped.get())));
    }
    if metrics.dropped.get() > 0 {
        note(format!(
            "{} records were dropped because its queue was full",
            number(metrics.dropped.get())
        ));
    }
    if metrics.log_dropped.get() > 0 {
        note(format!("{} bytes that it printed were dropped", number(metrics.log_dropped.get())));
    }
    notes
}

/// Division rescues a stage often if it rescues one batch in this many.
const OFTEN: u64 = 100;

/// The limits that a stage meets again and again, by the cause of its failures.
fn what_to_raise(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::Fuel => Some("limits.fuel_per_byte or limits.fuel_per_record"),
        Cause::Timeout => Some("limits.timeout"),
        Cause::Memory => Some("limits.memory"),
        Cause::Output => Some("limits.output or limits.output_records"),
        Cause::Trap | Cause::Stack | Cause::Contract | Cause::Error => None,
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", number(count)) }
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// With a comma at each thousand: 1,234,567.
pub fn number(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// In three digits: 12.3M.
pub fn short(n: u64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| n as f64 >= *size) {
        Some((size, unit)) => format!("{:.1}{unit}", n as f64 / size),
        None => n.to_string(),
    }
}

pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"].map(String::from),
            [0, 999, 1000, 1_234_567].map(number)
        );
        assert_eq!(short(12_340_000), "12.3M");
        assert_eq!(time(Duration::from_micros(12_345)), "12.3 ms");
    }
}

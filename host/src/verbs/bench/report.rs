//! The results, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::runs::{Run, Runs, median};
use crate::summary::{number, time};
use pipehost_observe::pace::Pace;

/// All results. Times are in seconds, memory in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub pipeline: String,
    pub records: u64,
    /// Bytes that sources read from files; 0 if there are none.
    pub bytes: u64,
    pub rounds: usize,
    /// The stages that are native in `native`.
    pub native_stages: Vec<String>,
    pub sandboxed: Figures,
    pub native: Option<Figures>,
    /// Sandboxed divided by native, of medians.
    pub ratio: Option<Ratio>,
    /// The control divided by `sandboxed`: without noise, 1.
    pub control: Ratio,
    pub latency: Latency,
    pub notes: Vec<String>,
}

/// Medians of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub wall: f64,
    pub cpu: f64,
    pub cpu_a_record: f64,
    pub records_a_second: f64,
    pub bytes_a_second: f64,
    pub peak_memory: f64,
    /// Of each round.
    pub walls: Vec<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub wall: f64,
    pub cpu: f64,
}

/// The time from when a record was due until a sink had written it.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    /// Records a second.
    pub rate: f64,
    /// For how long records were sent, unless they ran out before.
    pub seconds: f64,
    /// Records that were written, over all sinks.
    pub records: u64,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub most: f64,
}

impl Latency {
    pub(super) fn new(rate: f64, pace: &Pace) -> Self {
        let at = |part| pace.quantile(part).as_secs_f64();
        let (p50, p99, p99_9, most) = (at(0.5), at(0.99), at(0.999), at(1.0));
        let seconds = pace.lasted().as_secs_f64();
        Self { rate, seconds, records: pace.records(), p50, p99, p99_9, most }
    }
}

impl Figures {
    fn new(runs: &[Run]) -> Self {
        let (records, bytes) = runs.first().map_or((0, 0), |run| (run.records, run.bytes));
        let wall = median(runs, |run| run.wall.as_secs_f64());
        let cpu = median(runs, |run| run.cpu.as_secs_f64());
        Self {
            wall,
            cpu,
            cpu_a_record: cpu / records.max(1) as f64,
            records_a_second: records as f64 / wall.max(1e-9),
            bytes_a_second: bytes as f64 / wall.max(1e-9),
            peak_memory: median(runs, |run| run.memory as f64),
            walls: runs.iter().map(|run| run.wall.as_secs_f64()).collect(),
        }
    }

    fn by(&self, other: &Self) -> Ratio {
        Ratio { wall: self.wall / other.wall.max(1e-9), cpu: self.cpu / other.cpu.max(1e-9) }
    }
}

impl Report {
    pub(super) fn new(
        pipeline: String,
        runs: &Runs,
        native_stages: Vec<String>,
        latency: Latency,
        notes: Vec<String>,
    ) -> Self {
        let sandboxed = Figures::new(&runs.sandboxed);
        let native = (!runs.native.is_empty()).then(|| Figures::new(&runs.native));
        let first = runs.sandboxed.first().copied().unwrap_or_default();
        Self {
            pipeline,
            records: first.records,
            bytes: first.bytes,
            rounds: runs.sandboxed.len(),
            native_stages,
            ratio: native.as_ref().map(|native| sandboxed.by(native)),
            control: Figures::new(&runs.control).by(&sandboxed),
            sandboxed,
            native,
            latency,
            notes,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!("{}: {} records", self.pipeline, number(self.records));
        if self.bytes > 0 {
            let _ = write!(out, ", {}", megabytes(self.bytes as f64));
        }
        let _ = writeln!(out, "; medians of {} rounds, in turn\n", self.rounds);
        self.line(&mut out, ["", "sandboxed", "native", "ratio", "control"]);
        let ratio = self.ratio.as_ref();
        let rows: [Row<'_>; 6] = [
            ("wall time", |f| seconds(f.wall), ratio.map(|r| r.wall), Some(self.control.wall)),
            ("CPU time", |f| seconds(f.cpu), ratio.map(|r| r.cpu), Some(self.control.cpu)),
            ("CPU a record", |f| format!("{:.0} ns", 1e9 * f.cpu_a_record), None, None),
            ("records/s", |f| number(f.records_a_second as u64), None, None),
            ("bytes/s", |f| format!("{}/s", megabytes(f.bytes_a_second)), None, None),
            ("peak memory", |f| megabytes(f.peak_memory), None, None),
        ];
        for (what, show, ratio, control) in rows {
            if what == "bytes/s" && self.bytes == 0 {
                continue;
            }
            let native = self.native.as_ref().map_or(String::new(), show);
            let two = |ratio: Option<f64>| ratio.map_or(String::new(), |r| format!("{r:.2}"));
            self.line(
                &mut out,
                [what, &show(&self.sandboxed), &native, &two(ratio), &two(control)],
            );
        }
        let Latency { rate, seconds: length, records, p50, p99, p99_9, most } = self.latency;
        let _ = writeln!(
            out,
            "\n  latency at {} records/s for {length:.1} s, from when a record was due until it was written:",
            number(rate as u64)
        );
        if records == 0 {
            out.push_str("  none of the records reached a sink as one that descends from them\n");
        } else {
            let [p50, p99, p99_9, most] = [p50, p99, p99_9, most].map(seconds);
            let _ = writeln!(
                out,
                "  p50 {p50}, p99 {p99}, p99.9 {p99_9}, longest {most} ({} records written)",
                number(records)
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "\n  {note}");
        }
        out
    }

    /// A line of the table; without native stages, it has no columns for them.
    fn line(&self, out: &mut String, [what, sandboxed, native, ratio, control]: [&str; 5]) {
        let mut line = format!("  {what:<14}{sandboxed:>15}");
        if self.native.is_some() {
            let _ = write!(line, "{native:>15}{ratio:>9}");
        }
        let _ = write!(line, "{control:>11}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// A label, how to show a figure, its ratio to native, and that of the control.
type Row<'a> = (&'a str, fn(&Figures) -> String, Option<f64>, Option<f64>);

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

fn seconds(seconds: f64) -> String {
    time(Duration::from_secs_f64(seconds))
}

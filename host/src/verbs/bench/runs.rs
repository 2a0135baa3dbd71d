//! Runs of one pipeline, alternately sandboxed and native.

use anyhow::anyhow;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::signals::signals;
use pipehost_config::SourceKind;
use pipehost_config::graph::NodeId;
use pipehost_observe::metrics::Metrics;
use pipehost_observe::pace::Pace;
use pipehost_pipeline::prepare::Prepared;
use pipehost_sandbox::Runner;

/// The measurements of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub wall: Duration,
    /// CPU time of all threads.
    pub cpu: Duration,
    /// Peak resident memory, in bytes.
    pub memory: u64,
    /// Records that the sources sent.
    pub records: u64,
    /// Bytes that sources read from files.
    pub bytes: u64,
    /// Records that a source or stage rejected.
    pub rejected: u64,
}

/// The runs of all rounds; each round makes one run of each kind.
pub(super) struct Runs {
    pub sandboxed: Vec<Run>,
    /// Sandboxed once more: shows how much two measurements of the same thing differ.
    pub control: Vec<Run>,
    /// Empty if no stage is native.
    pub native: Vec<Run>,
}

impl Runs {
    /// Runs the kinds in turn. A first round, which does not count, warms up.
    pub(super) async fn alternate(
        prepared: &Prepared,
        native: Option<&[Runner]>,
        rounds: u32,
    ) -> Result<Self, Error> {
        let mut runs = Self { sandboxed: Vec::new(), control: Vec::new(), native: Vec::new() };
        for round in 0..=rounds {
            let sandboxed = run(prepared, None, None).await?;
            let native = match native {
                Some(runners) => Some(run(prepared, Some(runners), None).await?),
                None => None,
            };
            let control = run(prepared, None, None).await?;
            if round > 0 {
                runs.sandboxed.push(sandboxed);
                runs.control.push(control);
                runs.native.extend(native);
            }
        }
        Ok(runs)
    }

    /// Records per second of the sandboxed pipeline.
    pub(super) fn records_per_second(&self) -> f64 {
        let records = self.sandboxed.first().map_or(0, |run| run.records);
        records as f64 / median(&self.sandboxed, |run| run.wall.as_secs_f64()).max(1e-9)
    }
}

/// The median of a figure.
pub(super) fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut figures: Vec<_> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

/// Runs a pipeline to its end, with other runners or at a fixed rate if they are given.
pub(super) async fn run(
    prepared: &Prepared,
    runners: Option<&[Runner]>,
    pace: Option<Arc<Pace>>,
) -> Result<Run, Error> {
    let metrics = Arc::new(Metrics::default());
    let again = Prepared {
        config: prepared.config.clone(),
        graph: prepared.graph.clone(),
        runners: runners.unwrap_or(&prepared.runners).to_vec(),
        metrics,
        replay: None,
        warnings: Vec::new(),
        pace,
    };
    // Resets the peak of resident memory: proc(5), clear_refs.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = cpu_time();
    let running = pipehost_pipeline::start(again).await.map_err(Error::Failed)?;
    let nodes = running.view().nodes();
    // Signals end a measurement as they end a run.
    let ending = running.finish(signals()?.1).await;
    let cpu = cpu_time().saturating_sub(before);
    if let Some(failure) = ending.failure {
        return Err(Error::Failed(failure));
    }
    if ending.stopped_by.is_some() {
        return Err(Error::Failed(anyhow!("it was stopped, or its deadline passed")));
    }
    let mut run = Run { wall: ending.elapsed, cpu, memory: peak(), ..Run::default() };
    run.rejected = nodes.iter().map(|node| node.metrics.rejected.get()).sum();
    for (node, source) in nodes.iter().zip(&prepared.config.sources) {
        run.records += node.metrics.records_out.get();
        debug_assert!(matches!(node.id, NodeId::Source(_)), "sources come first");
        debug_assert_eq!(node.metrics.in_flight.load(Ordering::Relaxed), 0, "all has gone on");
        if let (SourceKind::File(_), Some(progress)) = (&source.kind, &node.progress) {
            run.bytes += progress.done();
        }
    }
    Ok(run)
}

/// CPU time of this process, all threads.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// The most memory that was resident, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    1024 * kib.unwrap_or(0)
}

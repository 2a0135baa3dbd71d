//! How a run and its nodes are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Control;
use pipehost_config::graph::NodeId;
use pipehost_observe::metrics::Activity;
use pipehost_observe::progress::Lag;
use pipehost_pipeline::{Node, Nodes};

/// How a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The version of pipehost.
    pub version: String,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The process ID.
    pub process: u32,
    pub phase: Phase,
    /// Since the start of the run.
    pub uptime_ms: u64,
    /// Records that the sinks have written.
    pub written: u64,
    /// Checkpoints that are complete.
    pub checkpoints: u64,
    /// The state directory.
    #[schema(value_type = Option<String>)]
    pub state: Option<PathBuf>,
    /// The file of the dead letters.
    #[schema(value_type = Option<String>)]
    pub dead_letters: Option<PathBuf>,
    /// Sources first, in the order of the configuration.
    pub nodes: Vec<NodeStatus>,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Running,
    /// It delivers what it has read, and ends.
    Draining,
}

/// How a node is. Counts are those since the start of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    pub name: String,
    pub kind: Kind,
    /// What leads to it: `node` or `node.port`.
    pub inputs: Vec<String>,
    /// The names of its ports.
    pub ports: Vec<String>,
    /// SHA-256 of the component of a stage.
    pub component: Option<String>,
    pub lanes: u64,
    pub records_in: u64,
    pub records_out: u64,
    /// Records that were rejected for good.
    pub rejected: u64,
    pub dead_letters: u64,
    /// Rejected records that were dropped, as configured.
    pub skipped: u64,
    /// Records that were dropped because the queue was full, as configured.
    pub dropped: u64,
    /// Records of a stage, or writes of a sink, that were tried again.
    pub retries: u64,
    /// Calls that failed, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Batches that wait in its queues, and how many these hold at most.
    pub queue_batches: u64,
    pub queue_capacity: u64,
    /// Memory of its instances.
    pub memory_bytes: u64,
    pub fuel: u64,
    /// Whether its breaker keeps it from being called.
    pub breaker_open: bool,
    /// Seconds spent on each activity up to now, summed over its lanes: `working`, `copying`,
    /// `waiting_for_input`, `waiting_for_output`, `waiting_to_retry`, `waiting_for_rate`.
    pub seconds: BTreeMap<String, f64>,
    /// Bytes that are in the files of a source and are not read yet.
    pub lag_bytes: Option<u64>,
    /// Rows that are in the table of a source and are not read yet.
    pub lag_records: Option<u64>,
    /// How old the last record was that passed, by its timestamp and the clock of this machine.
    pub behind_seconds: Option<f64>,
    /// How far the watermark is behind the clock of this machine.
    pub watermark_age_seconds: Option<f64>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Source,
    Stage,
    Sink,
}

impl Status {
    pub(crate) fn now(control: &Control) -> Self {
        let uptime = control.since.elapsed();
        let files = control.view.files();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: control.pipeline.clone(),
            process: std::process::id(),
            phase: if control.view.is_draining() { Phase::Draining } else { Phase::Running },
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            written: control.metrics.processed.get(),
            checkpoints: control.metrics.checkpoints(),
            state: files.state,
            dead_letters: files.dead_letters,
            nodes: of_nodes(&control.view.nodes()),
        }
    }

    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.uptime_ms)
    }
}

/// How these nodes are now.
pub fn of_nodes(nodes: &Nodes) -> Vec<NodeStatus> {
    let now = pipehost_record::time::now();
    nodes.iter().map(|node| NodeStatus::of(node, now)).collect()
}

impl NodeStatus {
    fn of(node: &Node, now: i64) -> Self {
        let metrics = &node.metrics;
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        let age = |time: i64| now.saturating_sub(time) as f64 / 1e9;
        let (lag_bytes, lag_records) = match metrics.lag() {
            Some(Lag::Bytes(bytes)) => (Some(bytes), None),
            Some(Lag::Records(records)) => (None, Some(records)),
            None => (None, None),
        };
        let failures = metrics.failures().map(|(cause, count)| (cause.name().to_owned(), count));
        let seconds = Activity::ALL.map(|doing| (doing.name().to_owned(), metrics.seconds(doing)));
        Self {
            name: node.name.clone(),
            kind: match node.id {
                NodeId::Source(_) => Kind::Source,
                NodeId::Stage(_) => Kind::Stage,
                NodeId::Sink(_) => Kind::Sink,
            },
            inputs: node.inputs.clone(),
            ports: node.ports.clone(),
            component: node.component.as_deref().map(str::to_owned),
            lanes: count(metrics.lanes.get()).max(1),
            records_in: metrics.records_in.get(),
            records_out: metrics.records_out.get(),
            rejected: metrics.rejected.get(),
            dead_letters: metrics.dead_letters.get(),
            skipped: metrics.skipped.get(),
            dropped: metrics.dropped.get(),
            retries: metrics.retries.get(),
            failures: failures.collect(),
            queue_batches: count(metrics.queue.get()),
            queue_capacity: count(metrics.queue_capacity.get()),
            memory_bytes: count(metrics.memory.get()),
            fuel: metrics.fuel.get(),
            breaker_open: metrics.is_breaker_open(),
            seconds: seconds.into_iter().collect(),
            lag_bytes,
            lag_records,
            behind_seconds: metrics.last_record().map(age),
            watermark_age_seconds: metrics.watermark().map(age),
        }
    }

    pub fn seconds(&self, doing: Activity) -> f64 {
        self.seconds.get(doing.name()).copied().unwrap_or(0.0)
    }

    /// Calls that failed, for any cause.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

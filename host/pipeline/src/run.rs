//! A run, from its begin to its end: done, failed, told to stop, or out of time.

use anyhow::anyhow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flow::{TaskError, TaskResult};
use pipehost_config::Config;
use pipehost_config::graph::{self, NodeId};
use pipehost_connectors::Progress;
use pipehost_observe::metrics::{Metrics, NodeMetrics};

/// A wish that the run should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// A signal, by its number. The first one drains, the second ends at once.
    Signal(i32),
}

/// Why a run ended before its sources did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    Signal(i32),
    Deadline,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunReport {
    /// What went wrong first.
    pub failure: Option<anyhow::Error>,
    pub stopped_by: Option<StopCause>,
    /// By node, the records that were on their way to it or in it when the run ended.
    pub undelivered: Vec<(String, u64)>,
    /// Nodes that had not come to their end when the time for it was up: what a stage still
    /// held, or a file that was to appear, is missing.
    pub unfinished: Vec<String>,
    pub elapsed: Duration,
}

/// A node of a run, for those who watch it.
#[derive(Clone)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub workers: usize,
    /// Batches that the queues in front of it hold, each.
    pub queue: usize,
    pub metrics: Arc<NodeMetrics>,
    /// Of sources.
    pub progress: Option<Arc<Progress>>,
}

/// All nodes, sources first, in the order of the configuration.
pub type Nodes = Vec<Node>;

/// A pipeline that is ready to run, and runs from [`Running::finish`] on.
pub struct Running {
    pub nodes: Nodes,
    tasks: JoinSet<TaskResult>,
    /// Until this is said, no task does anything: a signal that comes while the others are
    /// still made then finds that nothing was read.
    begin: CancellationToken,
    names: HashMap<tokio::task::Id, String>,
    pub(crate) stop: CancellationToken,
    /// Held by sinks while they write.
    pub(crate) gate: Arc<RwLock<()>>,
    deadline: Option<Duration>,
    grace: Duration,
    start: Instant,
}

fn nodes(config: &Config, metrics: &Metrics) -> Nodes {
    graph::nodes(config)
        .map(|id| {
            let name = graph::name(config, id).value.clone();
            let (workers, queue) = match id {
                NodeId::Source(_) => (1, 0),
                NodeId::Stage(i) => (config.stages[i].workers, config.stages[i].input.queue),
                NodeId::Sink(i) => (1, config.sinks[i].input.queue),
            };
            let progress = matches!(id, NodeId::Source(_)).then(Arc::default);
            Node { id, metrics: metrics.node(&name), name, workers, queue, progress }
        })
        .collect()
}

/// How long a run that has ended waits for what does not yield.
const PATIENCE: Duration = Duration::from_secs(1);

impl Running {
    /// A run without tasks.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Self {
        Self {
            nodes: nodes(config, metrics),
            tasks: JoinSet::new(),
            begin: CancellationToken::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
            gate: Arc::default(),
            deadline: config.deadline,
            grace: config.shutdown_grace,
            start: Instant::now(),
        }
    }

    /// A task that calls no guest.
    pub(crate) fn spawn(
        &mut self,
        name: &str,
        task: impl Future<Output = TaskResult> + Send + 'static,
    ) {
        self.spawn_on(&Handle::current(), name, task);
    }

    pub(crate) fn spawn_on(
        &mut self,
        threads: &Handle,
        name: &str,
        task: impl Future<Output = TaskResult> + Send + 'static,
    ) {
        let begin = self.begin.clone();
        let task = async move {
            begin.cancelled().await;
            task.await
        };
        let handle = self.tasks.spawn_on(task, threads);
        self.names.insert(handle.id(), name.to_owned());
    }

    /// Runs the pipeline, and waits until that is over. The first cause of a failure ends it; a
    /// wish to stop or the deadline stops the sources and lets the rest drain.
    pub async fn finish(mut self, mut stops: mpsc::Receiver<StopRequest>) -> RunReport {
        self.begin.cancel();
        let mut failure = None;
        let mut stopped_by = None;
        let far = tokio::time::Instant::now() + Duration::from_secs(86400 * 365 * 30);
        let deadline = self
            .deadline
            .map_or(far, |deadline| tokio::time::Instant::from_std(self.start) + deadline);
        let mut patience = far;
        loop {
            tokio::select! {
                biased;
                Some(StopRequest::Signal(signal)) = stops.recv() => {
                    let second = stopped_by.is_some();
                    stopped_by = Some(StopCause::Signal(signal));
                    if second {
                        break;
                    }
                    self.stop.cancel();
                    patience = tokio::time::Instant::now() + self.grace;
                }
                () = tokio::time::sleep_until(deadline), if stopped_by.is_none() => {
                    stopped_by = Some(StopCause::Deadline);
                    self.stop.cancel();
                    patience = tokio::time::Instant::now() + self.grace;
                }
                () = tokio::time::sleep_until(patience) => break,
                ended = self.tasks.join_next_with_id() => match ended {
                    None => break,
                    Some(Ok((id, Ok(()) | Err(TaskError::NeighbourGone)))) => {
                        self.names.remove(&id);
                    }
                    Some(Ok((_, Err(TaskError::Failed(cause))))) => {
                        failure = Some(cause);
                        break;
                    }
                    Some(Err(error)) => {
                        let name = self.names.get(&error.id()).map_or("?", String::as_str);
                        failure = Some(anyhow!("the task of `{name}` panicked: {}", panic_message(error)));
                        break;
                    }
                },
            }
        }
        // What a sink is writing is let through; one that does not come to an end is not.
        let _closed = tokio::time::timeout(PATIENCE, self.gate.write()).await;
        // Counted before the tasks go: while they do, one makes room for the other.
        let undelivered = (self.nodes.iter())
            .map(|node| (node.name.clone(), node.metrics.in_flight.load(Ordering::Relaxed)))
            .filter(|(_, records)| *records > 0)
            .map(|(name, records)| (name, records.unsigned_abs()))
            .collect();
        let mut unfinished: Vec<String> =
            if failure.is_some() { Vec::new() } else { self.names.into_values().collect() };
        unfinished.retain(|name| self.nodes.iter().any(|node| node.name == *name));
        unfinished.sort();
        unfinished.dedup(); // Several workers.
        // A task ends when it yields; nobody waits for one that does not.
        let _ = tokio::time::timeout(PATIENCE, self.tasks.shutdown()).await;
        RunReport { failure, stopped_by, undelivered, unfinished, elapsed: self.start.elapsed() }
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "without a message".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

//! A run from start to end: finished, failed, stopped by a signal, or past its deadline.

use anyhow::anyhow;
use std::collections::HashMap;
use std::pin::Pin;
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
use pipehost_sandbox::guests;

/// A request to end the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// The number of a signal. The first one drains the pipeline, the second ends the run at once.
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
    /// The first failure.
    pub failure: Option<anyhow::Error>,
    pub stopped_by: Option<StopCause>,
    /// By node: records that were in its queues or in the node when the run ended.
    pub undelivered: Vec<(String, u64)>,
    /// Nodes that had not ended when the grace period was over: records that a stage held, or a
    /// sink's file, may be missing.
    pub unfinished: Vec<String>,
    pub elapsed: Duration,
}

/// A node of a run, for monitoring.
#[derive(Clone)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    /// Capacity of each of its input queues, in batches.
    pub queue: usize,
    pub metrics: Arc<NodeMetrics>,
    /// For sources only.
    pub progress: Option<Arc<Progress>>,
}

/// All nodes, sources first, in the order of the configuration.
pub type Nodes = Vec<Node>;

/// A task of a run.
pub(crate) type Task = Pin<Box<dyn Future<Output = TaskResult> + Send>>;

/// Adds tasks of stages to a run that has begun.
#[derive(Clone)]
pub(crate) struct Spawner(mpsc::UnboundedSender<(String, Task)>);

impl Spawner {
    pub(crate) fn spawn(&self, name: &str, task: Task) {
        let _ = self.0.send((name.to_owned(), task)); // The run may have failed.
    }
}

/// A pipeline that is ready to run; [`Running::finish`] runs it.
pub struct Running {
    pub nodes: Nodes,
    tasks: JoinSet<TaskResult>,
    spawner: Spawner,
    /// Tasks that others have asked for.
    asked: mpsc::UnboundedReceiver<(String, Task)>,
    /// Cancelled to start all tasks together: if a signal comes while later tasks are still being
    /// created, nothing has been read.
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
            let queue = match id {
                NodeId::Source(_) => 0,
                NodeId::Stage(i) => config.stages[i].input.queue,
                NodeId::Sink(i) => config.sinks[i].input.queue,
            };
            let progress = matches!(id, NodeId::Source(_)).then(Arc::default);
            Node { id, metrics: metrics.node(&name), name, queue, progress }
        })
        .collect()
}

/// How long an ended run waits for a sink's write, and then for tasks that do not yield.
const PATIENCE: Duration = Duration::from_secs(1);

impl Running {
    /// A run without tasks.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Self {
        let (spawner, asked) = mpsc::unbounded_channel();
        Self {
            spawner: Spawner(spawner),
            asked,
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

    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Spawns a task that calls no guest.
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

    /// Runs the pipeline until it ends. The first failure ends it at once; a stop request or the
    /// deadline stops the sources and drains the rest.
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
                Some((name, task)) = self.asked.recv() => {
                    self.spawn_on(guests(), &name, task);
                }
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
        // Let sinks complete their current writes, but wait no longer than `PATIENCE`.
        let _closed = tokio::time::timeout(PATIENCE, self.gate.write()).await;
        // Count before the shutdown: a task that ends makes room for another's records.
        let undelivered = (self.nodes.iter())
            .map(|node| (node.name.clone(), node.metrics.in_flight.load(Ordering::Relaxed)))
            .filter(|(_, records)| *records > 0)
            .map(|(name, records)| (name, records.unsigned_abs()))
            .collect();
        let mut unfinished: Vec<String> =
            if failure.is_some() { Vec::new() } else { self.names.into_values().collect() };
        unfinished.retain(|name| self.nodes.iter().any(|node| node.name == *name));
        unfinished.sort();
        unfinished.dedup(); // Workers of one stage share its name.
        // An aborted task ends when it next yields; do not wait longer for one that does not yield.
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

//! A run from start to end: finished, failed, stopped by a signal, past its deadline, or replaced
//! by another one that goes on where it was suspended.

use anyhow::anyhow;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::flow::{TaskError, TaskResult};
use crate::prepare::Prepared;
use crate::replace::{self, Replacement, Replacing};
use crate::suspension::{Suspended, Suspension};
use pipehost_config::Config;
use pipehost_config::graph::{self, NodeId};
use pipehost_connectors::{Progress, WrittenFiles};
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_sandbox::guests;

/// A request to a run.
pub enum Request {
    /// To end: the number of a signal. The first one drains the pipeline, the second ends the run
    /// at once.
    Stop(i32),
    /// To go on with another pipeline.
    Replace(Box<Replacement>),
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

/// The nodes of the pipeline that runs now.
#[derive(Clone)]
pub struct NodeList(Arc<Mutex<Nodes>>);

impl NodeList {
    pub fn now(&self) -> Nodes {
        self.0.lock().expect("nobody panics with it in hand").clone()
    }

    fn set(&self, nodes: &Nodes) {
        *self.0.lock().expect("nobody panics with it in hand") = nodes.clone();
    }
}

/// A pipeline that is ready to run; [`Running::finish`] runs it.
pub struct Running {
    pub(crate) nodes: Nodes,
    list: NodeList,
    tasks: JoinSet<TaskResult>,
    spawner: Spawner,
    /// Tasks that others have asked for.
    asked: mpsc::UnboundedReceiver<(String, Task)>,
    /// Cancelled to start all tasks together: if a signal comes while later tasks are still being
    /// created, nothing has been read.
    begin: CancellationToken,
    names: HashMap<tokio::task::Id, String>,
    pub(crate) stop: CancellationToken,
    pub(crate) suspension: Suspension,
    /// Held by sinks while they write.
    pub(crate) gate: Arc<RwLock<()>>,
    /// What runs, to go on with it if another pipeline cannot.
    prepared: Prepared,
    config: Arc<Config>,
    written: WrittenFiles,
    /// Where its tasks run, except for those of stages.
    work: Handle,
}

fn nodes(config: &Config, metrics: &Metrics, before: Option<&Suspended>) -> Nodes {
    graph::nodes(config)
        .map(|id| {
            let name = graph::name(config, id).value.clone();
            let queue = match id {
                NodeId::Source(_) => 0,
                NodeId::Stage(i) => config.stages[i].input.queue,
                NodeId::Sink(i) => config.sinks[i].input.queue,
            };
            let progress = || before.and_then(|before| before.progress(&name)).unwrap_or_default();
            let progress = matches!(id, NodeId::Source(_)).then(progress);
            Node { id, metrics: metrics.node(&name), name, queue, progress }
        })
        .collect()
}

/// How long an ended run waits for a sink's write, and then for tasks that do not yield.
const PATIENCE: Duration = Duration::from_secs(1);

impl Running {
    /// A run without tasks.
    pub(crate) fn new(
        prepared: Prepared,
        config: Arc<Config>,
        before: Option<&Suspended>,
        written: WrittenFiles,
    ) -> Self {
        let (spawner, asked) = mpsc::unbounded_channel();
        let nodes = nodes(&config, &prepared.metrics, before);
        Self {
            list: NodeList(Arc::new(Mutex::new(nodes.clone()))),
            spawner: Spawner(spawner),
            asked,
            nodes,
            tasks: JoinSet::new(),
            begin: CancellationToken::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
            suspension: Suspension::default(),
            gate: Arc::default(),
            prepared,
            config,
            written,
            work: Handle::current(),
        }
    }

    /// Shows its nodes in the list of the run that it replaces.
    pub(crate) fn list_in(&mut self, list: NodeList) {
        list.set(&self.nodes);
        self.list = list;
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

    /// The nodes of what runs, also after the pipeline was replaced.
    pub fn list(&self) -> NodeList {
        self.list.clone()
    }

    /// Runs until the pipeline ends, or until it is suspended to be replaced. The first failure
    /// ends it at once; a stop request or the deadline stops the sources and drains the rest.
    pub(crate) async fn drive(mut self, course: &mut Course) -> Driven {
        self.begin.cancel();
        if course.stopped_by.is_some() {
            self.stop.cancel(); // The request came while the pipeline was suspended.
        }
        let deadline = self.config.deadline.map_or_else(far, |deadline| course.start + deadline);
        let mut replacing: Option<Replacing> = None;
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                Some(request) = course.requests.recv() => match request {
                    Request::Stop(signal) => {
                        if course.stop(StopCause::Signal(signal), self.config.shutdown_grace) {
                            break;
                        }
                        self.stop_unless(replacing.is_some());
                    }
                    Request::Replace(asked) if course.stopped_by.is_some() => {
                        asked.refuse(anyhow!("the pipeline is about to end"));
                    }
                    Request::Replace(asked) if replacing.is_some() => asked.refuse_another(),
                    Request::Replace(asked) => replacing = self.suspend(*asked),
                },
                () = sleep_until(deadline), if course.stopped_by.is_none() => {
                    course.stop(StopCause::Deadline, self.config.shutdown_grace);
                    self.stop_unless(replacing.is_some());
                }
                () = sleep_until(course.patience) => break,
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
        match replacing {
            Some(replacing)
                if failure.is_none() && self.tasks.is_empty() && self.suspension.is_complete() =>
            {
                self.nodes.iter().for_each(|node| node.metrics.lanes.set(0));
                let Self { suspension, prepared, config, written, work, list, .. } = self;
                let before = Suspended::new(suspension, config, written);
                Driven::Suspended(Stopped { before, prepared, work, list, replacing }.into())
            }
            replacing => {
                // They had all their input, and no other run takes them over. Who asked for the
                // other pipeline learns that there is no answer.
                if replacing.is_some() && failure.is_none() {
                    failure = self.suspension.finish_sinks().await.err();
                }
                Driven::Ended(self.report(failure, course).await)
            }
        }
    }

    /// Stops the sources; if the run is being suspended, the next one stops them.
    fn stop_unless(&self, is_suspended: bool) {
        if !is_suspended {
            self.stop.cancel();
        }
    }

    /// Begins to suspend the run, if the other pipeline can replace it.
    fn suspend(&self, asked: Replacement) -> Option<Replacing> {
        match replace::goes_on(&self.prepared, &asked.with) {
            Ok(goes_on) => {
                self.suspension.begin(goes_on);
                Some(Replacing { asked, since: Instant::now() })
            }
            Err(why) => {
                asked.refuse(why);
                None
            }
        }
    }

    /// Ends what still runs, and counts what is not delivered.
    async fn report(mut self, failure: Option<anyhow::Error>, course: &Course) -> RunReport {
        // Let sinks complete their current writes, but wait no longer than `PATIENCE`.
        let _closed = timeout(PATIENCE, self.gate.write()).await;
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
        let _ = timeout(PATIENCE, self.tasks.shutdown()).await;
        RunReport { failure, undelivered, unfinished, ..course.report() }
    }
}

/// What lasts while one pipeline replaces another: the time, and the requests to end.
pub(crate) struct Course {
    pub(crate) requests: mpsc::Receiver<Request>,
    start: Instant,
    pub(crate) stopped_by: Option<StopCause>,
    /// When the run ends although it has not drained.
    pub(crate) patience: Instant,
}

/// A time that never comes.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(86400 * 365 * 30)
}

impl Course {
    pub(crate) fn new(requests: mpsc::Receiver<Request>, start: Instant) -> Self {
        Self { requests, start, stopped_by: None, patience: far() }
    }

    /// Notes a reason to end. Whether there was one before: then the run ends at once.
    pub(crate) fn stop(&mut self, cause: StopCause, grace: Duration) -> bool {
        self.patience = Instant::now() + grace;
        let is_second = self.stopped_by.replace(cause).is_some();
        if !is_second {
            tracing::info!("draining, for {grace:?} at most; another signal ends the run at once");
        }
        is_second
    }

    /// The report of a run that has delivered all.
    pub(crate) fn report(&self) -> RunReport {
        RunReport {
            failure: None,
            stopped_by: self.stopped_by,
            undelivered: Vec::new(),
            unfinished: Vec::new(),
            elapsed: self.start.elapsed(),
        }
    }
}

/// How [`Running::drive`] has ended.
pub(crate) enum Driven {
    Ended(RunReport),
    Suspended(Box<Stopped>),
}

/// A pipeline that is suspended to be replaced.
pub(crate) struct Stopped {
    pub(crate) before: Suspended,
    /// What ran.
    pub(crate) prepared: Prepared,
    pub(crate) work: Handle,
    pub(crate) list: NodeList,
    pub(crate) replacing: Replacing,
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

//! A run from start to end: finished, failed, stopped by a signal, past its deadline, or replaced
//! by another one that goes on where it was suspended.

use anyhow::{Result, anyhow};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::course::{Course, far};
use crate::dead_letter::RotationAnswer;
use crate::flow::{TaskError, TaskResult};
use crate::letters::{Replay, RunLetters};
use crate::prepare::Prepared;
use crate::replace::{self, Purpose, Replacement, Replacing};
use crate::suspension::{Suspended, Suspension};
use crate::view::{self, Nodes, View};
use pipehost_config::Config;
use pipehost_connectors::WrittenFiles;
use pipehost_sandbox::guests;

/// A request to a run.
pub enum Request {
    /// To end: the number of a signal. The first one drains the pipeline, the second ends the run
    /// at once.
    Stop(i32),
    /// To go on with another pipeline.
    Replace(Box<Replacement>),
    /// To send dead letters to the nodes that rejected them.
    Replay(Replay),
    /// To close the file of the dead letters, and to go on with a new one.
    RotateLetters(RotationAnswer),
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
    pub(crate) nodes: Nodes,
    pub(crate) view: View,
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
    pub(crate) letters: Option<RunLetters>,
    /// The tasks that send dead letters, and who waits for them.
    replays: HashSet<tokio::task::Id>,
    pub(crate) replaying: Option<oneshot::Sender<Result<()>>>,
    /// What is to run, to go on with it if another pipeline cannot, and once letters are replayed.
    pub(crate) prepared: Prepared,
    pub(crate) config: Arc<Config>,
    written: WrittenFiles,
    /// Where its tasks run, except for those of stages.
    work: Handle,
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
        let kept = |name: &str| before.and_then(|before| before.progress(name));
        let nodes = view::nodes(&config, &prepared.runners, &prepared.metrics, kept);
        let view = match before {
            Some(before) => before.view.clone(), // It shows these nodes once all is open.
            None => View::default(),
        };
        if before.is_none() {
            view.show(&config, &nodes);
        }
        Self {
            view,
            spawner: Spawner(spawner),
            asked,
            nodes,
            tasks: JoinSet::new(),
            begin: CancellationToken::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
            suspension: Suspension::default(),
            gate: Arc::default(),
            letters: None,
            replays: HashSet::new(),
            replaying: None,
            prepared,
            config,
            written,
            work: Handle::current(),
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

    /// The same of one that sends dead letters.
    pub(crate) fn spawn_replay(
        &mut self,
        name: &str,
        task: impl Future<Output = TaskResult> + Send + 'static,
    ) {
        let id = self.spawn_on(&Handle::current(), name, task);
        self.replays.insert(id);
    }

    pub(crate) fn spawn_on(
        &mut self,
        threads: &Handle,
        name: &str,
        task: impl Future<Output = TaskResult> + Send + 'static,
    ) -> tokio::task::Id {
        let begin = self.begin.clone();
        let task = async move {
            begin.cancelled().await;
            task.await
        };
        let handle = self.tasks.spawn_on(task, threads);
        self.names.insert(handle.id(), name.to_owned());
        handle.id()
    }

    /// Has the view show what runs now.
    pub(crate) fn show(&self) {
        self.view.show(&self.config, &self.nodes);
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        self.prepared.metrics.runs(&names);
    }

    /// What can be seen of it, also after the pipeline was replaced.
    pub fn view(&self) -> View {
        self.view.clone()
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
        if self.replaying.is_none()
            && course.stopped_by.is_none()
            && let Some(asked) = course.waiting.take()
        {
            replacing = self.suspend(asked);
        }
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                Some(request) = course.requests.recv() => match request {
                    Request::Stop(signal) => {
                        self.view.drains();
                        if course.stop(StopCause::Signal(signal), self.config.shutdown_grace) {
                            break;
                        }
                        self.stop_unless(replacing.is_some());
                    }
                    Request::Replace(asked) if course.stopped_by.is_some() => {
                        asked.refuse(anyhow!("the pipeline is about to end"));
                    }
                    Request::Replace(asked) if self.is_replaying(replacing.as_ref()) => {
                        course.wait(asked);
                    }
                    Request::Replace(asked) if replacing.is_some() => asked.refuse_another(),
                    Request::Replace(asked) => replacing = self.suspend(asked),
                    Request::Replay(asked) => {
                        let is_free = course.stopped_by.is_none()
                            && replacing.is_none()
                            && self.replaying.is_none();
                        replacing = match self.check_replay(&asked, is_free) {
                            Ok(()) if asked.only_check => {
                                let _ = asked.answer.send(Ok(())); // Nobody may wait for it.
                                replacing
                            }
                            Ok(()) => self.suspend_to(Purpose::Replay(asked)),
                            Err(why) => {
                                let _ = asked.answer.send(Err(why)); // Nobody may wait for it.
                                replacing
                            }
                        };
                    }
                    Request::RotateLetters(answer) => self.rotate_letters(answer),
                },
                () = sleep_until(deadline), if course.stopped_by.is_none() => {
                    self.view.drains();
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
                        // All that they sent has gone through once the run is suspended again.
                        if self.replays.remove(&id)
                            && self.replays.is_empty()
                            && course.stopped_by.is_none()
                            && let Some(answer) = self.replaying.take()
                        {
                            replacing = self.suspend_to(Purpose::EndReplay(answer));
                        }
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
                let Self { suspension, prepared, config, written, work, view, .. } = self;
                let before = Suspended::new(suspension, config, written, view);
                Driven::Suspended(Stopped { before, prepared, work, replacing }.into())
            }
            replacing => {
                let has_ended = failure.is_none() && self.tasks.is_empty();
                let replacing = match replacing {
                    // All that there was has been delivered, the letters too.
                    Some(Replacing { purpose: Purpose::EndReplay(answer), .. }) if has_ended => {
                        let _ = answer.send(self.suspension.replayed()); // Nobody may wait for it.
                        None
                    }
                    replacing => replacing,
                };
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
    fn suspend(&self, asked: Box<Replacement>) -> Option<Replacing> {
        match replace::goes_on(&self.prepared, &asked.with) {
            Ok(goes_on) => {
                self.suspension.begin(goes_on);
                Some(Replacing { purpose: Purpose::Replace(asked), since: Instant::now() })
            }
            Err(why) => {
                asked.refuse(why);
                None
            }
        }
    }

    /// Begins to suspend the run, to go on with the same pipeline.
    fn suspend_to(&self, purpose: Purpose) -> Option<Replacing> {
        self.suspension.begin(replace::same(&self.prepared));
        Some(Replacing { purpose, since: Instant::now() })
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

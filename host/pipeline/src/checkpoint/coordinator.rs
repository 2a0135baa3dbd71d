//! Makes the checkpoints of a run.

use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::letters::{Letters, Waiting, wait_for_room};
use super::reporter::{LaneStates, NodeState, Report, Reporter};
use crate::dead_letter::{DeadLetters, Encoded};
use crate::flow::{TaskError, TaskResult};
use crate::state::{
    Changed, Checkpoint, Shape, SinkCheckpoint, SourceCheckpoint, StageCheckpoint, Store,
};
use crate::suspension::{History, Suspension};
use crate::view::View;
use pipehost_config::graph::NodeId;
use pipehost_connectors::{Acknowledgements, Synced};
use pipehost_files::rename::Rename;
use pipehost_observe::metrics::Metrics;
use pipehost_sandbox::WorkerState;

/// Tells a source to start a checkpoint.
pub(crate) struct CheckpointRequests(Option<watch::Receiver<u64>>);

impl CheckpointRequests {
    /// Waits for the number of the next checkpoint. Cancel-safe.
    pub(crate) async fn next(&mut self) -> u64 {
        let Some(begin) = &mut self.0 else { return std::future::pending().await };
        match begin.changed().await {
            Ok(()) => *begin.borrow_and_update(),
            Err(_) => std::future::pending().await, // The run has failed.
        }
    }
}

/// What a [`Coordinator`] is made of.
pub(crate) struct CoordinatorOptions {
    /// Whether checkpoints are made while the pipeline runs; otherwise, once if it is suspended.
    pub active: bool,
    pub suspension: Suspension,
    /// What an earlier run in this process has left.
    pub history: Option<History>,
    /// None: checkpoints only acknowledge input, and are not saved.
    pub store: Option<Store>,
    /// The last checkpoint: what has not changed since is copied from it.
    pub checkpoint: Checkpoint,
    pub shape: Shape,
    /// The nodes that a checkpoint includes.
    pub names: BTreeMap<NodeId, String>,
    pub dead_letters: Option<Arc<DeadLetters>>,
    /// True if `dead_letters` is the pipeline's own file, not a replay's temporary one.
    pub own_letters: bool,
    pub interval: Duration,
    pub metrics: Arc<Metrics>,
    pub view: View,
}

/// Makes the checkpoints of a run.
pub(crate) struct Coordinator {
    options: CoordinatorOptions,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Cloned into each reporter; dropped at the start, so that `reports` closes with the nodes.
    reporter: Option<mpsc::UnboundedSender<Report>>,
    begin: watch::Sender<u64>,
    durable: watch::Sender<u64>,
    demand: Arc<Notify>,
    /// Whether there is no room for dead letters.
    full: watch::Sender<bool>,
    /// The last state of each node that has ended.
    ended: BTreeMap<NodeId, NodeState>,
    /// Dead letters for the next checkpoint.
    letters: Encoded,
    /// When a checkpoint was last written.
    written: Instant,
}

/// How often an unchanged checkpoint is written: its time shows that the run is alive.
const UNCHANGED: Duration = Duration::from_secs(10);

impl Coordinator {
    pub(crate) fn new(options: CoordinatorOptions) -> Self {
        let (reporter, reports) = mpsc::unbounded_channel();
        let number = options.checkpoint.number;
        // Sources that go on wait for the same ones.
        let (durable, demand) = match &options.history {
            Some(History { durable, demand, .. }) => (durable.clone(), demand.clone()),
            None => (watch::Sender::new(number), Arc::default()),
        };
        durable.send_replace(number);
        Self {
            reports,
            reporter: Some(reporter),
            begin: watch::Sender::new(number),
            durable,
            demand,
            full: watch::Sender::new(false),
            ended: BTreeMap::new(),
            letters: Encoded::default(),
            written: Instant::now(),
            options,
        }
    }

    /// Takes over the dead letters that an earlier run had no room for, unless in a replay.
    fn take_letters(&mut self) -> Result<()> {
        let CoordinatorOptions { checkpoint, dead_letters, own_letters, .. } = &mut self.options;
        if dead_letters.is_some() && *own_letters {
            self.letters = Encoded::from_bytes(&checkpoint.letters)?;
        }
        Ok(())
    }

    /// Saves the positions of new sinks and of the dead letters before the run writes to them.
    pub(crate) fn keep_begin(&mut self, sinks: BTreeMap<String, SinkCheckpoint>) -> Result<()> {
        if let Some(letters) = &self.options.dead_letters {
            letters.begin()?;
        }
        self.take_letters()?;
        let CoordinatorOptions {
            store: Some(store),
            checkpoint,
            dead_letters,
            shape,
            own_letters,
            ..
        } = &mut self.options
        else {
            return Ok(());
        };
        let letters =
            dead_letters.as_ref().filter(|_| *own_letters && checkpoint.dead_letters.is_none());
        if sinks.is_empty() && letters.is_none() {
            return Ok(());
        }
        checkpoint.pipeline.clone_from(&shape.pipeline);
        checkpoint.sinks.extend(sinks);
        if let Some(file) = letters {
            checkpoint.dead_letters = file.sync()?;
        }
        store.commit(checkpoint, &BTreeMap::new())
    }

    pub(crate) fn reporter(&self, node: NodeId, letters: Letters) -> Reporter {
        let reports = self.reporter.clone().expect("the run has not begun");
        let (active, durable) = (self.options.active, self.durable.subscribe());
        Reporter::new(node, active, self.suspension(), reports, letters, durable)
    }

    /// Notified to make a checkpoint soon.
    pub(crate) fn demand(&self) -> Arc<Notify> {
        self.demand.clone()
    }

    pub(crate) fn suspension(&self) -> Suspension {
        self.options.suspension.clone()
    }

    /// A handle that takes the dead letters of one node.
    pub(crate) fn letters(&self) -> Letters {
        let CoordinatorOptions { active, dead_letters, .. } = &self.options;
        let waiting = active.then(|| Waiting::new(self.demand.clone(), self.full.subscribe()));
        Letters::new(dead_letters.clone(), waiting)
    }

    pub(crate) fn checkpoint_requests(&self) -> CheckpointRequests {
        CheckpointRequests(self.options.active.then(|| self.begin.subscribe()))
    }

    pub(crate) fn acknowledgements(&self) -> Acknowledgements {
        Acknowledgements::new(self.durable.subscribe(), self.demand.clone())
    }

    /// Makes checkpoints until all nodes have ended; the last one holds their final states.
    pub(crate) async fn run(mut self) -> TaskResult {
        self.reporter = None;
        let mut ticks = interval(self.options.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await; // The first tick comes at once.
        let demand = self.demand.clone();
        loop {
            while !self.all_ended() {
                tokio::select! {
                    biased;
                    // No checkpoint is in progress, so the node has ended.
                    report = self.reports.recv() => {
                        let Report { node, state, letters, .. } = report.ok_or(TaskError::NeighbourGone)?;
                        self.letters.extend(letters);
                        if self.options.names.contains_key(&node) {
                            self.ended.insert(node, state);
                        }
                    }
                    _ = ticks.tick(), if self.options.active => break,
                    () = demand.notified(), if self.options.active => break,
                }
            }
            let last = self.all_ended();
            if !self.options.active && !self.options.suspension.has_begun() {
                return Ok(());
            }
            let start = Instant::now();
            let number = self.options.checkpoint.number + 1;
            self.begin.send_replace(number);
            let reached = self.collect(number).await?;
            self.write(number, reached).await.map_err(TaskError::Failed)?;
            if self.options.active {
                self.options.metrics.checkpoint(start.elapsed());
            }
            self.durable.send_replace(if last { u64::MAX } else { number });
            if last {
                self.leave();
                return Ok(());
            }
        }
    }

    /// Leaves what the next run needs, if this one is suspended.
    fn leave(self) {
        let Self { options, durable, demand, .. } = self;
        let CoordinatorOptions { suspension, store, checkpoint, .. } = options;
        if suspension.has_begun() {
            suspension.keep_history(store, History { checkpoint, durable, demand });
        }
    }

    fn all_ended(&self) -> bool {
        self.ended.len() == self.options.names.len()
    }

    /// Waits until every node has reached the checkpoint or ended before.
    async fn collect(&mut self, number: u64) -> Result<CollectedReports, TaskError> {
        let mut reached = CollectedReports {
            states: BTreeMap::new(),
            letters: std::mem::take(&mut self.letters),
            ended: self.ended.keys().copied().collect(),
        };
        while reached.states.len() + reached.ended.len() < self.options.names.len() {
            let report = self.reports.recv().await.ok_or(TaskError::NeighbourGone)?;
            let Report { node, number: at, state, letters } = report;
            match at {
                _ if !self.options.names.contains_key(&node) => {}
                Some(at) => {
                    debug_assert_eq!(at, number, "one checkpoint at a time");
                    reached.letters.extend(letters);
                    reached.states.insert(node, state);
                }
                // It ended after its barrier: this report belongs to the next checkpoint.
                None if reached.states.contains_key(&node) => {
                    self.letters.extend(letters);
                    self.ended.insert(node, state);
                }
                None => {
                    reached.letters.extend(letters);
                    reached.ended.insert(node);
                    self.ended.insert(node, state);
                }
            }
        }
        Ok(reached)
    }

    async fn write(&mut self, number: u64, reached: CollectedReports) -> Result<()> {
        let CollectedReports { mut states, mut letters, .. } = reached;
        let is_last = self.all_ended();
        let mut changed = Changed::new();
        let mut checkpoint = Checkpoint {
            pipeline: self.options.shape.pipeline.clone(),
            number,
            time: pipehost_record::time::now(),
            dead_letters: self.options.checkpoint.dead_letters.clone(),
            letters: self.options.checkpoint.letters.clone(),
            ..Checkpoint::default()
        };
        let (mut names, mut settled) = (Vec::new(), BTreeMap::new());
        for (node, name) in self.options.names.clone() {
            let reached = states.remove(&node);
            let has_ended = reached.is_none();
            let state = reached.or_else(|| self.ended.remove(&node));
            let mut state = state.expect("every node has reported");
            self.enter(&mut checkpoint, &mut changed, &name, &state);
            if let NodeState::Sink(sink) = &mut state {
                names.append(&mut sink.names);
                if let Some(position) = sink.settled.take() {
                    sink.position = Some(position.clone());
                    settled.insert(name, position);
                }
            }
            if has_ended {
                self.ended.insert(node, state);
            }
        }
        let recent = self.written.elapsed() < UNCHANGED && !is_last;
        let mut told = false;
        loop {
            let (file, store) = (self.options.dead_letters.clone(), self.options.store.take());
            let (own_letters, before) = (self.options.own_letters, letters.bytes);
            let same = recent.then(|| self.options.checkpoint.clone());
            let (given, then, new) = (
                std::mem::take(&mut names),
                std::mem::take(&mut settled),
                std::mem::take(&mut changed),
            );
            let done = tokio::task::spawn_blocking(move || {
                // Dead letters first: if a later step fails, the next run removes them again.
                if let Some(file) = &file {
                    file.write(&mut letters)?;
                    let end = file.sync()?;
                    if own_letters {
                        checkpoint.dead_letters = end;
                        checkpoint.letters = letters.to_bytes();
                    }
                }
                let is_same = new.is_empty()
                    && given.is_empty()
                    && same.is_some_and(|same| {
                        let Checkpoint { number, time, .. } = checkpoint;
                        checkpoint == Checkpoint { number, time, ..same }
                    });
                let Some(mut store) = store else {
                    given.iter().try_for_each(Rename::apply)?;
                    return Ok((checkpoint, None, letters, is_same));
                };
                if !is_same {
                    store.commit(&checkpoint, &new)?;
                }
                // Renamed only once this checkpoint is saved; the next one has the final names.
                given.iter().try_for_each(Rename::apply)?;
                for (name, position) in then {
                    if let Some(sink) = checkpoint.sinks.get_mut(&name) {
                        sink.position = Some(position);
                    }
                }
                if is_last && !given.is_empty() {
                    store.commit(&checkpoint, &BTreeMap::new())?;
                }
                Ok::<_, anyhow::Error>((checkpoint, Some(store), letters, is_same))
            });
            let is_same;
            (checkpoint, self.options.store, letters, is_same) =
                done.await.expect("writing does not panic")?;
            self.options.checkpoint = checkpoint.clone();
            if let Some(file) = &self.options.dead_letters {
                file.answer_rotations();
            }
            if self.options.store.is_some() {
                self.options.view.show_checkpoint(&checkpoint);
            }
            if !is_same {
                self.written = Instant::now();
            }
            let Some(file) = self.options.dead_letters.clone().filter(|_| !letters.is_empty())
            else {
                break;
            };
            if letters.bytes == before {
                self.full.send_replace(true);
                wait_for_room(&file, &mut told).await?;
            }
        }
        self.full.send_replace(false);
        Ok(())
    }

    /// Adds a node's state to a checkpoint.
    fn enter(
        &self,
        checkpoint: &mut Checkpoint,
        changed: &mut Changed,
        name: &str,
        state: &NodeState,
    ) {
        let name = name.to_owned();
        match state {
            NodeState::Source { position, latest } => {
                let kind = self.options.shape.sources[&name].kind.clone();
                let source = SourceCheckpoint { kind, position: position.clone(), latest: *latest };
                checkpoint.sources.insert(name, source);
            }
            NodeState::Stage { lanes, finished, latest } => {
                let shape = &self.options.shape.stages[&name];
                let before = self.options.checkpoint.stages.get(&name);
                let before = before.map(|stage| stage.saved.clone()).unwrap_or_default();
                let saved = entries(lanes, &before);
                let numbers: BTreeSet<u32> = before.keys().chain(saved.keys()).copied().collect();
                // A key group whose state is the same is not written again.
                for number in numbers {
                    let now = saved.get(&number);
                    if !is_same(now, before.get(&number)) {
                        changed.insert((name.clone(), number), now.cloned());
                    }
                }
                let stage = StageCheckpoint {
                    component: shape.component.clone(),
                    version: shape.saves_as.version.clone(),
                    config: shape.saves_as.config.clone(),
                    division: shape.division.clone(),
                    finished: *finished,
                    latest: *latest,
                    saved_bytes: saved.iter().map(|(number, s)| (*number, s.len())).collect(),
                    saved,
                };
                checkpoint.stages.insert(name, stage);
            }
            NodeState::Sink(Synced { position, .. }) => {
                let kind = self.options.shape.sinks[&name].kind.clone();
                checkpoint.sinks.insert(name, SinkCheckpoint { kind, position: position.clone() });
            }
        }
    }
}

/// Whether two states are the same. Those that were not saved anew share their bytes, which need not
/// be read for that.
fn is_same(now: Option<&Bytes>, before: Option<&Bytes>) -> bool {
    let place = |state: &Bytes| (state.as_ptr(), state.len());
    now.map(place) == before.map(place) || now == before
}

/// The states of a stage by number of the worker or key group, from those of its lanes.
fn entries(lanes: &LaneStates, before: &BTreeMap<u32, Bytes>) -> BTreeMap<u32, Bytes> {
    let mut saved = before.clone();
    match lanes {
        LaneStates::Workers(workers) => {
            for (number, worker) in (0..).zip(workers) {
                match worker {
                    WorkerState::Unchanged => {}
                    WorkerState::Nothing => drop(saved.remove(&number)),
                    WorkerState::Saved(groups) => match groups.first() {
                        Some(group) => drop(saved.insert(number, group.state.clone())),
                        None => drop(saved.remove(&number)),
                    },
                }
            }
        }
        LaneStates::KeyGroups(lanes) => {
            for (held, lane) in lanes {
                match lane {
                    WorkerState::Unchanged => {}
                    WorkerState::Nothing => saved.retain(|number, _| !held.contains(number)),
                    WorkerState::Saved(groups) => {
                        saved.retain(|number, _| !held.contains(number));
                        let groups = groups.iter();
                        saved.extend(groups.map(|group| (group.number, group.state.clone())));
                    }
                }
            }
        }
    }
    saved
}

/// The reports collected for a checkpoint.
struct CollectedReports {
    /// The states of nodes that reached it.
    states: BTreeMap<NodeId, NodeState>,
    /// Nodes that ended before it.
    ended: BTreeSet<NodeId>,
    letters: Encoded,
}

//! How a run is suspended, and what the next one takes over from it.
//!
//! The sources stop reading and send the end of a stream that goes on later. Behind it each node
//! reports its state, as at a barrier, and what cannot be opened again goes on as it is: sources,
//! sinks, and instances of stages whose state nobody can save. The last checkpoint of the run ends
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::state::{Checkpoint, Store};
use pipehost_config::{Config, SinkKind, SourceKind};
use pipehost_connectors::{Progress, Sink, Source, WrittenFiles, described};
use pipehost_sandbox::Worker;

/// The suspension of one run; the same for all its nodes.
#[derive(Clone, Default)]
pub(crate) struct Suspension(Arc<Shared>);

#[derive(Default)]
struct Shared {
    begun: CancellationToken,
    /// Set before it begins.
    goes_on: OnceLock<GoesOn>,
    kept: Mutex<Kept>,
}

/// The sources, and the stages, that go on as they are. The others are opened anew.
#[derive(Debug, Default)]
pub(crate) struct GoesOn {
    pub(crate) sources: BTreeSet<String>,
    pub(crate) stages: BTreeSet<String>,
}

/// What the next run takes over, by the name of its node.
#[derive(Default)]
struct Kept {
    /// Whether a source has stopped for it.
    stopped: bool,
    sources: BTreeMap<String, (Source, Arc<Progress>)>,
    sinks: BTreeMap<String, Sink>,
    workers: BTreeMap<String, Worker>,
    history: Option<History>,
    /// Taken by the first run that goes on; the state is opened again by another one.
    store: Option<Store>,
}

/// What the checkpoints of a run leave to the next one.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) durable: watch::Sender<u64>,
    pub(crate) demand: Arc<Notify>,
}

impl Suspension {
    /// Has the sources stop.
    pub(crate) fn begin(&self, goes_on: GoesOn) {
        let _ = self.0.goes_on.set(goes_on); // It begins once.
        self.0.begun.cancel();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// Waits until it begins. Cancel-safe.
    pub(crate) async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Whether a source goes on as it is.
    pub(crate) fn keeps_source(&self, name: &str) -> bool {
        self.0.goes_on.get().is_some_and(|goes_on| goes_on.sources.contains(name))
    }

    /// Whether a stage whose state cannot be saved goes on as it is.
    pub(crate) fn keeps_stage(&self, name: &str) -> bool {
        self.0.goes_on.get().is_some_and(|goes_on| goes_on.stages.contains(name))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().expect("nobody panics with it in hand")
    }

    pub(crate) fn source_has_stopped(&self) {
        self.kept().stopped = true;
    }

    pub(crate) fn keep_source(&self, name: &str, source: Source, progress: Arc<Progress>) {
        self.kept().sources.insert(name.to_owned(), (source, progress));
    }

    pub(crate) fn keep_sink(&self, name: &str, sink: Sink) {
        self.kept().sinks.insert(name.to_owned(), sink);
    }

    pub(crate) fn keep_worker(&self, name: &str, worker: Worker) {
        self.kept().workers.insert(name.to_owned(), worker);
    }

    /// After the last checkpoint.
    pub(crate) fn keep_history(&self, store: Option<Store>, history: History) {
        let mut kept = self.kept();
        kept.store = store;
        kept.history = Some(history);
    }

    /// Whether all nodes were suspended; otherwise the input ended before that, or the run failed.
    pub(crate) fn is_complete(&self) -> bool {
        let kept = self.kept();
        kept.stopped && kept.history.is_some()
    }
}

/// A run that is suspended.
#[derive(Clone)]
pub(crate) struct Suspended {
    suspension: Suspension,
    /// The pipeline that it ran.
    pub(crate) config: Arc<Config>,
    pub(crate) written: Written,
}

/// What the runs of this process have written.
#[derive(Clone, Default)]
pub(crate) struct Written {
    pub(crate) files: WrittenFiles,
    /// As [`described`], of the sinks that write files.
    targets: BTreeSet<String>,
}

impl Written {
    /// Adds what a pipeline writes.
    pub(crate) fn with(mut self, config: &Config) -> Self {
        let files = config.sinks.iter().filter(|sink| matches!(sink.kind, SinkKind::File(_)));
        self.targets.extend(files.map(|sink| described(&sink.kind)));
        self
    }

    pub(crate) fn has(&self, kind: &SinkKind) -> bool {
        self.targets.contains(&described(kind))
    }
}

impl Suspended {
    pub(crate) fn new(suspension: Suspension, config: Arc<Config>, written: Written) -> Self {
        Self { suspension, config, written }
    }

    /// What its checkpoints have left.
    pub(crate) fn history(&self) -> History {
        self.suspension.kept().history.clone().expect("it is complete")
    }

    pub(crate) fn take_store(&self) -> Option<Store> {
        self.suspension.kept().store.take()
    }

    /// The progress of a source that waits to go on.
    pub(crate) fn progress(&self, name: &str) -> Option<Arc<Progress>> {
        self.suspension.kept().sources.get(name).map(|(_, progress)| progress.clone())
    }

    /// Whether a source goes on as it is.
    pub(crate) fn goes_on(&self, name: &str, kind: &SourceKind) -> bool {
        let mut sources = self.config.sources.iter();
        self.suspension.kept().sources.contains_key(name)
            && sources.any(|source| source.name.value == name && source.kind == *kind)
    }

    pub(crate) fn has_sink(&self, name: &str) -> bool {
        self.suspension.kept().sinks.contains_key(name)
    }

    pub(crate) fn has_worker(&self, name: &str) -> bool {
        self.suspension.kept().workers.contains_key(name)
    }

    pub(crate) fn take_source(&self, name: &str) -> Option<Source> {
        self.suspension.kept().sources.remove(name).map(|(source, _)| source)
    }

    pub(crate) fn take_sink(&self, name: &str) -> Option<Sink> {
        self.suspension.kept().sinks.remove(name)
    }

    pub(crate) fn take_worker(&self, name: &str) -> Option<Worker> {
        self.suspension.kept().workers.remove(name)
    }

    /// The sinks that wait to go on.
    pub(crate) fn sinks(&self) -> Vec<String> {
        self.suspension.kept().sinks.keys().cloned().collect()
    }

    /// Where a sink has ended.
    pub(crate) fn note_position(&self, sink: &str, position: Option<serde_json::Value>) {
        if let Some(history) = &mut self.suspension.kept().history
            && let Some(sink) = history.checkpoint.sinks.get_mut(sink)
        {
            sink.position = position;
        }
    }
}

//! How a run is suspended, and what the next one takes over from it.
//!
//! The sources stop reading and send the end of a stream that goes on later. Behind it each node
//! reports its state, as at a barrier, and what cannot be opened again goes on as it is: sources,
//! sinks, and instances of stages whose state nobody can save. The last checkpoint of the run ends
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use anyhow::Context as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::state::{Checkpoint, Store};
use crate::view::View;
use pipehost_config::{Config, SourceKind};
use pipehost_connectors::{Sink, Source, WrittenFiles};
use pipehost_observe::progress::Progress;
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
    /// Sources and sinks whose input has ended.
    finished: BTreeSet<String>,
    /// Whether nobody reads stdout any more: what was sent there is not written.
    is_stdout_closed: bool,
    /// Why no other pipeline can go on from here.
    refusal: Option<anyhow::Error>,
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

    /// The input of a source or sink has ended: it is not opened again.
    pub(crate) fn note_finished(&self, name: &str) {
        self.kept().finished.insert(name.to_owned());
    }

    pub(crate) fn note_closed_stdout(&self) {
        self.kept().is_stdout_closed = true;
    }

    pub(crate) fn is_stdout_closed(&self) -> bool {
        self.kept().is_stdout_closed
    }

    /// Whether what a sink writes is complete.
    pub(crate) fn has_finished(&self, name: &str) -> bool {
        self.kept().finished.contains(name)
    }

    /// Has the pipeline that ran go on.
    pub(crate) fn refuse(&self, why: anyhow::Error) {
        self.kept().refusal.get_or_insert(why);
    }

    /// Completes what sinks have written that wait for another run.
    pub(crate) async fn finish_sinks(&self) -> anyhow::Result<()> {
        let sinks = std::mem::take(&mut self.kept().sinks);
        for (name, sink) in sinks {
            sink.finish().await.with_context(|| format!("sink `{name}`"))?;
        }
        Ok(())
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

    /// What became of letters that have gone through.
    pub(crate) fn replayed(&self) -> anyhow::Result<()> {
        if self.is_stdout_closed() {
            anyhow::bail!("nobody reads stdout any more: the letters were not written there");
        }
        Ok(())
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
    /// The files that the runs of this process have written.
    pub(crate) written: WrittenFiles,
    pub(crate) view: View,
    /// Whether the pipeline that ran goes on, and not another one.
    is_for_itself: bool,
}

impl Suspended {
    pub(crate) fn new(
        suspension: Suspension,
        config: Arc<Config>,
        written: WrittenFiles,
        view: View,
    ) -> Self {
        Self { suspension, config, written, view, is_for_itself: false }
    }

    /// What its checkpoints have left.
    pub(crate) fn history(&self) -> History {
        self.suspension.kept().history.clone().expect("it is complete")
    }

    pub(crate) fn take_store(&self) -> Option<Store> {
        self.suspension.kept().store.take()
    }

    /// The same, for the pipeline that ran to go on.
    pub(crate) fn for_itself(&self) -> Self {
        Self { is_for_itself: true, ..self.clone() }
    }

    /// Whether a source or sink has ended before.
    pub(crate) fn has_finished(&self, name: &str) -> bool {
        self.suspension.has_finished(name)
    }

    /// What became of letters that have gone through.
    pub(crate) fn replayed(&self) -> anyhow::Result<()> {
        self.suspension.replayed()
    }

    /// Why no other pipeline can go on from here.
    pub(crate) fn take_refusal(&self) -> Option<anyhow::Error> {
        self.suspension.kept().refusal.take()
    }

    /// The progress of a source that waits to go on.
    pub(crate) fn progress(&self, name: &str) -> Option<Arc<Progress>> {
        self.suspension.kept().sources.get(name).map(|(_, progress)| progress.clone())
    }

    /// Whether a source goes on as it is.
    pub(crate) fn goes_on(&self, name: &str, kind: &SourceKind) -> bool {
        self.suspension.kept().sources.contains_key(name) && self.config.has_source(name, kind)
    }

    pub(crate) fn has_sink(&self, name: &str) -> bool {
        self.suspension.kept().sinks.contains_key(name)
    }

    /// Whether an instance of a stage goes on: in the pipeline that ran, or in another one where
    /// the stage is the same.
    pub(crate) fn has_worker(&self, name: &str) -> bool {
        let is_same = self.is_for_itself || self.suspension.keeps_stage(name);
        is_same && self.suspension.kept().workers.contains_key(name)
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

//! Opens the sources and sinks of a run, or takes them over from the run before.

use anyhow::{Context as _, Result, anyhow};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Builder, assigner};
use crate::checkpoint::NodeState;
use crate::flow::TaskError;
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::run::Task;
use crate::state::SinkCheckpoint;
use crate::suspension::Suspended;
use crate::task::rejections::Rejections;
use crate::task::sink::SinkTask;
use crate::task::source::SourceTask;
use crate::view::Node;
use pipehost_config::graph::NodeId;
use pipehost_config::{SinkKind, SourceKind};
use pipehost_connectors::{Resume, Sink, Source, Synced, described};
use pipehost_observe::progress::Progress;

/// A sink, or the run before that it is taken over from when the run begins.
pub(super) enum Opened {
    Anew(Sink),
    GoesOn(Suspended),
    /// It has ended, and gets nothing more.
    Ended,
}

impl Builder {
    /// The tasks of the sources, with their names.
    pub(super) fn open_sources(&mut self) -> Result<Vec<(String, Task)>> {
        let mut tasks: Vec<(String, Task)> = Vec::new();
        for (index, source) in self.config.clone().sources.iter().enumerate() {
            let id = NodeId::Source(index);
            let Node { name, metrics, progress, .. } = self.node(id);
            let progress = progress.expect("sources have progress");
            if self.has_ended(&name, &source.kind) {
                tasks.push((name.clone(), self.ended_source(id, &name)));
                continue;
            }
            let opened = self.open_source(&name, &source.kind, progress.clone())?;
            let before = self.checkpoint.sources.get(&name);
            let latest = before.and_then(|source| source.latest);
            let senders = self.wiring.senders(id, 1);
            let rejections = self.rejections("source", &name, &metrics, source.on_error.value);
            let (stopped, is_replay) = (self.when_stopped(), self.replay.is_some());
            let task = {
                let batching = source.batch.clone();
                let outlet = Outlet::new(senders, metrics, assigner(&source.watermark, latest));
                let reporter = self.coordinator.reporter(id, rejections.letters.clone());
                let stop = self.running.stop.clone();
                let checkpoints = self.coordinator.checkpoint_requests();
                move |source| SourceTask {
                    source,
                    progress,
                    batching,
                    outlet,
                    reporter,
                    rejections,
                    stop,
                    checkpoints,
                    when_stopped: stopped,
                    when_done: if is_replay { stopped } else { StreamEnd::Finished },
                }
            };
            let (before, its_name) = (self.before.clone(), name.clone());
            let run = async move {
                let kept = || before.and_then(|before| before.take_source(&its_name));
                let source = opened.or_else(kept);
                task(source.expect("nobody else takes it")).run().await
            };
            tasks.push((name, Box::pin(run)));
        }
        Ok(tasks)
    }

    /// Whether a source has ended in the run before, and is the same: it has no more input.
    fn has_ended(&self, name: &str, kind: &SourceKind) -> bool {
        self.before
            .as_ref()
            .is_some_and(|before| before.has_finished(name) && before.config.has_source(name, kind))
    }

    /// The task of a source that has ended.
    fn ended_source(&mut self, id: NodeId, name: &str) -> Task {
        let metrics = self.metrics.node(name);
        let outlet = Outlet::new(self.wiring.senders(id, 1), metrics, None);
        let reporter = self.coordinator.reporter(id, self.coordinator.letters());
        let before = self.checkpoint.sources.get(name);
        let position = before.and_then(|source| source.position.clone());
        let latest = before.and_then(|source| source.latest);
        let name = name.to_owned();
        Box::pin(async move {
            reporter.suspension().note_finished(&name);
            reporter.ended(NodeState::Source { position, latest });
            outlet.end(StreamEnd::Finished).await
        })
    }

    /// Whether a sink has ended in the run before, is the same, and gets nothing more.
    fn has_ended_sink(&self, index: usize) -> bool {
        let sink = &self.config.sinks[index];
        let name = &sink.name.value;
        let Some(before) = self.before.as_ref().filter(|before| before.has_finished(name)) else {
            return false;
        };
        let reaches = |id| self.graph.reached_from(id).contains(&NodeId::Sink(index));
        let sources = self.config.sources.iter().enumerate();
        let stages = self.config.stages.iter().enumerate();
        let has_finished =
            |name: &str| self.checkpoint.stages.get(name).is_some_and(|stage| stage.finished);
        before.config.has_sink(name, &sink.kind)
            && sources
                .filter(|(_, source)| !self.has_ended(&source.name.value, &source.kind))
                .all(|(index, _)| !reaches(NodeId::Source(index)))
            && stages
                .filter(|(_, stage)| !has_finished(&stage.name.value))
                .all(|(index, _)| !reaches(NodeId::Stage(index)))
    }

    /// Opens a source; `None` if it goes on as it is.
    fn open_source(
        &self,
        name: &str,
        kind: &SourceKind,
        progress: Arc<Progress>,
    ) -> Result<Option<Source>> {
        let position = self.checkpoint.sources.get(name);
        let position = position.and_then(|source| source.position.as_ref());
        if let Some(letters) = &self.replay {
            let letters = letters.iter().filter(|letter| letter.stage == name);
            return Ok(Some(Source::replay_source(kind, letters.cloned().collect(), position)));
        }
        if self.before.as_ref().is_some_and(|before| before.goes_on(name, kind)) {
            return Ok(None);
        }
        let opened = Source::open(
            kind,
            position,
            self.keeps_state,
            progress,
            self.coordinator.acknowledgements(),
            &self.written,
        );
        let opened = opened.with_context(|| format!("source `{name}`"))?;
        Ok(Some(match &self.pace {
            None => opened,
            Some(pace) => opened.paced(pace.clone()),
        }))
    }

    pub(super) async fn open_sinks(&mut self) -> Result<Vec<Opened>> {
        if let Some(before) = self.before.clone() {
            self.finish_others(&before).await?;
        }
        let sinks = self.config.sinks.iter().enumerate();
        sinks
            .map(|(index, sink)| match self.has_ended_sink(index) {
                true => Ok(Opened::Ended),
                false => self.open_sink(&sink.name.value, &sink.kind),
            })
            .collect()
    }

    fn open_sink(&self, name: &str, kind: &SinkKind) -> Result<Opened> {
        if let Some(before) = self.before.as_ref().filter(|before| before.has_sink(name)) {
            return Ok(Opened::GoesOn(before.clone()));
        }
        let position = self.checkpoint.sinks.get(name);
        let resume = match position.and_then(|sink| sink.position.as_ref()) {
            _ if !self.keeps_state => Resume::NotAtAll,
            None => Resume::New { first: self.is_first },
            Some(position) => Resume::FromPosition(position),
        };
        let metrics = self.metrics.node(name);
        let opened = Sink::open(name, kind, &resume, &metrics, &self.written);
        Ok(Opened::Anew(opened.with_context(|| format!("sink `{name}`"))?))
    }

    /// The task of a sink that has ended.
    fn ended_sink(&mut self, id: NodeId, name: &str) -> Task {
        let metrics = self.metrics.node(name);
        let mut inlet = Inlet::new(self.wiring.receivers(id), metrics, None, false);
        let reporter = self.coordinator.reporter(id, self.coordinator.letters());
        let before = self.checkpoint.sinks.get(name);
        let position = before.and_then(|sink| sink.position.clone());
        let name = name.to_owned();
        Box::pin(async move {
            loop {
                match inlet.next().await? {
                    Event::End(_) => break,
                    Event::Watermark(_) => {}
                    Event::Batch(_) | Event::Barrier(_) => {
                        let why = anyhow!("sink `{name}` has completed what it writes");
                        return Err(TaskError::Failed(why));
                    }
                }
            }
            reporter.suspension().note_finished(&name);
            reporter.ended(NodeState::Sink(Synced { position, ..Synced::default() }));
            Ok(())
        })
    }

    /// Completes what the sinks of the run before have written, except for those that go on.
    async fn finish_others(&mut self, before: &Suspended) -> Result<()> {
        for name in before.sinks() {
            let mut sinks = before.config.sinks.iter().filter(|sink| sink.name.value == name);
            if sinks.any(|sink| self.config.has_sink(&name, &sink.kind)) {
                continue;
            }
            let Some(sink) = before.take_sink(&name) else { continue };
            let at = || format!("sink `{name}`, which is replaced");
            let finished = sink.finish().await.with_context(at)?;
            finished.names.iter().try_for_each(|rename| rename.apply()).with_context(at)?;
            let position = finished.settled.or(finished.position);
            if let Some(sink) = self.checkpoint.sinks.get_mut(&name) {
                sink.position.clone_from(&position);
            }
            before.note_position(&name, position);
        }
        Ok(())
    }

    /// Creates and truncates the files of the sinks. Returns the positions of sinks that are not in
    /// a checkpoint.
    pub(super) async fn begin_sinks(
        &mut self,
        sinks: Vec<Opened>,
    ) -> Result<BTreeMap<String, SinkCheckpoint>> {
        let mut new_sinks = BTreeMap::new();
        let config = self.config.clone();
        for (index, (opened, sink)) in sinks.into_iter().zip(&config.sinks).enumerate() {
            let id = NodeId::Sink(index);
            let Node { name, metrics, .. } = self.node(id);
            let taken: Box<dyn FnOnce() -> Sink + Send> = match opened {
                Opened::Anew(mut opened) => {
                    let at = |why: anyhow::Error| why.context(format!("sink `{name}`"));
                    opened.begin().map_err(at)?;
                    let before = self.checkpoint.sinks.get(&name);
                    let is_known = before.is_some_and(|sink| sink.position.is_some());
                    if self.keeps_state && !is_known {
                        let position = opened.sync().await.map_err(at)?.position;
                        let kind = described(&sink.kind);
                        new_sinks.insert(name.clone(), SinkCheckpoint { kind, position });
                    }
                    Box::new(|| opened)
                }
                Opened::GoesOn(before) => {
                    let name = name.clone();
                    Box::new(move || before.take_sink(&name).expect("nobody else takes it"))
                }
                Opened::Ended => {
                    let task = self.ended_sink(id, &name);
                    self.running.spawn(&name, task);
                    continue;
                }
            };
            let rejections = Rejections {
                gate: Arc::default(), // `SinkTask` already holds the run's gate.
                ..self.rejections("sink", &name, &metrics, sink.on_error.value)
            };
            let task = {
                let name: Arc<str> = name.as_str().into();
                let reporter = self.coordinator.reporter(id, rejections.letters.clone());
                let receivers = self.wiring.receivers(id);
                let inlet = Inlet::new(receivers, metrics.clone(), sink.batch.clone(), false);
                let processed = self.metrics.processed.clone();
                let (rate, alone) = (sink.rate, config.sinks.len() == 1);
                let (stop, gate) = (self.running.stop.clone(), self.running.gate.clone());
                let pace = self.pace.clone();
                move |sink| SinkTask {
                    name,
                    sink,
                    rejections,
                    inlet,
                    metrics,
                    processed,
                    rate,
                    stop,
                    alone,
                    reporter,
                    gate,
                    pace,
                }
            };
            self.running.spawn(&name, async move { task(taken()).run().await });
        }
        Ok(new_sinks)
    }
}

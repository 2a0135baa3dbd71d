//! Builds a run from a prepared pipeline: opens the state, then sinks, stages and sources.
//!
//! Everything that can fail to open is opened first; only then are files created, truncated and
//! renamed.

mod chains;
mod saved;
mod stages;
mod wiring;

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::{Coordinator, CoordinatorOptions};
use crate::dead_letter::DeadLetters;
use crate::flow::inlet::Inlet;
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::watermark::Assigner;
use crate::prepare::Prepared;
use crate::run::{Node, Running};
use crate::state::{Checkpoint, SinkCheckpoint};
use crate::task::rejections::Rejections;
use crate::task::sink::SinkTask;
use crate::task::source::SourceTask;
use pipehost_config::graph::{Graph, NodeId};
use pipehost_config::{Batching, Config, OnError, Watermark};
use pipehost_connectors::{Resume, Sink, Source, WrittenFiles, described};
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_observe::pace::Pace;
use pipehost_record::Letter;
use pipehost_sandbox::Runner;
use wiring::{Replayed, Wiring};

/// Opens the sources, stages and sinks of a pipeline, from the last checkpoint if its state
/// directory has one.
///
/// # Errors
/// If a source, sink or stage does not open, or the state does not fit this pipeline.
pub async fn start(prepared: Prepared) -> Result<Running> {
    let (mut builder, runners) = Builder::new(prepared)?;
    // Sinks first: no source is read before its records have a destination.
    let sinks = builder.open_sinks()?;
    builder.start_stages(runners).await?;
    let sources = builder.open_sources()?;
    // Everything that can fail to open is open.
    let new_sinks = builder.begin_sinks(sinks).await?;
    // Before the first write: the next run can then remove what no checkpoint includes.
    builder.coordinator.keep_begin(new_sinks)?;
    for (name, task) in sources {
        builder.running.spawn(&name, task.run());
    }
    builder.start_replays();
    Ok(builder.build())
}

/// A run under construction.
struct Builder {
    config: Config,
    pipeline: Arc<str>,
    metrics: Arc<Metrics>,
    pace: Option<Arc<Pace>>,
    /// Whether state is saved: then a stop suspends the stages, and does not call `finish`.
    keeps_state: bool,
    /// Whether checkpoints are made, to save state or to acknowledge input to sources.
    makes_checkpoints: bool,
    /// Whether no earlier run has made a checkpoint.
    is_first: bool,
    /// The last checkpoint; empty, if there is none.
    checkpoint: Checkpoint,
    written: WrittenFiles,
    /// Dead letters that replace the input of the sources in a replay.
    replay: Option<Vec<Letter>>,
    /// Dead letters to replay into stages and sinks.
    replays: Vec<Replayed>,
    graph: Graph,
    wiring: Wiring,
    /// How many key groups stages that keep by key have.
    groups: u32,
    coordinator: Coordinator,
    running: Running,
}

impl Builder {
    /// Opens the state and the dead letters.
    fn new(prepared: Prepared) -> Result<(Self, Vec<Runner>)> {
        let Prepared { config, graph, runners, metrics, replay, pace } = prepared;
        let running = Running::new(&config, &metrics);
        let (store, found) = match &config.state {
            Some(directory) => saved::open(&directory.value)?,
            None => (None, None),
        };
        let groups = saved::key_groups(&config, found.as_ref());
        let shape = saved::shape(&config, &runners, groups);
        if let (Some(directory), Some(found)) = (&config.state, &found) {
            saved::check(&directory.value, found, &shape)?;
        }
        let is_first = found.is_none();
        let checkpoint = found.unwrap_or_default();
        let written = WrittenFiles::default();
        let dead_letters = match &config.dead_letters {
            Some(letters) if uses_dead_letters(&config) => {
                let position = checkpoint.dead_letters.as_ref();
                let opened = DeadLetters::open(&letters.value, &config.name, position)?;
                opened.note(&written);
                Some(Arc::new(opened))
            }
            _ => None,
        };
        let keeps_state = store.is_some();
        let is_waited_for = config.sources.iter().any(|source| source.kind.acknowledges());
        let makes_checkpoints = keeps_state || is_waited_for;
        let mut wiring = Wiring::new(&graph, &running.nodes);
        let letters = replay.as_deref().unwrap_or_default();
        let replays = wiring.replays(&running.nodes, letters);
        let coordinator = Coordinator::new(CoordinatorOptions {
            active: makes_checkpoints,
            store,
            checkpoint: checkpoint.clone(),
            shape,
            names: running.nodes.iter().map(|node| (node.id, node.name.clone())).collect(),
            dead_letters,
            own_letters: replay.is_none(),
            interval: config.checkpoint_interval,
            metrics: metrics.clone(),
        });
        let builder = Self {
            pipeline: config.name.as_str().into(),
            config,
            metrics,
            pace,
            keeps_state,
            makes_checkpoints,
            is_first,
            checkpoint,
            written,
            replay,
            replays,
            graph,
            wiring,
            groups,
            coordinator,
            running,
        };
        Ok((builder, runners))
    }

    fn node(&self, id: NodeId) -> Node {
        let node = self.running.nodes.iter().find(|node| node.id == id);
        node.expect("each source, stage and sink is a node").clone()
    }

    /// How a source's stream ends after a stop or a replay: suspended if state is saved, so that
    /// stages do not `finish`.
    fn when_stopped(&self) -> StreamEnd {
        if self.keeps_state { StreamEnd::Suspended } else { StreamEnd::Finished }
    }

    fn rejections(
        &self,
        what: &'static str,
        name: &str,
        metrics: &Arc<NodeMetrics>,
        on_error: OnError,
    ) -> Rejections {
        Rejections {
            pipeline: self.pipeline.clone(),
            what,
            name: name.into(),
            on_error,
            letters: self.coordinator.letters(),
            metrics: metrics.clone(),
            component: "".into(),
            gate: self.running.gate.clone(),
        }
    }

    fn open_sinks(&mut self) -> Result<Vec<(NodeId, SinkTask)>> {
        let mut tasks = Vec::new();
        for (index, sink) in self.config.sinks.iter().enumerate() {
            let id = NodeId::Sink(index);
            let Node { name, metrics, .. } = self.node(id);
            let before = self.checkpoint.sinks.get(&name);
            let resume = match before.and_then(|sink| sink.position.as_ref()) {
                _ if !self.keeps_state => Resume::NotAtAll,
                None => Resume::New { first: self.is_first },
                Some(position) => Resume::FromPosition(position),
            };
            let opened = Sink::open(&name, &sink.kind, &resume, &metrics, &self.written)
                .with_context(|| format!("sink `{name}`"))?;
            let receivers = self.wiring.receivers(id);
            let rejections = Rejections {
                gate: Arc::default(), // `SinkTask` already holds the run's gate.
                ..self.rejections("sink", &name, &metrics, sink.on_error.value)
            };
            let task = SinkTask {
                name: name.as_str().into(),
                sink: opened,
                reporter: self.coordinator.reporter(id, rejections.letters.clone()),
                rejections,
                inlet: Inlet::new(receivers, metrics.clone(), sink.batch.clone(), false),
                metrics,
                processed: self.metrics.processed.clone(),
                rate: sink.rate,
                stop: self.running.stop.clone(),
                alone: self.config.sinks.len() == 1,
                gate: self.running.gate.clone(),
                pace: self.pace.clone(),
            };
            tasks.push((id, task));
        }
        Ok(tasks)
    }

    fn open_sources(&mut self) -> Result<Vec<(String, SourceTask)>> {
        let mut tasks = Vec::new();
        for (index, source) in self.config.sources.iter().enumerate() {
            let id = NodeId::Source(index);
            let Node { name, metrics, progress, .. } = self.node(id);
            let progress = progress.expect("sources have progress");
            let before = self.checkpoint.sources.get(&name);
            let position = before.and_then(|source| source.position.as_ref());
            let opened = match &self.replay {
                None => Source::open(
                    &source.kind,
                    position,
                    self.keeps_state,
                    progress,
                    self.coordinator.acknowledgements(),
                    &self.written,
                )
                .map(|source| match &self.pace {
                    None => source,
                    Some(pace) => source.paced(pace.clone()),
                }),
                Some(letters) => {
                    let letters = letters.iter().filter(|letter| letter.stage == name);
                    Ok(Source::replay_source(&source.kind, letters.cloned().collect(), position))
                }
            };
            let latest = before.and_then(|source| source.latest);
            let senders = self.wiring.senders(id, 1);
            let rejections = self.rejections("source", &name, &metrics, source.on_error.value);
            let is_replay = self.replay.is_some();
            let task = SourceTask {
                source: opened.with_context(|| format!("source `{name}`"))?,
                batching: source.batch.clone(),
                outlet: Outlet::new(senders, metrics, assigner(&source.watermark, latest)),
                reporter: self.coordinator.reporter(id, rejections.letters.clone()),
                rejections,
                stop: self.running.stop.clone(),
                checkpoints: self.coordinator.checkpoint_requests(),
                when_stopped: self.when_stopped(),
                when_done: if is_replay { self.when_stopped() } else { StreamEnd::Finished },
            };
            tasks.push((name, task));
        }
        Ok(tasks)
    }

    /// Creates and truncates the files of the sinks. Returns the positions of sinks that are not in
    /// a checkpoint.
    async fn begin_sinks(
        &mut self,
        sinks: Vec<(NodeId, SinkTask)>,
    ) -> Result<BTreeMap<String, SinkCheckpoint>> {
        let mut new_sinks = BTreeMap::new();
        for ((id, mut task), config) in sinks.into_iter().zip(&self.config.sinks) {
            let Node { name, .. } = self.node(id);
            let at = |why: anyhow::Error| why.context(format!("sink `{name}`"));
            task.sink.begin().map_err(at)?;
            let before = self.checkpoint.sinks.get(&name);
            let is_known = before.is_some_and(|sink| sink.position.is_some());
            if self.keeps_state && !is_known {
                let position = task.sink.sync().await.map_err(at)?.position;
                let kind = described(&config.kind);
                new_sinks.insert(name.clone(), SinkCheckpoint { kind, position });
            }
            self.running.spawn(&name, task.run());
        }
        Ok(new_sinks)
    }

    /// Replays dead letters into the stages and sinks that rejected them.
    fn start_replays(&mut self) {
        for (number, Replayed { letters, sender }) in
            std::mem::take(&mut self.replays).into_iter().enumerate()
        {
            // Not a node of the pipeline, so not part of a checkpoint.
            let id = NodeId::Source(self.config.sources.len() + number);
            let name = format!("letters of {}", letters[0].stage);
            let metrics = self.metrics.node(&name);
            let rejections = self.rejections("source", &name, &metrics, OnError::Fail);
            let task = SourceTask {
                source: Source::of_letters(letters),
                batching: Batching::default(),
                outlet: Outlet::new(vec![vec![sender]], metrics, None),
                reporter: self.coordinator.reporter(id, rejections.letters.clone()),
                rejections,
                stop: self.running.stop.clone(),
                checkpoints: self.coordinator.checkpoint_requests(),
                when_stopped: self.when_stopped(),
                when_done: self.when_stopped(),
            };
            self.running.spawn(&name, task.run());
        }
    }

    fn build(mut self) -> Running {
        if self.makes_checkpoints {
            self.running.spawn("checkpoints", self.coordinator.run());
        }
        self.running
    }
}

fn assigner(watermark: &Option<Watermark>, latest: Option<i64>) -> Option<Assigner> {
    watermark.clone().map(|watermark| Assigner::new(watermark, latest))
}

fn uses_dead_letters(config: &Config) -> bool {
    let sources = config.sources.iter().map(|source| source.on_error.value);
    let stages = config.stages.iter().map(|stage| stage.on_error.value);
    let sinks = config.sinks.iter().map(|sink| sink.on_error.value);
    sources.chain(stages).chain(sinks).any(|policy| policy == OnError::DeadLetter)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc;

    use super::*;
    use pipehost_config::graph;
    use pipehost_config::graph::DeclaredStages;
    use pipehost_record::Batch;
    use pipehost_sandbox::Native;
    use pipehost_sandbox::contract::outcome::Answer;
    use pipehost_sandbox::contract::plan::Plan;

    struct Panics;

    impl Native for Panics {
        fn process(&mut self, _: &Batch) -> Result<Answer> {
            panic!("on purpose")
        }
        fn finish(&mut self) -> Result<Answer> {
            Ok(Answer::default())
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_run_with_its_message() {
        for workers in [1, 3] {
            let text = format!(
                "[[source]]\nname = \"in\"\ntype = \"generate\"\n\
                 [[stage]]\nname = \"panics\"\nplugin = \"native\"\ninput = \"in\"\nworkers = {workers}\n\
                 [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"panics\"\n"
            );
            let (config, mistakes) = pipehost_config::read(&text, Path::new(""));
            assert_eq!(mistakes, []);
            let (graph, mistakes) = graph::check(&config, &DeclaredStages::new());
            assert_eq!(mistakes, []);
            let plan = Plan { ports: vec!["out".to_owned()], ..Plan::default() };
            let runner =
                Runner::Native { plan: Arc::new(plan), make: Arc::new(|| Box::new(Panics)) };
            let metrics = Arc::new(Metrics::default());
            let prepared = Prepared {
                config,
                graph,
                runners: vec![runner],
                metrics,
                replay: None,
                pace: None,
            };
            let running = start(prepared).await.unwrap();
            let (_keep, stops) = mpsc::channel(1);
            let failure = running.finish(stops).await.failure;
            assert_eq!(failure.unwrap().to_string(), "the task of `panics` panicked: on purpose");
        }
    }
}

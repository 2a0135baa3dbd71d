//! Builds a run from a prepared pipeline: opens the state, then stages, sources and sinks.
//!
//! Everything that can fail to open is opened first; only then are files created, truncated and
//! renamed. What an earlier run leaves is taken over when the run begins.

mod chains;
mod connectors;
mod saved;
mod stages;
mod wiring;

use anyhow::Result;
use std::sync::Arc;

use crate::checkpoint::{Coordinator, CoordinatorOptions};
use crate::dead_letter::DeadLetters;
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::watermark::Assigner;
use crate::letters::RunLetters;
use crate::prepare::{Prepared, ToReplay};
use crate::run::Running;
use crate::state::Checkpoint;
use crate::suspension::Suspended;
use crate::task::rejections::Rejections;
use crate::task::source::SourceTask;
use crate::view::Node;
use pipehost_config::graph::{Graph, NodeId};
use pipehost_config::{Batching, Config, OnError, Watermark};
use pipehost_connectors::{Source, WrittenFiles};
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
    Builder::new(prepared, None)?.start().await
}

/// Opens a pipeline that goes on where another one was suspended. Takes nothing over before the
/// run begins: until then, another pipeline can go on with it.
///
/// # Errors
/// As [`start`].
pub(crate) async fn go_on(prepared: Prepared, before: Suspended) -> Result<Running> {
    Builder::new(prepared, Some(before))?.start().await
}

/// A run under construction.
struct Builder {
    /// The run that it goes on from.
    before: Option<Suspended>,
    config: Arc<Config>,
    pipeline: Arc<str>,
    metrics: Arc<Metrics>,
    pace: Option<Arc<Pace>>,
    /// Whether state is saved: then a stop suspends the stages, and does not call `finish`.
    keeps_state: bool,
    /// Whether no earlier run has made a checkpoint.
    is_first: bool,
    /// The last checkpoint; empty, if there is none.
    checkpoint: Checkpoint,
    written: WrittenFiles,
    /// Dead letters that replace the input of the sources in a replay.
    replay: Option<Vec<Letter>>,
    /// Dead letters to replay into stages and sinks.
    replays: Vec<Replayed>,
    runners: Vec<Runner>,
    graph: Graph,
    wiring: Wiring,
    /// How many key groups stages that keep by key have.
    groups: u32,
    coordinator: Coordinator,
    running: Running,
}

impl Builder {
    /// Opens the state and the dead letters.
    fn new(mut prepared: Prepared, before: Option<Suspended>) -> Result<Self> {
        // They may be large, and nobody needs them again.
        let (replay, beside) = match prepared.replay.take() {
            None => (None, Vec::new()),
            Some(ToReplay::Alone(letters)) => (Some(letters), Vec::new()),
            Some(ToReplay::Beside(letters)) => (None, letters),
        };
        let Prepared { config, graph, runners, metrics, pace, .. } = prepared.clone();
        let config = Arc::new(config);
        let history = before.as_ref().map(Suspended::history);
        let in_memory = || history.as_ref().map(|history| history.checkpoint.clone());
        let (store, found) = match (&config.state, before.as_ref().and_then(Suspended::take_store))
        {
            (Some(_), Some(store)) => (Some(store), in_memory()),
            (Some(directory), None) => saved::open(&directory.value)?,
            (None, _) => (None, in_memory()),
        };
        let groups = saved::key_groups(&config, found.as_ref());
        let shape = saved::shape(&config, &runners, groups);
        let found = match (found, &before, &config.state) {
            (Some(found), Some(_), _) => {
                Some(saved::check_going_on(found, &shape, store.is_some())?)
            }
            (Some(found), None, Some(directory)) => {
                saved::check(&directory.value, &found, &shape)?;
                Some(found)
            }
            (found, ..) => found,
        };
        let is_first = found.is_none();
        let checkpoint = found.unwrap_or_default();
        let written = before.as_ref().map(|before| before.written.clone()).unwrap_or_default();
        let mut running = Running::new(prepared, config.clone(), before.as_ref(), written.clone());
        let suspension = running.suspension.clone();
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
        let replays = wiring.replays(&running.nodes, replay.as_ref().unwrap_or(&beside));
        let coordinator = Coordinator::new(CoordinatorOptions {
            active: makes_checkpoints,
            suspension,
            history,
            store,
            checkpoint: checkpoint.clone(),
            shape,
            names: running.nodes.iter().map(|node| (node.id, node.name.clone())).collect(),
            dead_letters: dead_letters.clone(),
            own_letters: replay.is_none(),
            interval: config.checkpoint_interval,
            metrics: metrics.clone(),
            view: running.view.clone(),
        });
        if keeps_state && !is_first {
            running.view.show_checkpoint(&checkpoint);
        }
        running.letters = dead_letters.map(|file| RunLetters {
            file,
            demand: makes_checkpoints.then(|| coordinator.demand()),
        });
        Ok(Self {
            before,
            pipeline: config.name.as_str().into(),
            config,
            metrics,
            pace,
            keeps_state,
            is_first,
            checkpoint,
            written,
            replay,
            replays,
            runners,
            graph,
            wiring,
            groups,
            coordinator,
            running,
        })
    }

    async fn start(mut self) -> Result<Running> {
        let runners = std::mem::take(&mut self.runners);
        // What most likely refuses comes first. No source is read before all is open.
        self.start_stages(runners).await?;
        let sources = self.open_sources()?;
        let sinks = self.open_sinks().await?;
        // Everything that can fail to open is open.
        let new_sinks = self.begin_sinks(sinks).await?;
        // Before the first write: the next run can then remove what no checkpoint includes.
        self.coordinator.keep_begin(new_sinks)?;
        for (name, task) in sources {
            self.running.spawn(&name, task);
        }
        self.start_replays();
        self.running.spawn("checkpoints", self.coordinator.run());
        Ok(self.running)
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
            told: Arc::default(),
        }
    }

    /// Replays dead letters into the stages and sinks that rejected them.
    fn start_replays(&mut self) {
        for (number, Replayed { letters, sender }) in
            std::mem::take(&mut self.replays).into_iter().enumerate()
        {
            // Not a node of the pipeline, so not part of a checkpoint.
            let id = NodeId::Source(self.config.sources.len() + number);
            let name = format!("letters of {}", letters[0].stage);
            // It is no node of the pipeline: its counts are in no metric.
            let metrics = Metrics::default().node(&name);
            let rejections = self.rejections("source", &name, &metrics, OnError::Fail);
            let task = SourceTask {
                source: Source::of_letters(letters),
                progress: Arc::default(),
                batching: Batching::default(),
                outlet: Outlet::new(vec![vec![sender]], metrics, None),
                reporter: self.coordinator.reporter(id, rejections.letters.clone()),
                rejections,
                stop: self.running.stop.clone(),
                checkpoints: self.coordinator.checkpoint_requests(),
                when_stopped: self.when_stopped(),
                when_done: match self.replay {
                    Some(_) => self.when_stopped(),
                    None => StreamEnd::Finished, // Its nodes go on with their other input.
                },
            };
            self.running.spawn_replay(&name, task.run());
        }
    }
}

fn assigner(watermark: &Option<Watermark>, latest: Option<i64>) -> Option<Assigner> {
    watermark.clone().map(|watermark| Assigner::new(watermark, latest))
}

/// Whether a node keeps what it rejects.
pub(crate) fn uses_dead_letters(config: &Config) -> bool {
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
                warnings: Vec::new(),
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

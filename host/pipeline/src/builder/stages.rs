//! Starts the stages of a run: in chains whose lanes share the batches, in lanes by key, or in one
//! lane.

use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chains::{chains, shares_batches};
use super::{Builder, assigner};
use crate::flow::inlet::Inlet;
use crate::flow::queue::Outlet;
use crate::prepare::cores;
use crate::state::StageCheckpoint;
use crate::suspension::Suspended;
use crate::task::lanes::{Chain, ChainOptions, Lane, Link};
use crate::task::parallel::{Divided, Parallel};
use crate::task::rejections::Rejections;
use crate::task::stage::{Spread, StageTask};
use crate::view::Node;
use pipehost_config::graph::NodeId;
use pipehost_config::{OnError, Partition};
use pipehost_sandbox::contract::plan::Keeps;
use pipehost_sandbox::contract::state::{GroupState, KeyGroups, Saved, SavedBy};
use pipehost_sandbox::{Breaker, Failure, Runner, Worker, WorkerOptions, guests};

/// The ends of a stage.
struct Ends {
    inlet: Inlet,
    outlet: Outlet,
    rejections: Rejections,
    reporter: crate::checkpoint::Reporter,
    finished: bool,
}

impl Ends {
    /// The task of a stage with one lane.
    fn alone(self, worker: Worker, spread: Option<Spread>) -> StageTask {
        let Self { inlet, outlet, rejections, reporter, finished } = self;
        StageTask { worker, inlet, outlet, rejections, reporter, finished, spread }
    }
}

impl Builder {
    pub(super) async fn start_stages(&mut self, runners: Vec<Runner>) -> Result<()> {
        for stage in &self.config.stages {
            // A stage that is replaced may have had more.
            let metrics = self.metrics.node(&stage.name.value);
            metrics.lanes.set(0);
            if self.kept(&stage.name.value).is_none() {
                metrics.breaker_state.set(0);
            }
        }
        for chain in chains(&self.config, &runners, &self.graph, &self.wiring) {
            self.start_chain(&chain, &runners).await?;
        }
        for (index, runner) in runners.iter().enumerate() {
            let stage = &self.config.stages[index];
            if shares_batches(stage, runner) {
                continue; // It is in a chain.
            }
            match (&runner.plan().keeps, stage.partition.clone(), stage.workers) {
                (Keeps::ByKey(by), ..) => self.start_by_key(index, runner, by.clone()).await?,
                (_, Some(by), Some(workers @ 2..)) => {
                    self.start_workers(index, runner, by, workers).await?;
                }
                _ => self.start_alone(index, runner).await?,
            }
        }
        Ok(())
    }

    /// A chain begins with one lane.
    async fn start_chain(&mut self, stages: &[usize], runners: &[Runner]) -> Result<()> {
        for pair in stages.windows(2) {
            self.wiring.join(NodeId::Stage(pair[0]), NodeId::Stage(pair[1]));
        }
        let mut links = Vec::new();
        let (mut outlets, mut reporters, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        let mut inlet = None;
        for (position, &index) in stages.iter().enumerate() {
            let (id, runner) = (NodeId::Stage(index), runners[index].clone());
            let next = stages.get(position + 1).map(|&next| NodeId::Stage(next));
            let next = self.graph.edges_from(id).find(|edge| Some(edge.to) == next);
            let next_port = next.map(|edge| edge.port.index());
            let leaves = |port| self.wiring.leaves(id, port);
            let leaves = (0..runner.plan().ports.len()).map(leaves).collect();
            let ends = self.ends(index, &runner);
            inlet.get_or_insert(ends.inlet);
            outlets.push(ends.outlet);
            reporters.push(ends.reporter);
            finished.push(ends.finished);
            let (options, rejections) = (self.worker_options(index), ends.rejections);
            links.push(Link { runner, options, rejections, next_port, leaves });
        }
        let links: Arc<[Link]> = links.into();
        let first = &self.config.stages[stages[0]];
        let last = &self.config.stages[stages[stages.len() - 1]];
        let name = first.name.value.clone();
        let lane = Lane::start(0, links.clone()).await?;
        let chain = Arc::new(Chain::new(ChainOptions {
            name: name.clone(),
            links,
            inlet: inlet.expect("a chain has a stage"),
            outlets,
            reporters,
            finished,
            ordered: first.ordered,
            most: first.workers.unwrap_or_else(cores),
            eager: first.workers.is_some(),
            idle: last.watermark.as_ref().and_then(|watermark| watermark.idle),
            spawner: self.running.spawner(),
        }));
        self.running.spawn_on(guests(), &name, chain.run(lane));
        Ok(())
    }

    /// A stage that keeps by key: one lane that divides itself when it must, or as many as
    /// configured.
    async fn start_by_key(&mut self, index: usize, runner: &Runner, by: Partition) -> Result<()> {
        let stage = &self.config.stages[index];
        let most = stage.workers.unwrap_or_else(cores).min(self.groups as usize);
        let name = stage.name.value.clone();
        let spread = Spread {
            runner: runner.clone(),
            options: self.worker_options(index),
            by,
            groups: self.groups,
            most,
            ordered: stage.ordered,
            spawner: self.running.spawner(),
        };
        let begins_divided = most > 1 && stage.workers.is_some();
        if !begins_divided && self.kept(&name).is_some() {
            return self.start_alone(index, runner).await;
        }
        let saved = self.saved(index).map(|before| Saved {
            by: saved_by(before),
            groups: (before.saved.iter())
                .map(|(&number, state)| GroupState { number, state: state.clone() })
                .collect(),
        });
        let given = self.directory().filter(|_| saved.is_some());
        let ends = self.ends(index, runner);
        let metrics = ends.rejections.metrics.clone();
        if begins_divided {
            let workers = spread.workers(saved.as_ref(), &metrics).await;
            let workers = workers.map_err(|why| cannot_start(&name, &why, given.as_deref()))?;
            self.spawn_workers(&name, ends, workers, spread.divided(), runner, spread.ordered);
            return Ok(());
        }
        let groups = KeyGroups { held: 0..self.groups, count: self.groups };
        let options = WorkerOptions { groups, saved, ..spread.options.clone() };
        let worker = Worker::start(runner.clone(), 0, metrics.clone(), options).await;
        let worker = worker.map_err(|why| cannot_start(&name, &why, given.as_deref()))?;
        metrics.lanes.set(1);
        // Without a state that is saved, its keys cannot move to another lane.
        let spread = (most > 1 && runner.keeps_state()).then_some(spread);
        self.running.spawn_on(guests(), &name, ends.alone(worker, spread).run());
        Ok(())
    }

    /// A stage that keeps something, whose records the pipeline divides among workers.
    async fn start_workers(
        &mut self,
        index: usize,
        runner: &Runner,
        by: Partition,
        count: usize,
    ) -> Result<()> {
        let name = self.config.stages[index].name.value.clone();
        let ordered = self.config.stages[index].ordered;
        let mut workers = Vec::new();
        let options = self.worker_options(index); // They share a breaker.
        for number in 0..count {
            workers.push(self.worker(index, number, runner, options.clone()).await?);
        }
        let ends = self.ends(index, runner);
        ends.rejections.metrics.lanes.set(count as i64);
        self.spawn_workers(&name, ends, workers, Divided::Workers(by), runner, ordered);
        Ok(())
    }

    /// A stage with one lane.
    async fn start_alone(&mut self, index: usize, runner: &Runner) -> Result<()> {
        let name = self.config.stages[index].name.value.clone();
        let kept = self.kept(&name);
        let worker = match &kept {
            Some(_) => None,
            None => Some(self.worker(index, 0, runner, self.worker_options(index)).await?),
        };
        let ends = self.ends(index, runner);
        ends.rejections.metrics.lanes.set(1);
        let its_name = name.clone();
        let first_fails = self.worker_options(index).first_fails;
        self.running.spawn_on(guests(), &name, async move {
            let kept = || kept.and_then(|before| before.take_worker(&its_name));
            let mut worker = worker.or_else(kept).expect("nobody else takes it");
            // One that goes on may have had another `on_error`.
            worker.ends_at_first_fault(first_fails);
            ends.alone(worker, None).run().await
        });
        Ok(())
    }

    fn spawn_workers(
        &mut self,
        name: &str,
        ends: Ends,
        workers: Vec<Worker>,
        divided: Divided,
        runner: &Runner,
        ordered: bool,
    ) {
        let Ends { inlet, outlet, rejections, reporter, finished } = ends;
        let timed = runner.has_watermark();
        let parallel = Parallel {
            workers,
            inlet,
            outlet,
            rejections,
            reporter,
            divided,
            ordered,
            timed,
            finished,
            keeps_unsaved: runner.keeps_unsaved(),
        };
        for task in parallel.tasks() {
            self.running.spawn_on(guests(), name, task);
        }
    }

    /// A worker with the state that it saved in an earlier run.
    async fn worker(
        &self,
        index: usize,
        number: usize,
        runner: &Runner,
        options: WorkerOptions,
    ) -> Result<Worker> {
        let Node { name, metrics, .. } = self.node(NodeId::Stage(index));
        let saved = self.saved(index).and_then(|before| {
            let state = before.saved.get(&(number as u32))?.clone();
            Some(Saved { groups: vec![GroupState { number: 0, state }], by: saved_by(before) })
        });
        let given = self.directory().filter(|_| saved.is_some());
        let options = WorkerOptions { saved, ..options };
        let worker = Worker::start(runner.clone(), number, metrics, options).await;
        worker.map_err(|why| cannot_start(&name, &why, given.as_deref()))
    }

    /// The run before, if an instance of this stage goes on from there.
    fn kept(&self, name: &str) -> Option<Suspended> {
        self.before.clone().filter(|before| before.has_worker(name))
    }

    /// Where the state is.
    fn directory(&self) -> Option<PathBuf> {
        self.config.state.as_ref().map(|directory| directory.value.clone())
    }

    /// What an earlier run saved of a stage, if there is a state.
    fn saved(&self, index: usize) -> Option<&StageCheckpoint> {
        let name = &self.config.stages[index].name.value;
        self.checkpoint.stages.get(name).filter(|before| before.has_saved())
    }

    fn worker_options(&self, index: usize) -> WorkerOptions {
        let stage = &self.config.stages[index];
        let Node { name, metrics, .. } = self.node(NodeId::Stage(index));
        let breaker = stage.breaker.clone();
        let breaker = breaker.map(|breaker| Breaker::new(name.as_str().into(), breaker, metrics));
        WorkerOptions {
            retry: stage.retry.clone(),
            first_fails: stage.on_error.value == OnError::Fail,
            breaker: breaker.map(Arc::new),
            groups: KeyGroups::ONE,
            saved: None,
        }
    }

    fn stage_rejections(&self, index: usize, runner: &Runner) -> Rejections {
        let Node { name, metrics, .. } = self.node(NodeId::Stage(index));
        let on_error = self.config.stages[index].on_error.value;
        Rejections {
            component: runner.hash(),
            ..self.rejections("stage", &name, &metrics, on_error)
        }
    }

    /// Takes the edges of a stage.
    fn ends(&mut self, index: usize, runner: &Runner) -> Ends {
        let id = NodeId::Stage(index);
        let Node { name, metrics, .. } = self.node(id);
        let rejections = self.stage_rejections(index, runner);
        let stage = &self.config.stages[index];
        let before = self.checkpoint.stages.get(&name);
        let (latest, finished) =
            before.map_or((None, false), |before| (before.latest, before.finished));
        let (receivers, apart) = (self.wiring.receivers(id), !runner.plan().inputs.is_empty());
        let inlet = Inlet::new(receivers, metrics.clone(), stage.batch.clone(), apart);
        let senders = self.wiring.senders(id, runner.plan().ports.len());
        let outlet = Outlet::new(senders, metrics, assigner(&stage.watermark, latest));
        let reporter = self.coordinator.reporter(id, rejections.letters.clone());
        Ends { inlet, outlet, rejections, reporter, finished }
    }
}

fn saved_by(before: &StageCheckpoint) -> SavedBy {
    SavedBy { version: before.version.clone(), config: before.config.clone() }
}

/// Why a stage does not start, and, if it was given a state of this directory, what to do.
fn cannot_start(name: &str, why: &Failure, state: Option<&Path>) -> anyhow::Error {
    let advice = match state {
        Some(directory) => format!(
            "\nTo start this stage without its saved state: pipehost state reset {} --node {name}",
            directory.display()
        ),
        None => String::new(),
    };
    anyhow!("stage `{name}`: {why}{advice}")
}

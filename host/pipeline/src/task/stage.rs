//! The task of a stage that keeps something, with one lane: batches in, batches out, one after
//! the other.

use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::{LaneStates, NodeState, Reporter};
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::run::Spawner;
use crate::task::overload::Overload;
use crate::task::parallel::{Divided, Parallel};
use crate::task::rejections::Rejections;
use anyhow::anyhow;
use pipehost_config::Partition;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::Batch;
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::contract::state::{KeyGroups, Saved};
use pipehost_sandbox::{Failure, Runner, Worker, WorkerOptions, WorkerState};

pub(crate) struct StageTask {
    pub worker: Worker,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
    pub reporter: Reporter,
    /// Whether `finish` was called in an earlier run, and no batch has come since.
    pub finished: bool,
    /// If the stage keeps by key: how it gets more lanes.
    pub spread: Option<Spread>,
}

/// How a stage that keeps by key gets more lanes, once one does not keep up.
pub(crate) struct Spread {
    pub runner: Runner,
    pub options: WorkerOptions,
    pub by: Partition,
    /// How many key groups there are.
    pub groups: u32,
    /// How many lanes it may have.
    pub most: usize,
    pub ordered: bool,
    pub spawner: Spawner,
}

impl Spread {
    /// Starts all lanes, with the state that one had.
    pub(crate) async fn workers(
        &self,
        saved: Option<&Saved>,
        metrics: &Arc<NodeMetrics>,
    ) -> Result<Vec<Worker>, Failure> {
        let mut workers = Vec::new();
        for number in 0..self.most {
            let groups = KeyGroups::share(number, self.most, self.groups);
            let saved = saved.map(|saved| saved.of(&groups));
            let options = WorkerOptions { groups, saved, ..self.options.clone() };
            let runner = self.runner.clone();
            workers.push(Worker::start(runner, number, metrics.clone(), options).await?);
        }
        metrics.lanes.set(self.most as i64);
        Ok(workers)
    }

    pub(crate) fn divided(&self) -> Divided {
        let held = |number| KeyGroups::share(number, self.most, self.groups).held;
        Divided::KeyGroups { by: self.by.clone(), held: (0..self.most).map(held).collect() }
    }
}

impl StageTask {
    pub(crate) async fn run(mut self) -> TaskResult {
        self.outlet.settle().await?; // The time that an earlier run had reached.
        let mut overload = Overload::default();
        let close = loop {
            let event = tokio::select! {
                biased;
                event = self.inlet.next() => event?,
                () = self.outlet.idle() => {
                    self.outlet.settle().await?;
                    continue;
                }
            };
            match event {
                Event::Batch(batch) => {
                    self.finished = false;
                    let start = Instant::now();
                    let answer = process(&mut self.worker, &batch, &self.rejections).await?;
                    let worked = start.elapsed();
                    let left = batch.len - answer.rejected.len();
                    send(&mut self.outlet, answer).await?;
                    self.inlet.done(left);
                    overload.spent(worked, start.elapsed().saturating_sub(worked));
                    if overload.is(self.inlet.has_more())
                        && let Some(spread) = self.spread.take()
                    {
                        return self.spread(spread).await;
                    }
                }
                Event::Watermark(watermark) => {
                    let answer = advance(&mut self.worker, watermark, &self.rejections).await?;
                    send(&mut self.outlet, answer).await?;
                    self.outlet.watermark(watermark).await?;
                }
                Event::Barrier(number) => {
                    let state = self.state().await?;
                    self.reporter.reached(number, state);
                    self.outlet.barrier(number).await?;
                }
                Event::End(close) => break close,
            }
        };
        let suspension = self.reporter.suspension().clone();
        // What cannot be saved goes on as it is, or is emitted.
        let is_unsaved = suspension.has_begun() && self.worker.keeps_unsaved();
        let is_kept = is_unsaved && suspension.keeps_stage(&self.rejections.name);
        let finishes = close == StreamEnd::Finished || (is_unsaved && !is_kept);
        if finishes && !self.finished {
            let answer = finish(&mut self.worker, &self.rejections).await?;
            send(&mut self.outlet, answer).await?;
        }
        self.finished |= finishes;
        // Without checkpoints, a pipeline that replaces this one later has use for the instance.
        let mut is_kept = is_kept || (!self.reporter.is_heard() && self.worker.keeps_something());
        let state = match self.reporter.is_heard() {
            true => self.state().await,
            false => Ok(self.nothing()),
        };
        let state = match state {
            Err(TaskError::Failed(why)) if !self.reporter.makes_checkpoints() => {
                suspension.refuse(why);
                is_kept = true;
                self.nothing()
            }
            state => state?,
        };
        self.reporter.ended(state);
        if is_kept {
            suspension.keep_worker(&self.rejections.name, self.worker);
        }
        self.outlet.end(close).await
    }

    /// Divides the stage among several lanes, which go on in its place.
    async fn spread(mut self, spread: Spread) -> TaskResult {
        let when = "was asked to save its state";
        let saved = self.worker.saved().await;
        let saved = saved.map_err(|failure| failed(&self.rejections, when, &failure))?;
        let workers = spread.workers(saved.as_ref(), &self.rejections.metrics).await;
        let workers = workers
            .map_err(|failure| failed(&self.rejections, "was divided among lanes", &failure))?;
        let name = self.rejections.name.clone();
        tracing::debug!("stage `{name}` has {} lanes", workers.len());
        let parallel = Parallel {
            workers,
            inlet: self.inlet,
            outlet: self.outlet,
            rejections: self.rejections,
            reporter: self.reporter,
            divided: spread.divided(),
            ordered: spread.ordered,
            timed: spread.runner.has_watermark(),
            finished: self.finished,
            keeps_unsaved: spread.runner.keeps_unsaved(),
        };
        for task in parallel.tasks() {
            spread.spawner.spawn(&name, task);
        }
        Ok(())
    }

    /// The state of a stage that nobody asks for its state.
    fn nothing(&self) -> NodeState {
        let lanes = LaneStates::Workers(Vec::new());
        NodeState::Stage { lanes, finished: self.finished, latest: self.outlet.latest() }
    }

    async fn state(&mut self) -> Result<NodeState, TaskError> {
        let worker = save(&mut self.worker, &self.rejections).await?;
        let groups = self.worker.groups();
        let lanes = match groups.count {
            1 => LaneStates::Workers(vec![worker]),
            _ => LaneStates::KeyGroups(vec![(groups.held.clone(), worker)]),
        };
        Ok(NodeState::Stage { lanes, finished: self.finished, latest: self.outlet.latest() })
    }
}

/// Processes a batch and settles what it rejects.
pub(crate) async fn process(
    worker: &mut Worker,
    batch: &Batch,
    rejections: &Rejections,
) -> Result<Answer, TaskError> {
    let answer = worker
        .process(batch)
        .await
        .map_err(|why| TaskError::Failed(anyhow!("stage `{}` {why:#}", rejections.name)))?;
    rejections.settle(batch, &answer.rejected).await?;
    Ok(answer)
}

/// Calls `finish`: the stage emits the records that it still holds.
pub(crate) async fn finish(
    worker: &mut Worker,
    rejections: &Rejections,
) -> Result<Answer, TaskError> {
    worker.finish().await.map_err(|failure| failed(rejections, "was asked to finish", &failure))
}

/// Calls `advance` with a new watermark.
pub(crate) async fn advance(
    worker: &mut Worker,
    watermark: i64,
    rejections: &Rejections,
) -> Result<Answer, TaskError> {
    let answer = worker.advance(watermark).await;
    answer.map_err(|failure| failed(rejections, "received a watermark", &failure))
}

/// Gets the worker's state, to save it.
pub(crate) async fn save(
    worker: &mut Worker,
    rejections: &Rejections,
) -> Result<WorkerState, TaskError> {
    let state = worker.state().await;
    state.map_err(|failure| failed(rejections, "was asked to save its state", &failure))
}

fn failed(rejections: &Rejections, when: &str, failure: &Failure) -> TaskError {
    TaskError::Failed(anyhow!("stage `{}` failed when it {when}: {failure}", rejections.name))
}

/// Sends the batches that a stage emitted, and then the node's watermark.
pub(crate) async fn send(outlet: &mut Outlet, answer: Answer) -> TaskResult {
    for emitted in answer.emitted {
        outlet.send(emitted.port, emitted.batch).await?;
    }
    outlet.settle().await
}

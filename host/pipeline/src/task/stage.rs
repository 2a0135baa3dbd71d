//! The task of a stage with one worker: batches in, batches out, one after the other.

use crate::checkpoint::{NodeState, Reporter};
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::task::rejections::Rejections;
use anyhow::anyhow;
use pipehost_record::Batch;
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::{Failure, Worker, WorkerState};

pub(crate) struct StageTask {
    pub worker: Worker,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
    pub reporter: Reporter,
    /// Whether `finish` was called in an earlier run, and no batch has come since.
    pub finished: bool,
}

impl StageTask {
    pub(crate) async fn run(mut self) -> TaskResult {
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
                    let answer = process(&mut self.worker, &batch, &self.rejections).await?;
                    let left = batch.len - answer.rejected.len();
                    send(&mut self.outlet, answer).await?;
                    self.inlet.done(left);
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
        if close == StreamEnd::Finished && !self.finished {
            let answer = finish(&mut self.worker, &self.rejections).await?;
            send(&mut self.outlet, answer).await?;
        }
        self.finished |= close == StreamEnd::Finished;
        if self.reporter.is_heard() {
            let state = self.state().await?;
            self.reporter.ended(state);
        }
        self.outlet.end(close).await
    }

    async fn state(&mut self) -> Result<NodeState, TaskError> {
        let worker = save(&mut self.worker, &self.rejections).await?;
        Ok(NodeState::Stage {
            workers: vec![worker],
            finished: self.finished,
            latest: self.outlet.latest(),
        })
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

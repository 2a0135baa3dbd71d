//! The task of a stage with one worker: batches in, batches out, one after the other.

use super::queue::{Inlet, Outlet};
use super::rejections::Rejections;
use super::{Ended, Stopped};
use crate::failure::Failure;
use crate::outcome::Answer;
use crate::record::Batch;
use crate::stage::Worker;

pub(super) struct StageTask {
    pub worker: Worker,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
}

impl StageTask {
    pub(super) async fn run(mut self) -> Ended {
        while let Some(batch) = self.inlet.next().await? {
            let answer = process(&mut self.worker, &batch, &self.rejections).await?;
            send(&self.outlet, answer).await?;
            self.inlet.done(batch.len);
        }
        send(&self.outlet, finish(&mut self.worker, &self.rejections).await?).await?;
        self.outlet.end().await
    }
}

/// Processes a batch and settles what it rejects.
pub(super) async fn process(
    worker: &mut Worker,
    batch: &Batch,
    rejections: &Rejections,
) -> Result<Answer, Stopped> {
    let answer = worker.process(batch).await.map_err(|failure| lost(rejections, &failure))?;
    rejections.settle(batch, &answer.rejected)?;
    Ok(answer)
}

/// Asks for what the stage still holds.
pub(super) async fn finish(
    worker: &mut Worker,
    rejections: &Rejections,
) -> Result<Answer, Stopped> {
    worker.finish().await.map_err(|failure| {
        Stopped::Cause(format!(
            "stage `{}` failed when it was asked to finish: {failure}",
            rejections.name
        ))
    })
}

fn lost(rejections: &Rejections, failure: &Failure) -> Stopped {
    Stopped::Cause(format!(
        "stage `{}` cannot be brought back after a failure: {failure}",
        rejections.name
    ))
}

/// Sends what a stage emitted.
pub(super) async fn send(outlet: &Outlet, answer: Answer) -> Ended {
    for emitted in answer.emitted {
        outlet.send(emitted.port, emitted.batch).await?;
    }
    Ok(())
}

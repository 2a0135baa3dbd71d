//! One lane: an instance of each stage of a chain, and what a batch goes through in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::flow::TaskError;
use crate::flow::inlet::took_in;
use crate::task::rejections::Rejections;
use crate::task::stage::{finish, process};
use anyhow::anyhow;
use pipehost_record::Batch;
use pipehost_sandbox::contract::outcome::{Answer, Emitted};
use pipehost_sandbox::{Runner, Worker, WorkerOptions};

/// A stage of a chain, as all its lanes have it.
pub(crate) struct Link {
    pub runner: Runner,
    pub options: WorkerOptions,
    pub rejections: Rejections,
    /// The port that leads to the next stage of the chain.
    pub next_port: Option<usize>,
    /// By port: whether an edge leaves the chain there.
    pub leaves: Vec<bool>,
}

/// The instances of a lane.
pub(crate) struct Lane {
    /// The first one is 0.
    pub(super) number: usize,
    links: Arc<[Link]>,
    workers: Vec<Worker>,
    /// Whether it has had a batch.
    pub(super) was_used: bool,
}

/// What leaves a chain, each with the index of its stage.
#[derive(Default)]
pub(super) struct Leaving {
    pub(super) emitted: Vec<(usize, Emitted)>,
    /// How many records of the batch that came in were not rejected by the first stage.
    pub(super) records: usize,
}

impl Lane {
    /// Starts an instance of each stage.
    ///
    /// # Errors
    /// If one does not start; the message names the stage.
    pub(crate) async fn start(number: usize, links: Arc<[Link]>) -> anyhow::Result<Self> {
        let mut workers = Vec::new();
        for link in links.iter() {
            let (runner, metrics) = (link.runner.clone(), link.rejections.metrics.clone());
            let worker = Worker::start(runner, number, metrics, link.options.clone()).await;
            let name = &link.rejections.name;
            workers.push(worker.map_err(|why| anyhow!("stage `{name}`: {why}"))?);
            link.rejections.metrics.lanes.inc();
        }
        Ok(Self { number, links, workers, was_used: false })
    }

    /// Takes a batch through all stages.
    pub(super) async fn process(&mut self, batch: Batch) -> Result<Leaving, TaskError> {
        self.was_used = true;
        let mut leaving = Leaving { records: batch.len, ..Leaving::default() };
        let answer = process(&mut self.workers[0], &batch, &self.links[0].rejections).await?;
        leaving.records -= answer.rejected.len();
        self.pass_on(0, answer, &mut leaving).await?;
        Ok(leaving)
    }

    /// Has each stage that `finishes` emit what it still holds. What one emits goes through those
    /// behind it first.
    pub(super) async fn finish(&mut self, finishes: &[bool]) -> Result<Leaving, TaskError> {
        let mut leaving = Leaving::default();
        for (stage, _) in finishes.iter().enumerate().filter(|(_, finishes)| **finishes) {
            let answer = finish(&mut self.workers[stage], &self.links[stage].rejections).await?;
            self.pass_on(stage, answer, &mut leaving).await?;
        }
        Ok(leaving)
    }

    /// Takes what a stage has answered through the stages behind it.
    async fn pass_on(
        &mut self,
        stage: usize,
        answer: Answer,
        leaving: &mut Leaving,
    ) -> Result<(), TaskError> {
        let links = self.links.clone();
        let mut inside = pass(&links[stage], stage, answer, leaving);
        for next in stage + 1..links.len() {
            let Rejections { metrics, .. } = &links[next].rejections;
            for batch in std::mem::take(&mut inside) {
                took_in(metrics, &batch);
                metrics.in_flight.fetch_add(batch.len as i64, Ordering::Relaxed);
                let answer =
                    process(&mut self.workers[next], &batch, &links[next].rejections).await?;
                let left = batch.len - answer.rejected.len();
                metrics.in_flight.fetch_sub(left as i64, Ordering::Relaxed);
                inside.extend(pass(&links[next], next, answer, leaving));
            }
        }
        Ok(())
    }
}

/// Divides an answer into what goes to the next stage, which is returned, and what leaves.
fn pass(link: &Link, stage: usize, answer: Answer, leaving: &mut Leaving) -> Vec<Batch> {
    let mut inside = Vec::new();
    for emitted in answer.emitted {
        if link.next_port == Some(emitted.port) {
            inside.push(Batch { input: 0, ..emitted.batch.clone() });
        }
        if link.leaves[emitted.port] {
            leaving.emitted.push((stage, emitted)); // Counted when it is sent.
        } else {
            link.rejections.metrics.tap.port(emitted.port, &emitted.batch);
            link.rejections.metrics.records_out.inc_by(emitted.batch.len as u64);
        }
    }
    inside
}

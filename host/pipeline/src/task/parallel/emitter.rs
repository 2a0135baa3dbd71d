//! Sends the workers' answers on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{Done, Made};
use crate::checkpoint::{LaneStates, NodeState, Reporter};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::task::resequencer::{Next, Resequencer};
use crate::task::stage::send;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_sandbox::WorkerState;
use pipehost_sandbox::contract::outcome::Answer;

/// Sends the workers' answers on.
pub(super) struct Emitter {
    pub(super) outlet: Outlet,
    pub(super) workers: usize,
    /// The key groups of each worker, if the stage keeps by key.
    pub(super) held: Option<Vec<Range<u32>>>,
    pub(super) ordered: bool,
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) reporter: Reporter,
    pub(super) finished: bool,
    pub(super) close: StreamEnd,
    /// Worker numbers and states, collected for the current checkpoint or the end.
    pub(super) saved: Vec<(usize, WorkerState)>,
    /// The latest timestamp of each batch that was sent ahead of earlier ones, by batch number.
    pub(super) times: BTreeMap<u64, i64>,
}

impl Emitter {
    pub(super) async fn run(mut self, mut answers: mpsc::Receiver<Done>) -> TaskResult {
        self.outlet.settle().await?; // The time that an earlier run had reached.
        let mut resequencer = Resequencer::default();
        let mut ended = 0;
        loop {
            let done = tokio::select! {
                biased;
                done = answers.recv() => done,
                () = self.outlet.idle() => {
                    self.outlet.settle().await?;
                    continue;
                }
            };
            let Some(done) = done else { break };
            ended += usize::from(matches!(done.made, Made::Ended { .. }));
            let parts = done.share.as_ref().map_or(1, |share| share.parts);
            let ahead = !self.ordered && matches!(done.made, Made::Answer(_));
            resequencer.add(done.number, parts, done, ahead);
            loop {
                match resequencer.next() {
                    Some(Next::InOrder(parts)) => self.emit(parts).await?,
                    Some(Next::Ahead(done)) => self.emit_ahead(done).await?,
                    None => break,
                }
            }
            self.reach(resequencer.position()).await?;
        }
        if ended < self.workers {
            return Err(TaskError::NeighbourGone); // A worker failed: output is missing.
        }
        self.finished |= self.close == StreamEnd::Finished;
        let state = self.take_state();
        self.reporter.ended(state);
        self.outlet.end(self.close).await
    }

    /// Sends an answer ahead of earlier batches. Time does not advance until those are sent too:
    /// otherwise their records would be late.
    async fn emit_ahead(&mut self, done: Done) -> TaskResult {
        let Done { number, made, share } = done;
        let Made::Answer(answer) = made else { unreachable!("only answers go ahead") };
        self.finished = false;
        for emitted in answer.emitted {
            let latest = self.outlet.send_ahead(emitted.port, emitted.batch).await?;
            if let Some(latest) = latest {
                let time = self.times.entry(number).or_insert(latest);
                *time = latest.max(*time);
            }
        }
        let records = share.as_ref().map_or(0, |share| share.records);
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
        Ok(())
    }

    /// Advances time, as all batches before this number were sent.
    async fn reach(&mut self, number: u64) -> TaskResult {
        while let Some(entry) = self.times.first_entry().filter(|entry| *entry.key() < number) {
            self.outlet.reach(entry.remove());
        }
        self.outlet.settle().await
    }

    fn take_state(&mut self) -> NodeState {
        self.saved.sort_by_key(|(worker, _)| *worker);
        let states = self.saved.drain(..).map(|(_, state)| state);
        NodeState::Stage {
            lanes: match &self.held {
                Some(held) => LaneStates::KeyGroups(held.iter().cloned().zip(states).collect()),
                None => LaneStates::Workers(states.collect()),
            },
            finished: self.finished,
            latest: self.outlet.latest(),
        }
    }

    /// Sends all results of one event together: the parts of a batch, or every worker's answer to a
    /// watermark or a checkpoint.
    async fn emit(&mut self, parts: Vec<Done>) -> TaskResult {
        let (mut answers, mut records) = (Vec::new(), 0);
        let (mut watermark, mut barrier) = (None, None);
        // Places in the window, free once all results are sent.
        let mut places = Vec::new();
        for Done { made, share, .. } in parts {
            records += share.as_ref().map_or(0, |share| share.records);
            match made {
                Made::Answer(answer) => {
                    self.finished = false;
                    answers.push(answer);
                }
                Made::Advanced(time, answer) => {
                    watermark = Some(time);
                    answers.push(answer);
                }
                Made::Saved { barrier: number, worker, state } => {
                    barrier = Some(number);
                    self.saved.push((worker, state));
                }
                Made::Ended { worker, close, answer, state } => {
                    self.close = close;
                    answers.push(answer);
                    self.saved.push((worker, state));
                }
            }
            places.extend(share);
        }
        let answer = match answers.len() {
            0 => Answer::default(),
            1 => answers.remove(0),
            _ => Answer::in_row_order(answers),
        };
        send(&mut self.outlet, answer).await?;
        if let Some(watermark) = watermark {
            self.outlet.watermark(watermark).await?;
        }
        if let Some(barrier) = barrier {
            let state = self.take_state();
            self.reporter.reached(barrier, state);
            self.outlet.barrier(barrier).await?;
        }
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
        Ok(())
    }
}

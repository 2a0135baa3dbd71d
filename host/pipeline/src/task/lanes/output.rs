//! Sends on what the lanes of a chain have made, in the order of the batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::lane::Leaving;
use crate::checkpoint::{LaneStates, NodeState, Reporter};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::task::resequencer::Next;
use pipehost_observe::metrics::NodeMetrics;

/// Where the stages of a chain send, and report.
pub(super) struct Output {
    /// By stage of the chain.
    pub(super) outlets: Vec<Outlet>,
    pub(super) reporters: Vec<Reporter>,
    /// Whether `finish` was called, and no batch has come since.
    pub(super) finished: Vec<bool>,
    /// Of the first stage, which counts the records of a batch until all is sent.
    pub(super) metrics: Arc<NodeMetrics>,
    /// The latest timestamp of each batch that was sent ahead of earlier ones, by batch number.
    pub(super) times: BTreeMap<u64, i64>,
}

/// What became of an event.
pub(super) enum Made {
    Answer(Leaving),
    Watermark(i64),
}

/// The result of an event, and its place among those in flight.
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) made: Made,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Output {
    /// Tells the time that an earlier run had reached.
    pub(super) async fn begin(&mut self) -> TaskResult {
        self.last().settle().await
    }

    pub(super) async fn send(&mut self, next: Next<Done>) -> TaskResult {
        match next {
            Next::InOrder(done) => {
                for Done { made, .. } in done {
                    match made {
                        Made::Answer(leaving) => self.send_all(leaving).await?,
                        Made::Watermark(watermark) => {
                            for outlet in &mut self.outlets {
                                outlet.watermark(watermark).await?;
                            }
                        }
                    }
                }
            }
            Next::Ahead(Done { number, made: Made::Answer(leaving), .. }) => {
                for (stage, emitted) in leaving.emitted {
                    let sent = self.outlets[stage].send_ahead(emitted.port, emitted.batch).await?;
                    if let Some(latest) = sent {
                        let time = self.times.entry(number).or_insert(latest);
                        *time = latest.max(*time);
                    }
                }
                self.settled(leaving.records);
            }
            Next::Ahead(_) => unreachable!("only answers go ahead"),
        }
        Ok(())
    }

    pub(super) async fn send_all(&mut self, leaving: Leaving) -> TaskResult {
        for (stage, emitted) in leaving.emitted {
            self.outlets[stage].send(emitted.port, emitted.batch).await?;
        }
        self.settled(leaving.records);
        self.last().settle().await
    }

    fn settled(&mut self, records: usize) {
        self.finished.fill(false);
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
    }

    /// Advances time, as all batches before this number were sent.
    pub(super) async fn reach(&mut self, number: u64) -> TaskResult {
        while let Some(entry) = self.times.first_entry().filter(|entry| *entry.key() < number) {
            let latest = entry.remove();
            self.last().reach(latest);
        }
        self.last().settle().await
    }

    /// The outlet of the last stage: only this one may make watermarks.
    fn last(&mut self) -> &mut Outlet {
        self.outlets.last_mut().expect("a chain has a stage")
    }

    pub(super) async fn barrier(&mut self, number: u64) -> TaskResult {
        for (reporter, state) in self.reporters.iter().zip(self.states()) {
            reporter.reached(number, state);
        }
        for outlet in &mut self.outlets {
            outlet.barrier(number).await?;
        }
        Ok(())
    }

    /// When the clock moves the watermark, if nothing is sent until then.
    pub(super) fn idle_at(&mut self) -> Option<Instant> {
        self.last().idle_at()
    }

    /// Moves the watermark with the clock.
    pub(super) async fn idle(&mut self) -> TaskResult {
        if self.last().idle_at().is_some_and(|due| due <= Instant::now()) {
            self.last().idle().await;
            self.last().settle().await?;
        }
        Ok(())
    }

    pub(super) async fn end(&mut self, close: StreamEnd) -> Result<(), TaskError> {
        if close == StreamEnd::Finished {
            self.finished.fill(true);
        }
        for (reporter, state) in self.reporters.iter().zip(self.states()) {
            reporter.ended(state);
        }
        for outlet in std::mem::take(&mut self.outlets) {
            outlet.end(close).await?;
        }
        Ok(())
    }

    fn states(&self) -> Vec<NodeState> {
        let state = |(outlet, finished): (&Outlet, &bool)| NodeState::Stage {
            lanes: LaneStates::Workers(Vec::new()),
            finished: *finished,
            latest: outlet.latest(),
        };
        self.outlets.iter().zip(&self.finished).map(state).collect()
    }
}

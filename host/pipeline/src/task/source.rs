//! The task of a source: read, decode, make batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{CheckpointRequests, NodeState, Reporter};
use crate::flow::inlet::note_time;
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::task::rejections::{RejectedRecord, Rejections};
use pipehost_codec::Decoded;
use pipehost_config::Batching;
use pipehost_connectors::Source;
use pipehost_observe::metrics::Activity;
use pipehost_observe::progress::Progress;
use pipehost_record::{MAX_ATTRIBUTES, Origin};

pub(crate) struct SourceTask {
    pub source: Source,
    pub progress: Arc<Progress>,
    pub batching: Batching,
    pub outlet: Outlet,
    pub rejections: Rejections,
    /// Cancelled when the source must stop reading.
    pub stop: CancellationToken,
    /// Requests to start a checkpoint.
    pub checkpoints: CheckpointRequests,
    pub reporter: Reporter,
    /// How the stream ends after a stop: suspended if state is saved, so that stages do not
    /// `finish`.
    pub when_stopped: StreamEnd,
    /// How the stream ends after the last record.
    pub when_done: StreamEnd,
}

impl SourceTask {
    pub(crate) async fn run(mut self) -> TaskResult {
        self.outlet.settle().await?; // The time that an earlier run had reached.
        let mut out = Decoded::default();
        let batching = self.batching.clone();
        let full = |out: &Decoded| {
            out.batch.len() >= batching.records
                || out.bytes() >= batching.bytes
                || out.batch.attributes() >= MAX_ATTRIBUTES
        };
        let metrics = self.rejections.metrics.clone();
        let mut due = Instant::now();
        let suspension = self.reporter.suspension().clone();
        // Whether it leaves the source to the next run.
        let mut is_kept = false;
        let mut stopping = false;
        let close = loop {
            let waiting = metrics.begin(Activity::WaitingForInput);
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !stopping => {
                    drop(waiting);
                    stopping = true;
                    // Input that was already taken from outside is still delivered.
                    if !self.source.stop() {
                        break self.when_stopped;
                    }
                }
                () = suspension.begun(), if !stopping => {
                    drop(waiting);
                    suspension.source_has_stopped();
                    self.when_stopped = StreamEnd::Suspended;
                    is_kept = suspension.keeps_source(&self.rejections.name);
                    // What cannot be read again is delivered first.
                    if is_kept || self.source.position().is_some() || !self.source.stop() {
                        break StreamEnd::Suspended;
                    }
                    stopping = true;
                }
                number = self.checkpoints.next() => {
                    drop(waiting);
                    self.flush(&mut out).await?;
                    self.source.checkpoint(number);
                    self.reporter.reached(number, self.state());
                    self.outlet.barrier(number).await?;
                }
                () = sleep_until(due), if !out.batch.is_empty() => {
                    drop(waiting);
                    self.flush(&mut out).await?;
                }
                more = self.source.ready() => {
                    drop(waiting);
                    if !more.map_err(|why| self.failed(why))? {
                        break if stopping { self.when_stopped } else { self.when_done };
                    }
                    if out.batch.is_empty() {
                        due = Instant::now() + batching.linger;
                    }
                    let start = std::time::Instant::now();
                    let decoded = self.source.decode(&mut out, full);
                    metrics.spent(Activity::Working, start.elapsed());
                    let refused = self.reject(&mut out).await;
                    if let Err(why) = refused.and(decoded.map_err(|why| self.failed(why))) {
                        // Records read before the error count as undelivered.
                        metrics.records_in.inc_by(out.batch.len() as u64);
                        metrics.in_flight.fetch_add(out.batch.len() as i64, Ordering::Relaxed);
                        return Err(why);
                    }
                    // With zero linger, the timer would fire a millisecond late.
                    if full(&out) || Instant::now() >= due {
                        self.flush(&mut out).await?;
                    }
                }
                () = self.outlet.idle() => {
                    drop(waiting);
                    self.outlet.settle().await?;
                }
            }
        };
        self.flush(&mut out).await?;
        if stopping {
            let torn = self.source.torn();
            metrics.records_in.inc_by(torn);
            metrics.in_flight.fetch_add(torn as i64, Ordering::Relaxed);
        }
        if !is_kept {
            // Unacknowledged requests belong to the last checkpoint, which has no barrier.
            self.source.checkpoint(u64::MAX);
        }
        self.reporter.ended(self.state());
        if close == StreamEnd::Finished {
            suspension.note_finished(&self.rejections.name);
        }
        self.outlet.end(close).await?;
        match is_kept {
            true => suspension.keep_source(&self.rejections.name, self.source, self.progress),
            false => self.source.close().await,
        }
        Ok(())
    }

    fn failed(&self, why: anyhow::Error) -> TaskError {
        TaskError::Failed(why.context(format!("source `{}`", self.rejections.name)))
    }

    fn state(&self) -> NodeState {
        NodeState::Source { position: self.source.position(), latest: self.outlet.latest() }
    }

    async fn flush(&mut self, out: &mut Decoded) -> TaskResult {
        let batch = out.batch.take();
        if batch.len == 0 {
            return Ok(());
        }
        let (metrics, records) = (self.rejections.metrics.clone(), batch.len);
        {
            // A run that has ended counts: nothing comes in meanwhile.
            let _open = self.rejections.gate.read().await;
            metrics.records_in.inc_by(records as u64);
            metrics.in_flight.fetch_add(records as i64, Ordering::Relaxed);
        }
        metrics.batch.observe(records as f64);
        note_time(&metrics, &batch);
        metrics.tap.records(&batch);
        self.outlet.send(0, batch).await?;
        metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
        self.outlet.settle().await
    }

    async fn reject(&mut self, out: &mut Decoded) -> TaskResult {
        let undecodable = out.take_undecodable();
        if undecodable.is_empty() {
            return Ok(());
        }
        let metrics = self.rejections.metrics.clone();
        metrics.records_in.inc_by(undecodable.len() as u64);
        metrics.in_flight.fetch_add(undecodable.len() as i64, Ordering::Relaxed);
        let _open = self.rejections.gate.read().await;
        let place = self.source.place();
        let refused = undecodable.iter().map(|undecodable| RejectedRecord {
            record: undecodable.record.clone(),
            origin: Origin { place: place.clone(), number: undecodable.number },
            input: 0,
            reason: &undecodable.reason,
            attempts: 1,
        });
        let settled = self.rejections.settle_all(refused.collect()).await;
        // If a record ends the run, the error names it: do not count it as undelivered too.
        metrics.in_flight.fetch_sub(undecodable.len() as i64, Ordering::Relaxed);
        settled
    }
}

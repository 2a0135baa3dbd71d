//! The task of a sink.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{NodeState, Reporter};
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::StreamEnd;
use crate::flow::{TaskError, TaskResult};
use crate::task::rejections::Rejections;
use pipehost_config::OnError;
use pipehost_connectors::{Sink, SinkError, Synced};
use pipehost_observe::metrics::{Activity, NodeMetrics};
use pipehost_observe::pace::Pace;
use pipehost_record::Batch;

pub(crate) struct SinkTask {
    pub name: Arc<str>,
    pub sink: Sink,
    /// For records that the destination rejects.
    pub rejections: Rejections,
    pub inlet: Inlet,
    pub metrics: Arc<NodeMetrics>,
    pub processed: IntCounter,
    /// Limit in records per second.
    pub rate: Option<u64>,
    /// Stops the sources once stdout is closed.
    pub stop: CancellationToken,
    /// Whether this is the only sink: stopping the sources would end the input of others.
    pub alone: bool,
    pub reporter: Reporter,
    /// Read-locked during a write; write-locked once the run has ended.
    pub gate: Arc<RwLock<()>>,
    /// Measures the latency of records.
    pub pace: Option<Arc<Pace>>,
}

impl SinkTask {
    pub(crate) async fn run(mut self) -> TaskResult {
        let (mut closed, mut last) = (false, 0);
        loop {
            match self.inlet.next().await? {
                Event::Batch(batch) if closed => self.inlet.done(batch.len),
                Event::Batch(batch) => {
                    self.metrics.tap.records(&batch);
                    closed = self.write(&batch).await?;
                    if closed && self.reporter.makes_checkpoints() {
                        // Records that were not written must not be in a checkpoint: the next run
                        // resumes from the last one.
                        self.stop.cancel();
                        return Err(TaskError::NeighbourGone);
                    }
                }
                Event::Watermark(watermark) => self.metrics.note_watermark(watermark),
                Event::Barrier(number) => {
                    let synced = self.sink.sync().await;
                    let synced = synced.map_err(|why| self.failed(why))?;
                    self.reporter.reached(number, NodeState::Sink(synced));
                    last = number;
                }
                Event::End(StreamEnd::Suspended) if self.reporter.suspension().has_begun() => {
                    // The names that it asked for must be given before it is asked for others.
                    self.reporter.completed(last).await;
                    return self.suspend().await;
                }
                Event::End(_) => break,
            }
        }
        let name = self.name.clone();
        let synced = self.sink.finish().await;
        let synced =
            synced.map_err(|why| TaskError::Failed(why.context(format!("sink `{name}`"))))?;
        self.reporter.suspension().note_finished(&name);
        self.reporter.ended(NodeState::Sink(synced));
        Ok(())
    }

    /// Leaves the sink to the next run.
    async fn suspend(mut self) -> TaskResult {
        // Without checkpoints, nobody asks how much of it is durable.
        let synced = match self.reporter.makes_checkpoints() {
            true => self.sink.sync().await.map_err(|why| self.failed(why))?,
            false => Synced::default(),
        };
        self.reporter.suspension().keep_sink(&self.name, self.sink);
        self.reporter.ended(NodeState::Sink(synced));
        Ok(())
    }

    /// Writes a batch; true if the pipe is closed.
    async fn write(&mut self, batch: &Batch) -> Result<bool, TaskError> {
        // A run that ends waits for this write before it counts undelivered records.
        let open = self.gate.read().await;
        let start = Instant::now();
        let metrics = self.metrics.clone();
        let working = metrics.begin(Activity::Working);
        let refusals = self.rejections.on_error != OnError::Fail;
        let mut refused = 0;
        let closed = match self.sink.write(batch, refusals).await {
            Ok(rejected) => {
                let written = (batch.len - rejected.len()) as u64;
                self.metrics.records_out.inc_by(written);
                self.processed.inc_by(written);
                self.rejections.settle(batch, &rejected).await?;
                refused = rejected.len();
                if let Some(pace) = &self.pace {
                    pace.written(batch);
                }
                false
            }
            Err(SinkError::ClosedPipe) => {
                self.reporter.suspension().note_closed_stdout();
                if self.alone {
                    self.stop.cancel();
                }
                true
            }
            Err(SinkError::Failed(why)) => return Err(self.failed(why)),
        };
        self.inlet.done(batch.len - refused);
        drop((open, working));
        if closed {
            return Ok(true);
        }
        self.metrics.duration.observe(start.elapsed().as_secs_f64());
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(batch.len as f64 / rate as f64);
            let _held = metrics.begin(Activity::WaitingForRate);
            tokio::time::sleep(due).await;
        }
        Ok(false)
    }

    fn failed(&self, why: anyhow::Error) -> TaskError {
        TaskError::Failed(why.context(format!("sink `{}`", self.name)))
    }
}

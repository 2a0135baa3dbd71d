//! The task of a sink.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;

use super::queue::Inlet;
use super::{Ended, Stopped};
use crate::connector::{Sink, SinkError};
use crate::metrics::NodeMetrics;

pub(super) struct SinkTask {
    pub name: Arc<str>,
    pub sink: Sink,
    pub inlet: Inlet,
    pub metrics: Arc<NodeMetrics>,
    pub processed: IntCounter,
    /// Records a second at most.
    pub rate: Option<u64>,
    /// Tells the sources to stop, once nobody reads stdout any more.
    pub stop: CancellationToken,
    /// Whether there is no other sink, which would get less than it should.
    pub alone: bool,
}

impl SinkTask {
    pub(super) async fn run(mut self) -> Ended {
        let mut closed = false;
        while let Some(batch) = self.inlet.next().await? {
            if !closed {
                let timer = self.metrics.duration.start_timer();
                match self.sink.write(&batch).await {
                    Ok(()) => {
                        self.metrics.records_out.inc_by(batch.len as u64);
                        self.processed.inc_by(batch.len as u64);
                    }
                    Err(SinkError::ClosedPipe) => {
                        closed = true;
                        if self.alone {
                            self.stop.cancel();
                        }
                    }
                    Err(SinkError::Failed(why)) => {
                        return Err(Stopped::Cause(format!("sink `{}`: {why}", self.name)));
                    }
                }
                timer.observe_duration();
                if let Some(rate) = self.rate.filter(|_| !closed) {
                    tokio::time::sleep(Duration::from_secs_f64(batch.len as f64 / rate as f64))
                        .await;
                }
            }
            self.inlet.done(batch.len);
        }
        self.sink
            .finish()
            .await
            .map_err(|why| Stopped::Cause(format!("sink `{}`: {why}", self.name)))
    }
}

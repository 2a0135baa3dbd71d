//! What happens to records that are rejected permanently.

use anyhow::anyhow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::RwLock;

use crate::checkpoint::Letters;
use crate::flow::TaskError;
use pipehost_config::OnError;
use pipehost_observe::log::secrets;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::Letter;
use pipehost_record::Rejected;
use pipehost_record::foreign::Foreign;
use pipehost_record::{Batch, Origin, Record};

/// The rejection policy of one node, and what applying it needs.
#[derive(Clone)]
pub(crate) struct Rejections {
    pub pipeline: Arc<str>,
    /// "source", "stage" or "sink", for messages.
    pub what: &'static str,
    pub name: Arc<str>,
    pub on_error: OnError,
    pub letters: Letters,
    pub metrics: Arc<NodeMetrics>,
    /// SHA-256 of the component.
    pub component: Arc<str>,
    /// Read-locked while records are settled: a run that ends waits for that, then counts.
    pub gate: Arc<RwLock<()>>,
}

/// Records that are settled together.
const AT_ONCE: usize = 256;

impl Rejections {
    /// Settles the rejected rows of a batch, and counts them as no longer in flight.
    pub(crate) async fn settle(
        &self,
        batch: &Batch,
        rejected: &[Rejected],
    ) -> Result<(), TaskError> {
        // A few at a time: a record copied out of its batch takes more memory.
        for rejected in rejected.chunks(AT_ONCE) {
            let _open = self.gate.read().await;
            let refused = (rejected.iter())
                .map(|rejected| RejectedRecord {
                    record: batch.record(rejected.row),
                    origin: batch.origin(rejected.row),
                    input: batch.input,
                    reason: &rejected.reason,
                    attempts: rejected.attempts,
                })
                .collect();
            self.settle_all(refused).await?;
            // These are settled, even if a later chunk fails.
            self.metrics.in_flight.fetch_sub(rejected.len() as i64, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) async fn settle_all(
        &self,
        refused: Vec<RejectedRecord<'_>>,
    ) -> Result<(), TaskError> {
        let Some(first) = refused.first() else { return Ok(()) };
        self.metrics.rejected.inc_by(refused.len() as u64);
        match self.on_error {
            OnError::Skip => {
                self.metrics.skipped.inc_by(refused.len() as u64);
                Ok(())
            }
            OnError::Fail => {
                let RejectedRecord { origin: Origin { place, number }, reason, .. } = first;
                Err(TaskError::Failed(anyhow!(
                    "{} `{}` rejected record {number} of {}: {} (to go on without such \
                     records, set on_error; with --plugin, give --dead-letters)",
                    self.what,
                    self.name,
                    Foreign::new(place),
                    Foreign::new(reason)
                )))
            }
            OnError::DeadLetter => {
                let time = pipehost_record::time::now();
                let letters: Vec<_> = (refused.into_iter())
                    .map(|refused| Letter {
                        record: refused.record,
                        place: refused.origin.place.to_string(),
                        number: refused.origin.number,
                        pipeline: self.pipeline.to_string(),
                        stage: self.name.to_string(),
                        input: refused.input,
                        // A file shows it to more people than the log.
                        reason: secrets::masked(refused.reason).into_owned(),
                        attempts: refused.attempts,
                        time,
                        component: self.component.to_string(),
                    })
                    .collect();
                let count = letters.len() as u64;
                self.letters.keep(letters).await.map_err(TaskError::Failed)?;
                self.metrics.dead_letters.inc_by(count);
                Ok(())
            }
        }
    }
}

/// A rejected record.
pub(crate) struct RejectedRecord<'a> {
    pub record: Record,
    pub origin: Origin,
    pub input: u32,
    pub reason: &'a str,
    pub attempts: u32,
}

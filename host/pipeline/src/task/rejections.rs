//! What happens to records that are rejected permanently.

use anyhow::anyhow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    pub told: Arc<Told>,
}

/// What the log was told of the rejections of a node.
#[derive(Default)]
pub(crate) struct Told(Mutex<Untold>);

#[derive(Default)]
struct Untold {
    /// When the log was last told.
    since: Option<Instant>,
    records: usize,
}

/// How often the log is told that records are rejected.
const TELL: Duration = Duration::from_secs(60);

impl Told {
    /// Counts records; returns how many to tell, and in which time, if it is time to.
    fn count(&self, records: usize, now: Instant) -> Option<(usize, Option<Duration>)> {
        let mut untold = self.0.lock().expect("nobody panics here");
        untold.records += records;
        let passed = untold.since.map(|since| now - since);
        if passed.is_some_and(|passed| passed < TELL) {
            return None;
        }
        untold.since = Some(now);
        Some((std::mem::take(&mut untold.records), passed))
    }
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
        if self.on_error != OnError::Fail {
            self.tell(first, refused.len());
        }
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

impl Rejections {
    /// Warns of rejected records, with one of them; at most once in [`TELL`].
    fn tell(&self, example: &RejectedRecord<'_>, records: usize) {
        let Some((records, passed)) = self.told.count(records, Instant::now()) else { return };
        let records = match records {
            1 => "1 record".to_owned(),
            n => format!("{n} records"),
        };
        let when = passed.map(|passed| format!(" in the last {} s", passed.as_secs()));
        let Self { what, name, .. } = self;
        let Origin { place, number } = &example.origin;
        tracing::warn!(
            "{what} `{name}` rejected {records}{}, such as record {number} of {}: {}",
            when.unwrap_or_default(),
            Foreign::new(place),
            Foreign::new(example.reason)
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let at = |seconds, records| told.count(records, start + Duration::from_secs(seconds));
        assert_eq!(at(0, 3), Some((3, None)), "the first at once");
        assert_eq!(at(1, 5), None);
        assert_eq!(at(59, 2), None);
        assert_eq!(at(60, 1), Some((8, Some(TELL))), "with those before");
        assert_eq!(at(61, 1), None);
    }
}

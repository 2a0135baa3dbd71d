//! Watermarks made from the timestamps of the records that a node sends.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use pipehost_config::Watermark;
use pipehost_record::Batch;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;

/// The event-time clock of a node: see `watermark` in the contract.
pub(crate) struct Assigner {
    config: Watermark,
    latest: Option<i64>,
    /// When the latest timestamp was seen, or idle time was last added.
    seen: Instant,
    sent: Option<i64>,
    /// Idle time added to `latest`, in nanoseconds.
    idle: i64,
    /// Whether the user was warned of a record that is too far ahead.
    told: bool,
}

impl Assigner {
    /// Continues from the latest timestamp of an earlier run.
    pub(crate) fn new(config: Watermark, latest: Option<i64>) -> Self {
        let mut assigner =
            Self { config, latest, seen: Instant::now(), sent: None, idle: 0, told: false };
        // The earlier run may have had another system clock or another `max_ahead`.
        let bound = assigner.bound();
        assigner.latest = latest.filter(|latest| *latest <= bound);
        assigner
    }

    /// The latest timestamp that may advance time: a later one would make correct records late.
    fn bound(&self) -> i64 {
        pipehost_record::time::now().saturating_add(nanoseconds(self.config.max_ahead))
    }

    /// The latest timestamp of a batch, among those that may advance time.
    pub(crate) fn latest_of(&mut self, batch: &Batch) -> Option<i64> {
        let times = batch.timestamps.as_ref()?;
        let latest = times.latest()?;
        // Read the system clock only if the batch could advance time: most batches do not.
        if self.latest.is_some_and(|before| latest <= before) {
            return Some(latest);
        }
        let bound = self.bound();
        if latest <= bound {
            return Some(latest);
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "a record of {} has the time {}, which is more than {:?} ahead of the clock: such \
                 records do not move time (watermark.max_ahead)",
                Foreign::new(&batch.origin(0).place),
                rfc3339(latest),
                self.config.max_ahead
            );
        }
        times.latest_until(bound)
    }

    /// A record with this timestamp, and all records before it, were sent.
    pub(crate) fn reach(&mut self, latest: i64) {
        self.seen = Instant::now();
        // Idle time is a guess. A record whose timestamp lies within it shows that the stream is
        // slower than the clock, so the record's timestamp replaces the guess.
        if self.latest.is_none_or(|before| latest > before) {
            self.latest = Some(latest);
            self.idle = 0;
        }
    }

    /// The watermark, if it is later than the one before.
    pub(crate) fn advanced(&mut self) -> Option<i64> {
        let lag = nanoseconds(self.config.lag);
        let watermark = self.latest?.saturating_add(self.idle).saturating_sub(lag);
        if self.sent.is_some_and(|sent| watermark <= sent) {
            return None;
        }
        self.sent = Some(watermark);
        Some(watermark)
    }

    /// When idle time is next added.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        let idle = self.config.idle.filter(|_| self.latest.is_some())?;
        Some(self.seen + idle)
    }

    pub(crate) async fn idle(&mut self) {
        let Some(idle) = self.config.idle.filter(|_| self.latest.is_some()) else {
            return std::future::pending().await;
        };
        sleep_until(self.seen + idle).await;
        let now = Instant::now();
        self.idle = self.idle.saturating_add(nanoseconds(now - self.seen));
        self.seen = now;
    }

    pub(crate) fn latest(&self) -> Option<i64> {
        // With the idle time, so that time does not go back in the next run.
        self.latest.map(|latest| latest.saturating_add(self.idle))
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

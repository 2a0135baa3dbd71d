//! Watermarks made from the timestamps of what a node sends.

use tokio::time::{Instant, sleep_until};

use crate::config::Watermark;
use crate::record::Batch;

/// The clock of a node: see `watermark` in the contract.
pub(super) struct Assigner {
    config: Watermark,
    latest: Option<i64>,
    /// When the latest timestamp was seen, or the clock last went on without one.
    seen: Instant,
    sent: Option<i64>,
    /// How far the clock went on since, in nanoseconds.
    idle: i64,
}

impl Assigner {
    /// Goes on from the latest timestamp of an earlier run.
    pub(super) fn new(config: Watermark, latest: Option<i64>) -> Self {
        Self { config, latest, seen: Instant::now(), sent: None, idle: 0 }
    }

    pub(super) fn see(&mut self, batch: &Batch) {
        let Some(latest) = batch.timestamps.as_ref().and_then(|times| times.latest()) else {
            return;
        };
        self.seen = Instant::now();
        // What the clock added was a guess: time that was not reached by a record. A record
        // that lies within it says that the stream is slower than the clock.
        if self.latest.is_none_or(|before| latest > before) {
            self.latest = Some(latest);
            self.idle = 0;
        }
    }

    /// The watermark, if it is later than the one before.
    pub(super) fn advanced(&mut self) -> Option<i64> {
        let lag = i64::try_from(self.config.lag.as_nanos()).unwrap_or(i64::MAX);
        let watermark = self.latest?.saturating_add(self.idle).saturating_sub(lag);
        if self.sent.is_some_and(|sent| watermark <= sent) {
            return None;
        }
        self.sent = Some(watermark);
        Some(watermark)
    }

    pub(super) async fn idle(&mut self) {
        let Some(idle) = self.config.idle.filter(|_| self.latest.is_some()) else {
            return std::future::pending().await;
        };
        sleep_until(self.seen + idle).await;
        let now = Instant::now();
        let passed = i64::try_from((now - self.seen).as_nanos()).unwrap_or(i64::MAX);
        self.idle = self.idle.saturating_add(passed);
        self.seen = now;
    }

    pub(super) fn latest(&self) -> Option<i64> {
        // What the clock added belongs to it: time does not go back with the next run.
        self.latest.map(|latest| latest.saturating_add(self.idle))
    }
}

//! Sends records at a fixed rate, and measures how long each takes from when it was due.
//!
//! Earlier records do not change the rate (an open loop), and latency is counted from when a record
//! was due, not from when it was sent. So the latency of a record that was delayed by a stalled
//! pipeline includes all of its waiting. (Gil Tene calls the mistake of leaving it out coordinated
//! omission.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use pipehost_record::Batch;

/// The origin of paced records.
pub const PLACE: &str = "paced";

/// A longer latency counts as this: an hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

pub struct Pace {
    /// Records a second of each source.
    rate: f64,
    length: Duration,
    begin: OnceLock<Instant>,
    /// In nanoseconds.
    latencies: Mutex<Histogram<u64>>,
    /// When the last written record was due, in nanoseconds from the beginning.
    last: AtomicU64,
}

impl Pace {
    /// `rate` records a second of each source, for `length`.
    pub fn new(rate: f64, length: Duration) -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds").into();
        Self { rate, length, begin: OnceLock::new(), latencies, last: AtomicU64::new(0) }
    }

    fn begin(&self) -> Instant {
        *self.begin.get_or_init(Instant::now)
    }

    /// When record `number` is due, from 1; `None` after the end.
    pub fn due(&self, number: u64) -> Option<Instant> {
        let after = Duration::try_from_secs_f64((number - 1) as f64 / self.rate).ok()?;
        (after < self.length).then(|| self.begin() + after)
    }

    /// A sink has written these records. Those that descend from no single record do not count.
    pub fn written(&self, batch: &Batch) {
        let now = Instant::now();
        let mut latencies = self.latencies.lock().expect("nobody panics here");
        for row in 0..batch.len {
            let origin = batch.origin(row);
            if &*origin.place == PLACE
                && let Some(due) = self.due(origin.number)
            {
                let after = due.duration_since(self.begin()).as_nanos() as u64;
                self.last.fetch_max(after, Ordering::Relaxed);
                let latency = now.saturating_duration_since(due);
                latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }

    /// The latency within which this part of the records, from 0 to 1, was written.
    pub fn quantile(&self, part: f64) -> Duration {
        let latencies = self.latencies.lock().expect("nobody panics here");
        Duration::from_nanos(latencies.value_at_quantile(part))
    }

    /// The time from the first record until the last one that was written was due.
    pub fn lasted(&self) -> Duration {
        Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Records that were written, over all sinks.
    pub fn records(&self) -> u64 {
        self.latencies.lock().expect("nobody panics here").len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_record::BatchBuilder;

    #[test]
    fn waiting_counts_from_when_a_record_was_due() {
        let pace = Pace::new(1000.0, Duration::from_secs(1));
        let mut batch = BatchBuilder::default();
        for number in 1..=1000 {
            batch.push_value(&PLACE.into(), number, b"x");
        }
        batch.push_value(&"a stage".into(), 1, b"made up");
        let last = pace.due(1000).unwrap();
        assert_eq!(pace.due(1001), None);
        while Instant::now() < last {
            std::thread::yield_now();
        }
        // All are written at once: the first has waited for a second, the last not at all.
        pace.written(&batch.take());
        assert_eq!(pace.records(), 1000);
        let milliseconds = |part| pace.quantile(part).as_millis();
        assert!((990..1200).contains(&milliseconds(1.0)), "{}", milliseconds(1.0));
        assert!((490..700).contains(&milliseconds(0.5)), "{}", milliseconds(0.5));
    }
}

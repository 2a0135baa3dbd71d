//! Records at a fixed rate, for measuring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep_until;

use pipehost_codec::Decoded;
use pipehost_observe::pace::{PLACE, Pace};
use pipehost_record::Batch;

/// How long before a record is due the runtime's timer fires.
const TIMER: Duration = Duration::from_millis(2);

/// Records that are read ahead.
const AHEAD: usize = 4096;

/// Gives records out when they are due.
pub(crate) struct Pacer {
    pace: Arc<Pace>,
    ahead: Decoded,
    batch: Option<Batch>,
    /// Rows of `batch` that were given out.
    row: usize,
    /// Records that were given out.
    number: u64,
    place: Arc<str>,
}

impl Pacer {
    pub(crate) fn new(pace: Arc<Pace>) -> Self {
        let (ahead, place) = (Decoded::default(), PLACE.into());
        Self { pace, ahead, batch: None, row: 0, number: 0, place }
    }

    /// Whether there are records to give out.
    pub(crate) fn has_records(&self) -> bool {
        self.batch.is_some()
    }

    /// Takes records in with `decode`, until there are enough.
    pub(crate) fn read_ahead(
        &mut self,
        decode: impl FnOnce(&mut Decoded, fn(&Decoded) -> bool) -> Result<()>,
    ) -> Result<()> {
        decode(&mut self.ahead, |ahead| ahead.batch.len() >= AHEAD)?;
        let batch = self.ahead.batch.take();
        self.batch = (batch.len > 0).then_some(batch);
        Ok(())
    }

    /// Waits until a record is due; false if there will be none. Cancel-safe.
    pub(crate) async fn due(&self) -> Result<bool> {
        let Some(due) = self.pace.due(self.number + 1) else { return Ok(false) };
        // The runtime's timers fire up to two milliseconds late, a thread's sleep ends less than a
        // tenth late: the timer's delay must not count as the pipeline's latency.
        if let Some(early) = due.checked_sub(TIMER) {
            sleep_until(early.into()).await;
        }
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            let slept = tokio::task::spawn_blocking(move || std::thread::sleep(left));
            slept.await?;
        }
        Ok(true)
    }

    /// Gives out the records that are due.
    pub(crate) fn fill(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) {
        self.ahead.take_undecodable().into_iter().for_each(|undecodable| out.refuse(undecodable));
        let Some(batch) = &self.batch else { return };
        let now = Instant::now();
        while self.row < batch.len && !full(out) {
            if self.pace.due(self.number + 1).is_none_or(|due| due > now) {
                return;
            }
            self.number += 1;
            out.batch.push_row(&self.place, self.number, batch, self.row);
            self.row += 1;
        }
        if self.row == batch.len {
            (self.batch, self.row) = (None, 0);
        }
    }

    pub(crate) fn place(&self) -> Arc<str> {
        self.place.clone()
    }
}

//! Taps: show somebody what passes through a node, and never slow it.
//!
//! A tap takes whole batches, which are shared and not copied. What it cannot take in time it
//! skips, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use pipehost_record::{Batch, Rejected, RowNumbers};

/// Batches that wait for whoever looks.
const BATCHES: usize = 64;
/// Bytes that these may hold; a larger batch is taken if it is the only one.
const BYTES: usize = 32 << 20;

/// What somebody looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// What a stage is given and what it answers; what a source sends; what a sink takes in.
    Node,
    /// What leaves a stage at this port.
    Port(usize),
}

/// What was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Records that a source sent, that left a stage at the port, or that a sink took in.
    Records(Batch),
    /// What a stage was given, and its answer.
    Call(Arc<Call>),
}

/// What a stage was given, and its answer.
#[derive(Debug)]
pub struct Call {
    pub before: Batch,
    pub after: Vec<Emission>,
    pub rejected: Vec<Rejected>,
}

/// Records that a stage has sent.
#[derive(Debug, Clone)]
pub struct Emission {
    pub port: usize,
    pub batch: Batch,
    /// For each row, the row before that it descends from; `None` if the rows are fresh.
    pub parents: Option<RowNumbers>,
}

impl Seen {
    /// Bytes that it keeps in memory.
    fn held_bytes(&self) -> usize {
        match self {
            Self::Records(batch) => batch.held_bytes(),
            Self::Call(call) => {
                let after = call.after.iter().map(Emission::held_bytes);
                call.before.held_bytes() + after.sum::<usize>() + held_by(&call.rejected)
            }
        }
    }
}

impl Emission {
    fn held_bytes(&self) -> usize {
        let parents = self.parents.as_ref().map_or(0, |parents| size_of_val(&parents[..]));
        self.batch.held_bytes() + parents
    }
}

/// Bytes of rejections. Rows that stand side by side share a reason, which counts once.
fn held_by(rejected: &[Rejected]) -> usize {
    let reasons = rejected.chunk_by(|a, b| Arc::ptr_eq(&a.reason, &b.reason));
    size_of_val(rejected) + reasons.map(|rows| rows[0].reason.len()).sum::<usize>()
}

/// Where one can look at a node.
#[derive(Debug, Default)]
pub struct TapPoint {
    /// How many look: nearly always nobody.
    count: AtomicUsize,
    taps: Mutex<Vec<Arc<Shared>>>,
}

/// What a tap and its point share.
#[derive(Debug)]
struct Shared {
    look: Look,
    send: mpsc::Sender<Seen>,
    /// Bytes of what waits.
    held: AtomicUsize,
    skipped: AtomicUsize,
}

impl TapPoint {
    /// Looks from now on, until the tap is dropped.
    pub fn tap(self: &Arc<Self>, look: Look) -> Tap {
        let (send, seen) = mpsc::channel(BATCHES);
        let (held, skipped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { look, send, held, skipped });
        let mut taps = self.taps.lock().expect("nobody panics here");
        taps.push(shared.clone());
        self.count.store(taps.len(), Ordering::Release);
        Tap { point: self.clone(), shared, seen }
    }

    /// Whether somebody looks.
    pub fn is_tapped(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Shows a batch to whoever looks at the node as a whole.
    pub fn records(&self, batch: &Batch) {
        self.show(Look::Node, batch.len, || Seen::Records(batch.clone()));
    }

    /// Shows a batch to whoever looks at this port.
    pub fn port(&self, port: usize, batch: &Batch) {
        self.show(Look::Port(port), batch.len, || Seen::Records(batch.clone()));
    }

    /// Shows a call for so many records to whoever looks at the node as a whole.
    pub fn call(&self, records: usize, call: impl FnOnce() -> Call) {
        self.show(Look::Node, records, || Seen::Call(Arc::new(call())));
    }

    fn show(&self, look: Look, records: usize, seen: impl FnOnce() -> Seen) {
        if !self.is_tapped() {
            return;
        }
        let taps = self.taps.lock().expect("nobody panics here");
        let mut seen = Some(seen);
        let mut shown = None;
        for tap in taps.iter().filter(|tap| tap.look == look) {
            if tap.send.capacity() == 0 {
                tap.skipped.fetch_add(records, Ordering::Relaxed);
                continue;
            }
            let shown = shown.get_or_insert_with(|| seen.take().expect("it is made once")());
            tap.take(records, shown.clone());
        }
    }
}

impl Shared {
    fn take(&self, records: usize, seen: Seen) {
        let bytes = seen.held_bytes();
        let held = self.held.load(Ordering::Relaxed);
        if held > 0 && held + bytes > BYTES {
            self.skipped.fetch_add(records, Ordering::Relaxed);
            return;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if self.send.try_send(seen).is_err() {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            self.skipped.fetch_add(records, Ordering::Relaxed);
        }
    }
}

/// Somebody who looks at a node.
#[derive(Debug)]
pub struct Tap {
    point: Arc<TapPoint>,
    shared: Arc<Shared>,
    seen: mpsc::Receiver<Seen>,
}

impl Tap {
    /// What is seen next. Cancel-safe.
    pub async fn next(&mut self) -> Option<Seen> {
        let seen = self.seen.recv().await;
        self.taken(seen)
    }

    /// The same on a thread that may block.
    pub fn blocking_next(&mut self) -> Option<Seen> {
        let seen = self.seen.blocking_recv();
        self.taken(seen)
    }

    fn taken(&self, seen: Option<Seen>) -> Option<Seen> {
        let seen = seen?;
        self.shared.held.fetch_sub(seen.held_bytes(), Ordering::Relaxed);
        Some(seen)
    }

    /// Records that nobody took in time, since the last time this was asked.
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.swap(0, Ordering::Relaxed) as u64
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut taps = self.point.taps.lock().expect("nobody panics here");
        taps.retain(|tap| !Arc::ptr_eq(tap, &self.shared));
        self.point.count.store(taps.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_record::BatchBuilder;

    fn batch(bytes: usize) -> Batch {
        let mut builder = BatchBuilder::default();
        builder.push_value(&"test".into(), 1, &vec![0; bytes]);
        builder.take()
    }

    #[tokio::test]
    async fn what_nobody_takes_in_time_is_skipped_and_counted() {
        let point = Arc::new(TapPoint::default());
        point.records(&batch(1));
        let mut tap = point.tap(Look::Node);
        for _ in 0..BATCHES + 3 {
            point.records(&batch(1));
        }
        assert_eq!(tap.skipped(), 3);
        for _ in 0..BATCHES {
            assert!(tap.next().await.is_some());
        }
        point.records(&batch(1));
        assert!(tap.next().await.is_some(), "there is room again");
        assert_eq!(tap.skipped(), 0);
        drop(tap);
        assert!(!point.is_tapped());
    }

    #[tokio::test]
    async fn what_waits_holds_little_memory_and_a_large_batch_is_seen_alone() {
        let point = Arc::new(TapPoint::default());
        let mut tap = point.tap(Look::Node);
        let large = batch(BYTES + 1);
        point.records(&large);
        point.records(&batch(1));
        assert_eq!(tap.skipped(), 1);
        assert!(matches!(tap.next().await, Some(Seen::Records(seen)) if seen.len == large.len));
        point.records(&batch(1));
        assert_eq!(tap.skipped(), 0);
    }

    /// A guest chooses how long its reasons are, and how many records it sends.
    #[tokio::test]
    async fn rejections_and_parents_count_as_memory() {
        let point = Arc::new(TapPoint::default());
        let mut tap = point.tap(Look::Node);
        let call = |reason: usize, parents: usize| {
            let reason = "x".repeat(reason).into();
            let rejected = vec![Rejected { row: 0, reason, retryable: false, attempts: 1 }];
            let parents = Some(Arc::new(vec![0; parents]));
            let after = vec![Emission { port: 0, batch: batch(1), parents }];
            point.call(1, || Call { before: batch(1), after, rejected });
        };
        for (reason, parents) in [(BYTES, 1), (1, BYTES / 4)] {
            call(1, 1);
            call(reason, parents);
            assert_eq!(tap.skipped(), 1, "{reason} bytes, {parents} parents");
            assert!(tap.next().await.is_some());
        }
        call(1, 1);
        call(1, 1);
        assert_eq!(tap.skipped(), 0, "small ones wait together");
    }

    #[tokio::test]
    async fn a_port_is_seen_apart_from_its_node() {
        let point = Arc::new(TapPoint::default());
        let mut tap = point.tap(Look::Port(1));
        point.port(0, &batch(1));
        point.records(&batch(2));
        point.port(1, &batch(3));
        let Some(Seen::Records(seen)) = tap.next().await else { panic!("records are seen") };
        assert_eq!(seen.record(0).value.unwrap().len(), 3);
    }
}

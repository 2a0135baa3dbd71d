//! The bounded queues between nodes: the sending end, and the messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::stopped::TaskError;
use crate::flow::watermark::Assigner;
use pipehost_config::WhenFull;
use pipehost_observe::metrics::{Activity, NodeMetrics};
use pipehost_record::Batch;

/// Bytes that the batches in one queue may hold. A larger batch takes the whole queue.
const BYTES: usize = 64 << 20;
/// Bytes that the batches in all queues of a run may hold, plus one batch in each queue.
const ALL_BYTES: usize = 128 << 20;
/// Unit of both limits, in bytes.
const UNIT: usize = 1024;

/// A message in a queue.
pub(crate) enum Message {
    /// The permit is the batch's room in the queue; dropped, and so freed, when received.
    Batch(Batch, QueuePermit),
    /// By checkpoint number: what comes before the barrier is in it, what comes after is not.
    Barrier(u64),
    /// All records with earlier timestamps have come.
    Watermark(i64),
    /// An explicit end of the stream: a queue that closes without it means that its sender failed,
    /// and that the data is incomplete.
    End(StreamEnd),
}

/// A batch's share of the bytes of its queue, and of those of all queues.
pub(crate) struct QueuePermit {
    _queue: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// The bytes of all queues of a run.
#[derive(Clone)]
pub(crate) struct AllBytes(Arc<Semaphore>);

impl Default for AllBytes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BYTES / UNIT)))
    }
}

/// Why an edge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The input is complete.
    Finished,
    /// The next run continues from here: stages are not asked to `finish`.
    Suspended,
}

/// The sending end of an edge.
pub(crate) struct Sender {
    queue: mpsc::Sender<Message>,
    /// In units.
    bytes: Arc<Semaphore>,
    all: AllBytes,
    /// Admits one batch per edge above the limit of all queues: otherwise nodes could wait for each
    /// other's bytes forever.
    first: Arc<Semaphore>,
    when_full: WhenFull,
    to: Arc<NodeMetrics>,
}

/// Extra place in a queue that drops batches, so that a barrier never waits for a slow reader. At
/// most one barrier is in a queue at a time.
const FOR_A_BARRIER: usize = 1;

/// An edge of `capacity` batches to the node that has the metrics `to`.
pub(crate) fn edge(
    capacity: usize,
    when_full: WhenFull,
    all: AllBytes,
    to: Arc<NodeMetrics>,
) -> (Sender, mpsc::Receiver<Message>) {
    let places = match when_full {
        WhenFull::Block => capacity,
        WhenFull::Drop => capacity + FOR_A_BARRIER,
    };
    let (queue, receiver) = mpsc::channel(places);
    let bytes = Arc::new(Semaphore::new(BYTES / UNIT));
    let first = Arc::new(Semaphore::new(1));
    (Sender { queue, bytes, all, first, when_full, to }, receiver)
}

impl Sender {
    async fn send(&self, batch: Batch) -> Result<(), TaskError> {
        let records = batch.len;
        let units = (batch.held_bytes() / UNIT).clamp(1, BYTES / UNIT) as u32;
        let room = match self.room_now(units) {
            Some(room) if !self.is_full_and_drops() => room,
            None if self.when_full == WhenFull::Block => self.room(units).await,
            Some(_) | None => {
                self.to.dropped.inc_by(records as u64);
                return Ok(());
            }
        };
        self.pass(Message::Batch(batch, room)).await?;
        // The receiver may have counted down already, so the count can be negative for a moment.
        self.to.in_flight.fetch_add(records as i64, Ordering::Relaxed);
        self.to.queue.inc();
        // The receiver may have taken the batch already; it still counts for the depth.
        self.to.note_queue_depth((self.queue.max_capacity() - self.queue.capacity()).max(1));
        Ok(())
    }

    /// A permit for `units`, if there is room now.
    fn room_now(&self, units: u32) -> Option<QueuePermit> {
        let queue = self.bytes.clone().try_acquire_many_owned(units).ok()?;
        let first = || self.first.clone().try_acquire_owned();
        let all = self.all.0.clone().try_acquire_many_owned(units).or_else(|_| first()).ok()?;
        Some(QueuePermit { _queue: queue, _all: all })
    }

    /// A permit for `units`, once there is room.
    async fn room(&self, units: u32) -> QueuePermit {
        let queue = self.bytes.clone().acquire_many_owned(units).await;
        let all = tokio::select! {
            all = self.all.0.clone().acquire_many_owned(units) => all,
            first = self.first.clone().acquire_owned() => first,
        };
        let open = "the semaphores are never closed";
        QueuePermit { _queue: queue.expect(open), _all: all.expect(open) }
    }

    /// Whether the queue drops batches and is full. No other task sends on this edge, so a place
    /// that is free stays free.
    fn is_full_and_drops(&self) -> bool {
        self.when_full == WhenFull::Drop && self.queue.capacity() <= FOR_A_BARRIER
    }

    async fn pass(&self, message: Message) -> Result<(), TaskError> {
        self.queue.send(message).await.map_err(|_| TaskError::NeighbourGone)
    }
}

/// Everything that leaves a node.
pub(crate) struct Outlet {
    /// By port: the edges that start there.
    ports: Vec<Vec<Sender>>,
    metrics: Arc<NodeMetrics>,
    /// Makes watermarks from the records sent, if configured; otherwise incoming watermarks are
    /// passed on.
    assigner: Option<Assigner>,
}

impl Outlet {
    pub(crate) fn new(
        ports: Vec<Vec<Sender>>,
        metrics: Arc<NodeMetrics>,
        assigner: Option<Assigner>,
    ) -> Self {
        Self { ports, metrics, assigner }
    }

    /// Sends a batch to every edge of a port. Batches are shared: this copies nothing.
    pub(crate) async fn send(&mut self, port: usize, batch: Batch) -> Result<(), TaskError> {
        if let Some(latest) = self.send_ahead(port, batch).await? {
            self.reach(latest);
        }
        Ok(())
    }

    /// Advances the node's time to `latest`; [`Outlet::settle`] sends the watermark.
    pub(crate) fn reach(&mut self, latest: i64) {
        if let Some(assigner) = &mut self.assigner {
            assigner.reach(latest);
        }
    }

    /// Like [`Outlet::send`], but does not advance time. Returns the batch's latest timestamp if
    /// this node makes watermarks.
    pub(crate) async fn send_ahead(
        &mut self,
        port: usize,
        batch: Batch,
    ) -> Result<Option<i64>, TaskError> {
        self.metrics.records_out.inc_by(batch.len as u64);
        let latest = self.assigner.as_mut().and_then(|assigner| assigner.latest_of(&batch));
        self.metrics.tap.port(port, &batch);
        let send = async {
            if let Some((last, others)) = self.ports[port].split_last() {
                for edge in others {
                    edge.send(batch.clone()).await?;
                }
                last.send(batch).await?;
            }
            Ok(())
        };
        self.metrics.waiting(Activity::WaitingForOutput, send).await?;
        Ok(latest)
    }

    /// Sends the watermark if it has advanced; called once batches that belong together are sent.
    pub(crate) async fn settle(&mut self) -> Result<(), TaskError> {
        match self.assigner.as_mut().and_then(Assigner::advanced) {
            Some(watermark) => self.send_watermark(watermark).await,
            None => Ok(()),
        }
    }

    /// Passes on an incoming watermark, unless this node makes its own.
    pub(crate) async fn watermark(&mut self, watermark: i64) -> Result<(), TaskError> {
        if self.assigner.is_some() {
            return Ok(());
        }
        self.send_watermark(watermark).await
    }

    async fn send_watermark(&self, watermark: i64) -> Result<(), TaskError> {
        self.metrics.note_watermark(watermark);
        for edge in self.ports.iter().flatten() {
            // A full queue that drops batches also drops watermarks: the next one supersedes it.
            if !edge.is_full_and_drops() {
                edge.pass(Message::Watermark(watermark)).await?;
            }
        }
        Ok(())
    }

    /// Waits until the node has been idle for so long that the clock advances the watermark: then
    /// call [`Outlet::settle`]. Waits forever if no idle time is configured. Cancel-safe.
    pub(crate) async fn idle(&mut self) {
        match &mut self.assigner {
            Some(assigner) => assigner.idle().await,
            None => std::future::pending().await,
        }
    }

    /// When [`Outlet::idle`] returns, if nothing is sent until then; `None` if it never does.
    pub(crate) fn idle_at(&self) -> Option<tokio::time::Instant> {
        self.assigner.as_ref().and_then(Assigner::idle_at)
    }

    /// The latest timestamp sent, if this node makes watermarks.
    pub(crate) fn latest(&self) -> Option<i64> {
        self.assigner.as_ref().and_then(Assigner::latest)
    }

    pub(crate) async fn barrier(&mut self, number: u64) -> Result<(), TaskError> {
        for edge in self.ports.iter().flatten() {
            edge.pass(Message::Barrier(number)).await?;
        }
        Ok(())
    }

    /// Tells every edge that the stream has ended.
    pub(crate) async fn end(self, close: StreamEnd) -> Result<(), TaskError> {
        for edge in self.ports.iter().flatten() {
            edge.pass(Message::End(close)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use pipehost_observe::metrics::Metrics;
    use pipehost_record::BatchBuilder;

    const MIB: usize = 1 << 20;

    fn batch(bytes: usize) -> Batch {
        let mut builder = BatchBuilder::default();
        builder.push_value(&"test".into(), 1, &vec![0; bytes]);
        builder.take()
    }

    /// Counts the batches that an edge takes without waiting.
    async fn fill(sender: &Sender, batch: &Batch) -> usize {
        let mut sent = 0;
        while let Ok(result) =
            tokio::time::timeout(Duration::ZERO, sender.send(batch.clone())).await
        {
            result.expect("somebody receives");
            sent += 1;
        }
        sent
    }

    #[tokio::test]
    async fn all_queues_together_are_bounded_and_each_takes_one() {
        let (all, metrics) = (AllBytes::default(), Metrics::default().node("test"));
        let edges: Vec<_> =
            (0..20).map(|_| edge(100, WhenFull::Block, all.clone(), metrics.clone())).collect();
        let batch = batch(10 * MIB - 64);
        let mut sent = 0;
        for (sender, _) in &edges {
            let some = fill(sender, &batch).await;
            assert!(
                (1..=6).contains(&some),
                "no edge is without a batch, nor with more than 64 MiB"
            );
            sent += some;
        }
        assert!(sent <= ALL_BYTES / (10 * MIB) + edges.len(), "{sent}");
        // Receiving a batch frees its room.
        let mut edges = edges;
        let (sender, receiver) = &mut edges[19];
        assert!(receiver.try_recv().is_ok());
        assert_eq!(fill(sender, &batch).await, 1);
    }
}

//! The bounded queues between nodes: the sending end, the receiving end, and batches
//! made anew on the way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Stopped;
use crate::config::{Batching, WhenFull};
use crate::metrics::NodeMetrics;
use crate::record::Batch;

/// What goes over a queue. The end is said: a queue that merely closes means that its
/// sender failed, and what came over it is not all.
enum Message {
    Batch(Batch),
    End,
}

/// The sending end of an edge.
pub(super) struct Sender {
    queue: mpsc::Sender<Message>,
    when_full: WhenFull,
    to: Arc<NodeMetrics>,
}

/// The receiving end of an edge.
pub(super) struct Receiver(mpsc::Receiver<Message>);

/// An edge of `capacity` batches to the node of these metrics.
pub(super) fn edge(
    capacity: usize,
    when_full: WhenFull,
    to: Arc<NodeMetrics>,
) -> (Sender, Receiver) {
    let (queue, receiver) = mpsc::channel(capacity);
    (Sender { queue, when_full, to }, Receiver(receiver))
}

impl Sender {
    async fn send(&self, batch: Batch) -> Result<(), Stopped> {
        let records = batch.len;
        let sent = match self.when_full {
            WhenFull::Block => self.queue.send(Message::Batch(batch)).await.is_ok(),
            WhenFull::Drop => match self.queue.try_send(Message::Batch(batch)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.to.dropped.inc_by(records as u64);
                    return Ok(());
                }
            },
        };
        if !sent {
            return Err(Stopped::Neighbour);
        }
        // The receiver may have counted down already: in between, counts are negative.
        self.to.in_flight.fetch_add(records as i64, Ordering::Relaxed);
        self.to.queue.inc();
        // The receiver may have taken it already; it was there all the same.
        self.to.note_queue_depth((self.queue.max_capacity() - self.queue.capacity()).max(1));
        Ok(())
    }
}

/// Everything that leaves a node.
pub(super) struct Outlet {
    /// By port, the edges that read it.
    ports: Vec<Vec<Sender>>,
    metrics: Arc<NodeMetrics>,
}

impl Outlet {
    pub(super) fn new(ports: Vec<Vec<Sender>>, metrics: Arc<NodeMetrics>) -> Self {
        Self { ports, metrics }
    }

    /// Sends a batch to all who read a port. Batches are shared: this copies nothing.
    pub(super) async fn send(&self, port: usize, batch: Batch) -> Result<(), Stopped> {
        self.metrics.records_out.inc_by(batch.len as u64);
        if let Some((last, others)) = self.ports[port].split_last() {
            for edge in others {
                edge.send(batch.clone()).await?;
            }
            last.send(batch).await?;
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub(super) async fn end(self) -> Result<(), Stopped> {
        for edge in self.ports.iter().flatten() {
            edge.queue.send(Message::End).await.map_err(|_| Stopped::Neighbour)?;
        }
        Ok(())
    }
}

/// Everything that enters a node: its edges, merged fairly.
pub(super) struct Inlet {
    edges: Vec<Receiver>,
    /// The edge to ask first next time.
    turn: usize,
    metrics: Arc<NodeMetrics>,
    rebatch: Option<Rebatch>,
}

impl Inlet {
    pub(super) fn new(
        edges: Vec<Receiver>,
        metrics: Arc<NodeMetrics>,
        batch: Option<Batching>,
    ) -> Self {
        Self { edges, turn: 0, metrics, rebatch: batch.map(Rebatch::new) }
    }

    /// The next batch; none when all edges have ended.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Stopped> {
        let batch = match self.rebatch.take() {
            None => self.receive().await?,
            Some(mut rebatch) => {
                let batch = rebatch.next(self).await;
                self.rebatch = Some(rebatch);
                batch?
            }
        };
        if let Some(batch) = &batch {
            self.metrics.records_in.inc_by(batch.len as u64);
            self.metrics.batch.observe(batch.len as f64);
        }
        Ok(batch)
    }

    /// Says that `records` of what `next` gave are done with.
    pub(super) fn done(&self, records: usize) {
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
    }

    async fn receive(&mut self) -> Result<Option<Batch>, Stopped> {
        poll_fn(|context| {
            let mut index = 0;
            while index < self.edges.len() {
                let edge = (self.turn + index) % self.edges.len();
                match self.edges[edge].0.poll_recv(context) {
                    Poll::Ready(Some(Message::Batch(batch))) => {
                        self.turn = edge + 1;
                        self.metrics.queue.dec();
                        return Poll::Ready(Ok(Some(batch)));
                    }
                    Poll::Ready(Some(Message::End)) => {
                        self.edges.remove(edge);
                        index = 0;
                    }
                    Poll::Ready(None) => return Poll::Ready(Err(Stopped::Neighbour)),
                    Poll::Pending => index += 1,
                }
            }
            if self.edges.is_empty() { Poll::Ready(Ok(None)) } else { Poll::Pending }
        })
        .await
    }
}

/// Makes batches of the size that a node asked for.
struct Rebatch {
    batching: Batching,
    held: VecDeque<Batch>,
    records: usize,
    bytes: usize,
    /// When what is held goes on in any case.
    due: Instant,
}

impl Rebatch {
    fn new(batching: Batching) -> Self {
        Self { batching, held: VecDeque::new(), records: 0, bytes: 0, due: Instant::now() }
    }

    async fn next(&mut self, inlet: &mut Inlet) -> Result<Option<Batch>, Stopped> {
        loop {
            if self.records >= self.batching.records {
                return Ok(Some(self.take(self.batching.records)));
            }
            if self.bytes >= self.batching.bytes {
                return Ok(Some(self.take(self.records)));
            }
            let received = tokio::select! {
                biased;
                () = sleep_until(self.due), if !self.held.is_empty() => {
                    return Ok(Some(self.take(self.records)));
                }
                received = inlet.receive() => received?,
            };
            match received {
                Some(batch) => self.hold(batch),
                None if self.held.is_empty() => return Ok(None),
                None => return Ok(Some(self.take(self.records))),
            }
        }
    }

    fn hold(&mut self, batch: Batch) {
        if self.held.is_empty() {
            self.due = Instant::now() + self.batching.linger;
        }
        self.records += batch.len;
        self.bytes += batch.bytes();
        self.held.push_back(batch);
    }

    /// The first `records` records that are held.
    fn take(&mut self, records: usize) -> Batch {
        let mut parts = Vec::new();
        let mut missing = records;
        while missing > 0 {
            let batch = self.held.pop_front().expect("no more is taken than is held");
            if batch.len > missing {
                self.held.push_front(batch.slice(missing..batch.len));
                parts.push(batch.slice(0..missing));
                missing = 0;
            } else {
                missing -= batch.len;
                parts.push(batch);
            }
        }
        let taken = Batch::concat(&parts);
        self.records -= records;
        self.bytes = self.held.iter().map(Batch::bytes).sum();
        if !self.held.is_empty() {
            self.due = Instant::now() + self.batching.linger;
        }
        taken
    }
}

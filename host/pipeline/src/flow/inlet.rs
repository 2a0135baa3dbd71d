//! The input side of a node: its edges, merged fairly and aligned at barriers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::stopped::TaskError;
use crate::flow::queue::{Message, StreamEnd};
use pipehost_config::Batching;
use pipehost_observe::metrics::{Activity, NodeMetrics};
use pipehost_record::Batch;

/// What a node receives.
pub(crate) enum Event {
    Batch(Batch),
    /// Always later than the one before.
    Watermark(i64),
    /// Every edge has reached this checkpoint's barrier, and nothing behind it was received.
    Barrier(u64),
    /// All edges have ended.
    End(StreamEnd),
}

/// The receiving end of an edge.
pub(crate) struct Receiver {
    /// Index of the input that it belongs to.
    pub input: u32,
    pub queue: mpsc::Receiver<Message>,
}

/// The receiving ends of the edges to a node.
pub(crate) struct Inlet {
    edges: Edges,
    metrics: Arc<NodeMetrics>,
    rebatch: Option<Rebatch>,
}

impl Inlet {
    /// `apart`: whether batches of several inputs must not be joined.
    pub(crate) fn new(
        edges: Vec<Receiver>,
        metrics: Arc<NodeMetrics>,
        batch: Option<Batching>,
        apart: bool,
    ) -> Self {
        let edges = Edges {
            open: edges.into_iter().map(Edge::new).collect(),
            turn: 0,
            barrier: None,
            watermark: i64::MIN,
            ceiling: i64::MAX,
            close: StreamEnd::Finished,
            metrics: metrics.clone(),
        };
        Self { edges, metrics, rebatch: batch.map(|batching| Rebatch::new(batching, apart)) }
    }

    /// The next event; after the last one, always [`Event::End`]. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Event, TaskError> {
        let Self { edges, metrics, rebatch } = self;
        let next = async {
            match rebatch {
                None => edges.receive().await,
                Some(rebatch) => rebatch.next(edges).await,
            }
        };
        let event = metrics.waiting(Activity::WaitingForInput, next).await?;
        if let Event::Batch(batch) = &event {
            took_in(metrics, batch);
        }
        Ok(event)
    }

    /// Whether a batch is waiting.
    pub(crate) fn has_more(&self) -> bool {
        self.edges.open.iter().any(|edge| !edge.at_barrier && !edge.queue.is_empty())
    }

    /// Counts `records` of those that `next` returned as no longer in flight.
    pub(crate) fn done(&self, records: usize) {
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
    }
}

/// Counts a batch that a node has taken in.
pub(crate) fn took_in(metrics: &NodeMetrics, batch: &Batch) {
    metrics.records_in.inc_by(batch.len as u64);
    metrics.batch.observe(batch.len as f64);
    note_time(metrics, batch);
}

/// Notes the time of the last record of a batch: the usual one is also the newest.
pub(crate) fn note_time(metrics: &NodeMetrics, batch: &Batch) {
    let last = batch.len.checked_sub(1);
    let times = batch.timestamps.as_ref();
    if let Some(time) = times.zip(last).and_then(|(times, last)| times.get(last)) {
        metrics.note_record(time);
    }
}

struct Edge {
    /// Index of the input that it belongs to.
    input: u32,
    queue: mpsc::Receiver<Message>,
    /// It has reached the barrier, and waits for the other edges.
    at_barrier: bool,
    watermark: i64,
}

impl Edge {
    fn new(Receiver { input, queue }: Receiver) -> Self {
        Self { input, queue, at_barrier: false, watermark: i64::MIN }
    }
}

struct Edges {
    /// Edges that have not ended.
    open: Vec<Edge>,
    /// The edge to poll first next time.
    turn: usize,
    /// The checkpoint that some edges have reached.
    barrier: Option<u64>,
    /// The last watermark that was returned.
    watermark: i64,
    /// Upper bound of our watermark: the lowest of the suspended edges.
    ceiling: i64,
    close: StreamEnd,
    metrics: Arc<NodeMetrics>,
}

impl Edges {
    async fn receive(&mut self) -> Result<Event, TaskError> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, TaskError>> {
        // The edges may have reached a watermark and a barrier at once.
        if let Some(event) = self.reached() {
            return Poll::Ready(Ok(event));
        }
        let mut index = 0;
        while index < self.open.len() {
            let at = (self.turn + index) % self.open.len();
            let edge = &mut self.open[at];
            if edge.at_barrier {
                index += 1;
                continue;
            }
            match edge.queue.poll_recv(context) {
                Poll::Ready(Some(Message::Batch(mut batch, _bytes))) => {
                    batch.input = edge.input;
                    self.turn = at + 1;
                    self.metrics.queue.dec();
                    return Poll::Ready(Ok(Event::Batch(batch)));
                }
                Poll::Ready(Some(Message::Watermark(watermark))) => {
                    edge.watermark = edge.watermark.max(watermark);
                }
                Poll::Ready(Some(Message::Barrier(number))) => {
                    edge.at_barrier = true;
                    self.barrier = Some(number);
                }
                Poll::Ready(Some(Message::End(close))) => {
                    if close == StreamEnd::Suspended {
                        self.close = close;
                        self.ceiling = self.ceiling.min(edge.watermark);
                    }
                    self.open.remove(at);
                }
                Poll::Ready(None) => return Poll::Ready(Err(TaskError::NeighbourGone)),
                Poll::Pending => {
                    index += 1;
                    continue;
                }
            }
            if let Some(event) = self.reached() {
                return Poll::Ready(Ok(event));
            }
            index = 0;
        }
        if self.open.is_empty() {
            return Poll::Ready(Ok(Event::End(self.close)));
        }
        Poll::Pending
    }

    /// The watermark or barrier that all edges have reached.
    fn reached(&mut self) -> Option<Event> {
        // Before the barrier: the watermark belongs to this checkpoint.
        let watermark = self.open.iter().map(|edge| edge.watermark).min()?.min(self.ceiling);
        if watermark > self.watermark {
            self.watermark = watermark;
            return Some(Event::Watermark(watermark));
        }
        if self.open.iter().all(|edge| edge.at_barrier) {
            self.open.iter_mut().for_each(|edge| edge.at_barrier = false);
            return self.barrier.take().map(Event::Barrier);
        }
        None
    }
}

/// Joins and splits batches to the size that the node is configured for.
struct Rebatch {
    batching: Batching,
    apart: bool,
    held: VecDeque<Held>,
    records: usize,
    bytes: usize,
    /// When the held records are sent even if the batch is not full.
    due: Instant,
    /// Batches taken together with the last one, which did not fit into it: returned next.
    joined: VecDeque<Batch>,
    /// The watermark that follows the last batch taken.
    passed: Option<i64>,
    /// The event to return once no records are held.
    after: Option<Event>,
}

enum Held {
    /// The rows before `start` were already taken.
    Batch {
        batch: Batch,
        start: usize,
    },
    Watermark(i64),
}

impl Rebatch {
    fn new(batching: Batching, apart: bool) -> Self {
        Self {
            batching,
            apart,
            held: VecDeque::new(),
            records: 0,
            bytes: 0,
            due: Instant::now(),
            joined: VecDeque::new(),
            passed: None,
            after: None,
        }
    }

    async fn next(&mut self, edges: &mut Edges) -> Result<Event, TaskError> {
        loop {
            if let Some(batch) = self.joined.pop_front() {
                return Ok(Event::Batch(batch));
            }
            if let Some(watermark) = self.passed.take() {
                return Ok(Event::Watermark(watermark));
            }
            if self.records >= self.batching.records {
                return Ok(Event::Batch(self.take(self.batching.records)));
            }
            let ripe = self.bytes >= self.batching.bytes
                || self.after.is_some()
                || self.batching.linger.is_zero();
            if self.records > 0 && ripe {
                return Ok(Event::Batch(self.take(self.records)));
            }
            match self.after.take() {
                Some(Event::Batch(batch)) => self.hold(batch),
                Some(event) => return Ok(event),
                None => {}
            }
            let received = tokio::select! {
                biased;
                () = sleep_until(self.due), if self.records > 0 => {
                    return Ok(Event::Batch(self.take(self.records)));
                }
                received = edges.receive() => received?,
            };
            match received {
                Event::Batch(batch) if self.is_of_another_input(&batch) => {
                    self.after = Some(Event::Batch(batch));
                }
                Event::Batch(batch) => self.hold(batch),
                Event::Watermark(watermark) if self.records > 0 => {
                    self.held.push_back(Held::Watermark(watermark));
                }
                event => self.after = Some(event),
            }
        }
    }

    fn is_of_another_input(&self, batch: &Batch) -> bool {
        let other =
            |held: &Held| matches!(held, Held::Batch { batch: b, .. } if b.input != batch.input);
        self.apart && self.held.iter().any(other)
    }

    fn hold(&mut self, mut batch: Batch) {
        if self.records == 0 {
            self.due = Instant::now() + self.batching.linger;
        }
        self.records += batch.len;
        self.bytes += batch.bytes();
        if self.records < self.batching.records && self.bytes < self.batching.bytes {
            batch.compact(); // It waits: free memory that its rows do not use.
        }
        self.held.push_back(Held::Batch { batch, start: 0 });
    }

    /// Takes the first `records` records that are held.
    fn take(&mut self, records: usize) -> Batch {
        let mut parts = Vec::new();
        let mut missing = records;
        while missing > 0 {
            match self.held.front_mut().expect("no more is taken than is held") {
                Held::Watermark(watermark) => self.passed = Some(*watermark),
                Held::Batch { batch, start } if batch.len - *start > missing => {
                    parts.push(batch.slice(*start..*start + missing));
                    *start += missing;
                    break;
                }
                Held::Batch { batch, start } => {
                    missing -= batch.len - *start;
                    let whole = *start == 0;
                    parts.push(if whole { batch.clone() } else { batch.slice(*start..batch.len) });
                }
            }
            self.held.pop_front();
        }
        while let Some(Held::Watermark(watermark)) = self.held.front() {
            self.passed = Some(*watermark);
            self.held.pop_front();
        }
        self.records -= records;
        self.bytes -= parts.iter().map(Batch::bytes).sum::<usize>();
        self.due = Instant::now() + self.batching.linger;
        let mut joined = Batch::join(parts).into_iter();
        let first = joined.next().expect("a record is taken");
        self.joined.extend(joined); // Rows with too many attributes for one batch.
        first
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::queue::{AllBytes, Outlet, edge};
    use pipehost_config::WhenFull;
    use pipehost_observe::metrics::Metrics;
    use pipehost_record::BatchBuilder;

    fn batch(values: &[&str]) -> Batch {
        let mut builder = BatchBuilder::default();
        for (number, value) in (1..).zip(values) {
            builder.push_value(&"test".into(), number, value.as_bytes());
        }
        builder.take()
    }

    /// Nodes with an edge each to an inlet.
    fn node<const N: usize>(batching: Option<Batching>, apart: bool) -> ([Outlet; N], Inlet) {
        let metrics = Metrics::default().node("node");
        let mut receivers = Vec::new();
        let outlets = std::array::from_fn(|input| {
            let all = AllBytes::default();
            let (sender, queue) = edge(100, WhenFull::Block, all, metrics.clone());
            receivers.push(Receiver { input: input as u32, queue });
            Outlet::new(vec![vec![sender]], metrics.clone(), None)
        });
        (outlets, Inlet::new(receivers, metrics, batching, apart))
    }

    /// What comes next: the values of a batch, or what else it is.
    async fn next(inlet: &mut Inlet) -> String {
        match inlet.next().await {
            Ok(Event::Batch(batch)) => {
                let value = |row| String::from_utf8(batch.record(row).value.unwrap()).unwrap();
                (0..batch.len).map(value).collect::<Vec<_>>().join(",")
            }
            Ok(Event::Watermark(watermark)) => format!("watermark {watermark}"),
            Ok(Event::Barrier(number)) => format!("barrier {number}"),
            Ok(Event::End(end)) => format!("{end:?}"),
            Err(TaskError::NeighbourGone) => "gone".to_owned(),
            Err(TaskError::Failed(why)) => panic!("{why:#}"),
        }
    }

    #[tokio::test]
    async fn what_is_behind_a_barrier_waits_for_the_barriers_of_all_edges() {
        let ([mut a, mut b], mut inlet) = node(None, false);
        a.send(0, batch(&["a1"])).await.unwrap();
        a.barrier(1).await.unwrap();
        a.send(0, batch(&["a2"])).await.unwrap();
        assert_eq!(next(&mut inlet).await, "a1");
        b.send(0, batch(&["b1"])).await.unwrap();
        b.barrier(1).await.unwrap();
        assert_eq!(next(&mut inlet).await, "b1");
        assert_eq!(next(&mut inlet).await, "barrier 1");
        assert_eq!(next(&mut inlet).await, "a2");
    }

    #[tokio::test]
    async fn a_barrier_does_not_wait_for_an_edge_that_has_ended() {
        let ([mut a, b], mut inlet) = node(None, false);
        a.barrier(1).await.unwrap();
        b.end(StreamEnd::Finished).await.unwrap();
        assert_eq!(next(&mut inlet).await, "barrier 1");
        a.end(StreamEnd::Suspended).await.unwrap();
        assert_eq!(next(&mut inlet).await, "Suspended", "the next run goes on with an edge");
    }

    #[tokio::test]
    async fn time_is_that_of_the_slowest_edge_and_never_goes_back() {
        let ([mut a, mut b], mut inlet) = node(None, false);
        a.watermark(5).await.unwrap();
        b.watermark(3).await.unwrap();
        assert_eq!(next(&mut inlet).await, "watermark 3");
        b.watermark(9).await.unwrap();
        assert_eq!(next(&mut inlet).await, "watermark 5");
        a.watermark(4).await.unwrap();
        a.watermark(6).await.unwrap();
        assert_eq!(next(&mut inlet).await, "watermark 6");
        // An edge that was suspended may go on from where it was.
        a.end(StreamEnd::Suspended).await.unwrap();
        b.watermark(20).await.unwrap();
        b.end(StreamEnd::Finished).await.unwrap();
        assert_eq!(next(&mut inlet).await, "Suspended");
    }

    #[tokio::test]
    async fn a_sender_that_is_gone_without_an_end_means_that_data_is_missing() {
        let ([a], mut inlet) = node(None, false);
        drop(a);
        assert_eq!(next(&mut inlet).await, "gone");
    }

    #[tokio::test]
    async fn batches_are_made_anew_and_none_of_two_inputs_that_are_told_apart() {
        let batching = Batching { records: 3, bytes: 1 << 20, linger: Duration::from_secs(3600) };
        let ([mut a], mut inlet) = node(Some(batching.clone()), false);
        a.send(0, batch(&["1", "2"])).await.unwrap();
        a.send(0, batch(&["3", "4"])).await.unwrap();
        a.watermark(7).await.unwrap();
        a.end(StreamEnd::Finished).await.unwrap();
        assert_eq!(next(&mut inlet).await, "1,2,3");
        assert_eq!(next(&mut inlet).await, "4");
        assert_eq!(next(&mut inlet).await, "watermark 7", "behind the records before it");
        assert_eq!(next(&mut inlet).await, "Finished");

        let ([mut a, mut b], mut inlet) = node(Some(batching), true);
        a.send(0, batch(&["a"])).await.unwrap();
        b.send(0, batch(&["b"])).await.unwrap();
        a.end(StreamEnd::Finished).await.unwrap();
        b.end(StreamEnd::Finished).await.unwrap();
        assert_eq!(next(&mut inlet).await, "a");
        assert_eq!(next(&mut inlet).await, "b");
    }
}

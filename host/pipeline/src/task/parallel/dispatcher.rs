//! Hands events out to the workers.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Divided, Done, Job, Made, Share};
use crate::checkpoint::Reporter;
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::StreamEnd;
use crate::flow::{TaskError, TaskResult};
use pipehost_config::Partition;
use pipehost_record::{Batch, RowNumbers};
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::contract::state::group_of;

/// Receives events and hands them to the workers.
pub(super) struct Dispatcher {
    /// By worker.
    pub(super) queues: Vec<mpsc::Sender<Job>>,
    pub(super) divider: Divider,
    pub(super) timed: bool,
    pub(super) finished: bool,
    pub(super) reporter: Reporter,
    /// Whether the stage keeps something that cannot be saved.
    pub(super) keeps_unsaved: bool,
    /// To the emitter, for events that no worker has to see.
    pub(super) done: mpsc::Sender<Done>,
}

impl Dispatcher {
    /// Keeps at most `window` events in flight.
    pub(super) async fn run(mut self, mut inlet: Inlet, window: usize) -> TaskResult {
        let places = Arc::new(Semaphore::new(window));
        let mut number = 0;
        let close = loop {
            let mut place = acquire(&places, 1).await;
            let event = inlet.next().await?;
            if let Event::Barrier(_) = event {
                // A checkpoint waits until nothing else is in flight.
                place.merge(acquire(&places, window - 1).await);
            }
            let place = Arc::new(place);
            let share = |parts, records| Share { parts, records, _place: place.clone() };
            match event {
                Event::Batch(batch) => {
                    self.finished = false;
                    self.batch(number, batch, share).await?;
                }
                Event::Watermark(watermark) if self.timed => {
                    for queue in &self.queues {
                        let share = share(self.queues.len(), 0);
                        send_job(queue, Job::Watermark { number, watermark, share }).await?;
                    }
                }
                Event::Watermark(watermark) => {
                    let made = Made::Advanced(watermark, Answer::default());
                    let done = Done { number, made, share: Some(share(1, 0)) };
                    self.done.send(done).await.map_err(|_| TaskError::NeighbourGone)?;
                }
                Event::Barrier(barrier) => {
                    for queue in &self.queues {
                        let share = share(self.queues.len(), 0);
                        send_job(queue, Job::Save { number, barrier, share }).await?;
                    }
                }
                Event::End(close) => break close,
            }
            number += 1;
        };
        // Workers that finished in an earlier run and have had no batch since are not asked again.
        let is_heard = self.reporter.is_heard();
        // What cannot be saved is emitted.
        let is_unsaved = self.keeps_unsaved && self.reporter.suspension().has_begun();
        let finishes = close == StreamEnd::Finished || is_unsaved;
        for (worker, queue) in self.queues.iter().enumerate() {
            let number = number + worker as u64;
            let finishes = finishes && !self.finished;
            send_job(queue, Job::End { number, close, finishes, is_heard }).await?;
        }
        Ok(())
    }

    async fn batch(
        &self,
        number: u64,
        batch: Batch,
        share: impl Fn(usize, usize) -> Share,
    ) -> TaskResult {
        let rows = self.divider.divide(&batch, self.queues.len());
        let parts = rows.iter().filter(|rows| !rows.is_empty()).count();
        for (queue, rows) in self.queues.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            let rows: RowNumbers = Arc::new(rows);
            let part = batch.pick(rows.clone());
            let share = share(parts, part.len);
            send_job(queue, Job::Batch { number, batch: part, rows, share }).await?;
        }
        Ok(())
    }
}

async fn acquire(places: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let places = places.clone().acquire_many_owned(count as u32).await;
    places.expect("the semaphore is never closed")
}

async fn send_job(queue: &mpsc::Sender<Job>, job: Job) -> TaskResult {
    queue.send(job).await.map_err(|_| TaskError::NeighbourGone)
}

/// Divides the rows of a batch among workers: equal values always go to the same worker.
pub(super) struct Divider {
    by: Partition,
    /// The worker of each key group, if the stage keeps by key.
    of_group: Option<Vec<usize>>,
}

impl Divider {
    pub(super) fn new(divided: Divided) -> Self {
        match divided {
            Divided::Workers(by) => Self { by, of_group: None },
            Divided::KeyGroups { by, held } => {
                let groups = held.into_iter().enumerate();
                let of_group = groups.flat_map(|(worker, held)| held.map(move |_| worker));
                Self { by, of_group: Some(of_group.collect()) }
            }
        }
    }

    /// The rows of each worker.
    fn divide(&self, batch: &Batch, workers: usize) -> Vec<Vec<u32>> {
        let column = match &self.by {
            Partition::Key => batch.key.as_ref(),
            Partition::Value => batch.value.as_ref(),
            Partition::Attribute(name) => batch.attribute(name),
        };
        let mut rows = vec![Vec::new(); workers];
        for row in 0..batch.len {
            let value = column.and_then(|column| column.get(row)).unwrap_or_default();
            let worker = match &self.of_group {
                Some(of_group) => of_group[group_of(value, of_group.len() as u32) as usize],
                None => {
                    let mut hasher = DefaultHasher::new(); // Its keys are fixed: equal in every run.
                    hasher.write(value);
                    (hasher.finish() % workers as u64) as usize
                }
            };
            rows[worker].push(row as u32);
        }
        rows
    }
}

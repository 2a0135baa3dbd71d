//! A stage with several workers: a dispatcher hands out batches, workers process them,
//! and an emitter sends the answers on, in order unless that was given up.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::queue::{Inlet, Outlet};
use super::rejections::Rejections;
use super::stage::{finish, process, send};
use super::{Ended, Stopped};
use crate::config::Partition;
use crate::metrics::NodeMetrics;
use crate::outcome::Answer;
use crate::record::{Batch, RowNumbers};
use crate::stage::Worker;

/// Work for a worker: a batch, or its share of one.
enum Job {
    Batch { number: u64, batch: Batch, rows: Option<RowNumbers>, share: Share },
    Finish { number: u64 },
}

/// One of the parts into which a batch was divided.
struct Share {
    parts: usize,
    records: usize,
    /// The place of the batch among those that may be under way: free once all its
    /// parts were sent on.
    _place: Arc<OwnedSemaphorePermit>,
}

/// What a worker made of a job.
struct Done {
    number: u64,
    answer: Answer,
    /// None for what `finish` answered.
    share: Option<Share>,
}

type Task = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// The tasks of a stage with several workers.
pub(super) struct Parallel {
    pub workers: Vec<Worker>,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
    pub partition: Option<Partition>,
    pub ordered: bool,
}

impl Parallel {
    /// The futures to spawn.
    pub(super) fn tasks(self) -> Vec<Task> {
        let Self { workers, inlet, outlet, rejections, partition, ordered } = self;
        // Twice the workers: one batch each in work, and as many that are done and wait
        // for an earlier one. This is also what bounds the resequencing.
        let window = 2 * workers.len();
        let (done, answers) = mpsc::channel(window);
        let mut queues = Vec::new();
        let mut tasks: Vec<Task> = Vec::new();
        let shared = async_channel::bounded(1);
        let count = workers.len();
        for worker in workers {
            let (queue, jobs) = match partition {
                Some(_) => async_channel::bounded(1),
                None => shared.clone(),
            };
            queues.push(queue);
            tasks.push(Box::pin(work(worker, jobs, done.clone(), rejections.clone())));
        }
        if partition.is_none() {
            queues.truncate(1);
        }
        drop(shared);
        tasks.push(Box::pin(dispatch(inlet, queues, count, partition, window)));
        tasks.push(Box::pin(emit(outlet, answers, count, ordered, rejections.metrics)));
        tasks
    }
}

/// Takes batches in and hands them out, no more than `window` at a time.
async fn dispatch(
    mut inlet: Inlet,
    queues: Vec<async_channel::Sender<Job>>,
    workers: usize,
    partition: Option<Partition>,
    window: usize,
) -> Ended {
    let places = Arc::new(Semaphore::new(window));
    let mut number = 0;
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Some(batch) = inlet.next().await? else { break };
        let place = Arc::new(place);
        let share = |parts, records| Share { parts, records, _place: place.clone() };
        match &partition {
            None => {
                let job = Job::Batch { number, share: share(1, batch.len), rows: None, batch };
                queues[0].send(job).await.map_err(|_| Stopped::Neighbour)?;
            }
            Some(by) => {
                let rows = divide(&batch, by, queues.len());
                let parts = rows.iter().filter(|rows| !rows.is_empty()).count();
                for (queue, rows) in queues.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
                    let rows: RowNumbers = Arc::new(rows);
                    let part = batch.pick(rows.clone());
                    let share = share(parts, part.len);
                    let job = Job::Batch { number, batch: part, rows: Some(rows), share };
                    queue.send(job).await.map_err(|_| Stopped::Neighbour)?;
                }
            }
        }
        number += 1;
    }
    for worker in 0..workers {
        let queue = &queues[worker % queues.len()];
        let job = Job::Finish { number: number + worker as u64 };
        queue.send(job).await.map_err(|_| Stopped::Neighbour)?;
    }
    Ok(())
}

/// The rows of a batch by worker: equal keys go to the same one, always.
fn divide(batch: &Batch, by: &Partition, workers: usize) -> Vec<Vec<u32>> {
    let column = match by {
        Partition::Key => batch.key.as_ref(),
        Partition::Attribute(name) => batch.attribute(name),
    };
    let mut rows = vec![Vec::new(); workers];
    for row in 0..batch.len {
        let mut hasher = DefaultHasher::new(); // With fixed keys: the same in every run.
        hasher.write(column.and_then(|column| column.get(row)).unwrap_or_default());
        rows[(hasher.finish() % workers as u64) as usize].push(row as u32);
    }
    rows
}

async fn work(
    mut worker: Worker,
    jobs: async_channel::Receiver<Job>,
    done: mpsc::Sender<Done>,
    rejections: Rejections,
) -> Ended {
    loop {
        let (job, last) = match jobs.recv().await {
            Err(_) => return Err(Stopped::Neighbour),
            Ok(Job::Batch { number, batch, rows, share }) => {
                let mut answer = process(&mut worker, &batch, &rejections).await?;
                if let Some(rows) = &rows {
                    answer.renumber(rows);
                }
                (Done { number, answer, share: Some(share) }, false)
            }
            Ok(Job::Finish { number }) => {
                let answer = finish(&mut worker, &rejections).await?;
                (Done { number, answer, share: None }, true)
            }
        };
        done.send(job).await.map_err(|_| Stopped::Neighbour)?;
        if last {
            return Ok(());
        }
    }
}

/// Sends answers on.
async fn emit(
    outlet: Outlet,
    mut answers: mpsc::Receiver<Done>,
    workers: usize,
    ordered: bool,
    metrics: Arc<NodeMetrics>,
) -> Ended {
    let mut resequencer = Resequencer::default();
    let mut finished = 0;
    while let Some(done) = answers.recv().await {
        finished += usize::from(done.share.is_none());
        if ordered {
            resequencer.add(done);
            while let Some((answer, shares)) = resequencer.next() {
                emit_one(&outlet, answer, shares, &metrics).await?;
            }
        } else {
            emit_one(&outlet, done.answer, done.share.into_iter().collect(), &metrics).await?;
        }
    }
    if finished < workers {
        return Err(Stopped::Neighbour); // A worker failed: this is not all.
    }
    outlet.end().await
}

async fn emit_one(
    outlet: &Outlet,
    answer: Answer,
    shares: Vec<Share>,
    metrics: &NodeMetrics,
) -> Ended {
    send(outlet, answer).await?;
    let records: usize = shares.iter().map(|share| share.records).sum();
    metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
    Ok(())
}

/// Brings answers back into the order of the batches. It holds no more than the
/// dispatcher lets be under way.
#[derive(Default)]
struct Resequencer {
    next: u64,
    held: BTreeMap<u64, Vec<Done>>,
}

impl Resequencer {
    fn add(&mut self, done: Done) {
        self.held.entry(done.number).or_default().push(done);
    }

    /// The next answer in order, with all its parts merged.
    fn next(&mut self) -> Option<(Answer, Vec<Share>)> {
        let first = self.held.first_entry().filter(|entry| *entry.key() == self.next)?;
        let parts = first.get()[0].share.as_ref().map_or(1, |share| share.parts);
        if first.get().len() < parts {
            return None;
        }
        let (mut answers, mut shares) = (Vec::new(), Vec::new());
        for done in first.remove() {
            answers.push(done.answer);
            shares.extend(done.share);
        }
        self.next += 1;
        let answer =
            if answers.len() == 1 { answers.remove(0) } else { Answer::in_row_order(answers) };
        Some((answer, shares))
    }
}

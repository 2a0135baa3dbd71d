//! A stage with several workers: a dispatcher hands out batches, workers process them, and an
//! emitter sends the answers on, in order unless `ordered` is off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Barrier, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::checkpoint::{NodeState, Reporter};
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::task::rejections::Rejections;
use crate::task::stage::{advance, finish, process, save, send};
use pipehost_config::Partition;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::{Batch, RowNumbers};
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::{Worker, WorkerState};

/// Work for a worker.
enum Job {
    /// A batch, or the worker's part of one.
    Batch { number: u64, batch: Batch, rows: Option<RowNumbers>, share: Share },
    /// A new watermark.
    Watermark { number: u64, watermark: i64, share: Share },
    /// A checkpoint. One per worker, sent when nothing else is in flight. Workers meet at
    /// `all_here`, so each takes exactly one.
    Save { number: u64, barrier: u64, share: Share, all_here: Arc<Barrier> },
    /// The input has ended; `close` decides whether the worker calls `finish`.
    End { number: u64, close: StreamEnd, is_heard: bool },
}

/// One of the parts into which an event is divided among workers.
struct Share {
    parts: usize,
    records: usize,
    /// The event's place in the dispatcher's window: free once all its parts were sent on.
    _place: Arc<OwnedSemaphorePermit>,
}

/// The result of a job.
struct Done {
    number: u64,
    made: Made,
    share: Option<Share>,
}

enum Made {
    Answer(Answer),
    /// The watermark, and what `advance` emitted.
    Advanced(i64, Answer),
    /// The state of one worker at a checkpoint.
    Saved {
        barrier: u64,
        worker: usize,
        state: WorkerState,
    },
    /// The worker has ended: what `finish` emitted, and its final state.
    Ended {
        worker: usize,
        close: StreamEnd,
        answer: Answer,
        state: WorkerState,
    },
}

type Task = Pin<Box<dyn Future<Output = TaskResult> + Send>>;

/// The tasks of a stage with several workers.
pub(crate) struct Parallel {
    pub workers: Vec<Worker>,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
    pub reporter: Reporter,
    pub partition: Option<Partition>,
    pub ordered: bool,
    /// Whether the component handles watermarks.
    pub timed: bool,
    /// As `finished` of a stage with one worker.
    pub finished: bool,
}

impl Parallel {
    /// The futures to spawn.
    pub(crate) fn tasks(self) -> Vec<Task> {
        let Self { workers, inlet, outlet, rejections, reporter, partition, ordered, .. } = self;
        // Twice the workers: one batch each in process, and as many finished ones that wait for an
        // earlier batch. This also bounds the resequencer.
        let window = 2 * workers.len();
        let is_heard = reporter.is_heard();
        let (done, answers) = mpsc::channel(window);
        let mut queues = Vec::new();
        let mut tasks: Vec<Task> = Vec::new();
        let shared = async_channel::bounded(1);
        let count = workers.len();
        for (number, worker) in workers.into_iter().enumerate() {
            let (queue, jobs) = match partition {
                Some(_) => async_channel::bounded(1),
                None => shared.clone(),
            };
            queues.push(queue);
            tasks.push(Box::pin(work(number, worker, jobs, done.clone(), rejections.clone())));
        }
        if partition.is_none() {
            queues.truncate(1);
        }
        drop(shared);
        let dispatcher = Dispatcher {
            queues,
            workers: count,
            partition,
            timed: self.timed,
            finished: self.finished,
            is_heard,
            done,
        };
        tasks.push(Box::pin(dispatcher.run(inlet, window)));
        let emitter = Emitter {
            outlet,
            workers: count,
            ordered,
            metrics: rejections.metrics,
            reporter,
            finished: self.finished,
            close: StreamEnd::Finished,
            saved: Vec::new(),
            times: BTreeMap::new(),
        };
        tasks.push(Box::pin(emitter.run(answers)));
        tasks
    }
}

/// Receives events and hands them to the workers.
struct Dispatcher {
    /// One queue that all workers share, or one for each worker if the stage is partitioned.
    queues: Vec<async_channel::Sender<Job>>,
    workers: usize,
    partition: Option<Partition>,
    timed: bool,
    finished: bool,
    /// Whether checkpoints are made; otherwise no state is saved.
    is_heard: bool,
    /// To the emitter, for events that no worker has to see.
    done: mpsc::Sender<Done>,
}

impl Dispatcher {
    /// Keeps at most `window` events in flight.
    async fn run(mut self, mut inlet: Inlet, window: usize) -> TaskResult {
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
                        let share = share(self.workers, 0);
                        send_job(queue, Job::Watermark { number, watermark, share }).await?;
                    }
                }
                Event::Watermark(watermark) => {
                    let made = Made::Advanced(watermark, Answer::default());
                    let done = Done { number, made, share: Some(share(1, 0)) };
                    self.done.send(done).await.map_err(|_| TaskError::NeighbourGone)?;
                }
                Event::Barrier(barrier) => {
                    let all_here = Arc::new(Barrier::new(self.workers));
                    for worker in 0..self.workers {
                        let (share, all_here) = (share(self.workers, 0), all_here.clone());
                        let job = Job::Save { number, barrier, share, all_here };
                        send_job(&self.queues[worker % self.queues.len()], job).await?;
                    }
                }
                Event::End(close) => break close,
            }
            number += 1;
        };
        // Workers that finished in an earlier run and have had no batch since are not asked again.
        let close = if self.finished && close == StreamEnd::Finished { None } else { Some(close) };
        for worker in 0..self.workers {
            let number = number + worker as u64;
            let queue = &self.queues[worker % self.queues.len()];
            match close {
                Some(close) => {
                    let is_heard = self.is_heard;
                    send_job(queue, Job::End { number, close, is_heard }).await?;
                }
                None => {
                    let made = Made::Ended {
                        worker,
                        close: StreamEnd::Finished,
                        answer: Answer::default(),
                        state: WorkerState::Unchanged,
                    };
                    let done = Done { number, made, share: None };
                    self.done.send(done).await.map_err(|_| TaskError::NeighbourGone)?;
                }
            }
        }
        Ok(())
    }

    async fn batch(
        &self,
        number: u64,
        batch: Batch,
        share: impl Fn(usize, usize) -> Share,
    ) -> TaskResult {
        let Some(by) = &self.partition else {
            let job = Job::Batch { number, share: share(1, batch.len), rows: None, batch };
            return send_job(&self.queues[0], job).await;
        };
        let rows = divide(&batch, by, self.queues.len());
        let parts = rows.iter().filter(|rows| !rows.is_empty()).count();
        for (queue, rows) in self.queues.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            let rows: RowNumbers = Arc::new(rows);
            let part = batch.pick(rows.clone());
            let share = share(parts, part.len);
            send_job(queue, Job::Batch { number, batch: part, rows: Some(rows), share }).await?;
        }
        Ok(())
    }
}

async fn acquire(places: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let places = places.clone().acquire_many_owned(count as u32).await;
    places.expect("the semaphore is never closed")
}

async fn send_job(queue: &async_channel::Sender<Job>, job: Job) -> TaskResult {
    queue.send(job).await.map_err(|_| TaskError::NeighbourGone)
}

/// The rows of a batch by worker: equal keys always go to the same worker.
fn divide(batch: &Batch, by: &Partition, workers: usize) -> Vec<Vec<u32>> {
    let column = match by {
        Partition::Key => batch.key.as_ref(),
        Partition::Attribute(name) => batch.attribute(name),
    };
    let mut rows = vec![Vec::new(); workers];
    for row in 0..batch.len {
        let mut hasher = DefaultHasher::new(); // Its hash keys are fixed: equal in every run.
        hasher.write(column.and_then(|column| column.get(row)).unwrap_or_default());
        rows[(hasher.finish() % workers as u64) as usize].push(row as u32);
    }
    rows
}

async fn work(
    number: usize,
    mut worker: Worker,
    jobs: async_channel::Receiver<Job>,
    done: mpsc::Sender<Done>,
    rejections: Rejections,
) -> TaskResult {
    loop {
        let job = jobs.recv().await.map_err(|_| TaskError::NeighbourGone)?;
        let last = matches!(job, Job::End { .. });
        let made = match job {
            Job::Batch { number, batch, rows, mut share } => {
                let mut answer = process(&mut worker, &batch, &rejections).await?;
                share.records -= answer.rejected.len();
                if let Some(rows) = &rows {
                    answer.renumber(rows);
                }
                Done { number, made: Made::Answer(answer), share: Some(share) }
            }
            Job::Watermark { number, watermark, share } => {
                let answer = advance(&mut worker, watermark, &rejections).await?;
                Done { number, made: Made::Advanced(watermark, answer), share: Some(share) }
            }
            Job::Save { number: place, barrier, share, all_here } => {
                let state = save(&mut worker, &rejections).await?;
                all_here.wait().await;
                let made = Made::Saved { barrier, worker: number, state };
                Done { number: place, made, share: Some(share) }
            }
            Job::End { number: place, close, is_heard } => {
                let answer = match close {
                    StreamEnd::Finished => finish(&mut worker, &rejections).await?,
                    StreamEnd::Suspended => Answer::default(),
                };
                let state = if is_heard {
                    save(&mut worker, &rejections).await?
                } else {
                    WorkerState::Unchanged
                };
                let made = Made::Ended { worker: number, close, answer, state };
                Done { number: place, made, share: None }
            }
        };
        done.send(made).await.map_err(|_| TaskError::NeighbourGone)?;
        if last {
            return Ok(());
        }
    }
}

/// Sends the workers' answers on.
struct Emitter {
    outlet: Outlet,
    workers: usize,
    ordered: bool,
    metrics: Arc<NodeMetrics>,
    reporter: Reporter,
    finished: bool,
    close: StreamEnd,
    /// Worker numbers and states, collected for the current checkpoint or the end.
    saved: Vec<(usize, WorkerState)>,
    /// The latest timestamp of each batch that was sent ahead of earlier ones, by batch number.
    times: BTreeMap<u64, i64>,
}

impl Emitter {
    async fn run(mut self, mut answers: mpsc::Receiver<Done>) -> TaskResult {
        let mut resequencer = Resequencer::default();
        let mut ended = 0;
        loop {
            let done = tokio::select! {
                biased;
                done = answers.recv() => done,
                () = self.outlet.idle() => {
                    self.outlet.settle().await?;
                    continue;
                }
            };
            let Some(done) = done else { break };
            ended += usize::from(matches!(done.made, Made::Ended { .. }));
            resequencer.add(done, self.ordered);
            loop {
                match resequencer.next() {
                    Some(Next::InOrder(parts)) => self.emit(parts).await?,
                    Some(Next::Ahead(done)) => self.emit_ahead(done).await?,
                    None => break,
                }
            }
            self.reach(resequencer.next).await?;
        }
        if ended < self.workers {
            return Err(TaskError::NeighbourGone); // A worker failed: output is missing.
        }
        self.finished |= self.close == StreamEnd::Finished;
        let state = self.take_state();
        self.reporter.ended(state);
        self.outlet.end(self.close).await
    }

    /// Sends an answer ahead of earlier batches. Time does not advance until those are sent too:
    /// otherwise their records would be late.
    async fn emit_ahead(&mut self, done: Done) -> TaskResult {
        let Done { number, made, share } = done;
        let Made::Answer(answer) = made else { unreachable!("only answers go ahead") };
        self.finished = false;
        for emitted in answer.emitted {
            let latest = self.outlet.send_ahead(emitted.port, emitted.batch).await?;
            if let Some(latest) = latest {
                let time = self.times.entry(number).or_insert(latest);
                *time = latest.max(*time);
            }
        }
        let records = share.as_ref().map_or(0, |share| share.records);
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
        Ok(())
    }

    /// Advances time, as all batches before this number were sent.
    async fn reach(&mut self, number: u64) -> TaskResult {
        while let Some(entry) = self.times.first_entry().filter(|entry| *entry.key() < number) {
            self.outlet.reach(entry.remove());
        }
        self.outlet.settle().await
    }

    fn take_state(&mut self) -> NodeState {
        self.saved.sort_by_key(|(worker, _)| *worker);
        NodeState::Stage {
            workers: self.saved.drain(..).map(|(_, state)| state).collect(),
            finished: self.finished,
            latest: self.outlet.latest(),
        }
    }

    /// Sends all results of one event together: the parts of a batch, or every worker's answer to a
    /// watermark or a checkpoint.
    async fn emit(&mut self, parts: Vec<Done>) -> TaskResult {
        let (mut answers, mut records) = (Vec::new(), 0);
        let (mut watermark, mut barrier) = (None, None);
        // Places in the window, free once all results are sent.
        let mut places = Vec::new();
        for Done { made, share, .. } in parts {
            records += share.as_ref().map_or(0, |share| share.records);
            match made {
                Made::Answer(answer) => {
                    self.finished = false;
                    answers.push(answer);
                }
                Made::Advanced(time, answer) => {
                    watermark = Some(time);
                    answers.push(answer);
                }
                Made::Saved { barrier: number, worker, state } => {
                    barrier = Some(number);
                    self.saved.push((worker, state));
                }
                Made::Ended { worker, close, answer, state } => {
                    self.close = close;
                    answers.push(answer);
                    self.saved.push((worker, state));
                }
            }
            places.extend(share);
        }
        let answer = match answers.len() {
            0 => Answer::default(),
            1 => answers.remove(0),
            _ => Answer::in_row_order(answers),
        };
        send(&mut self.outlet, answer).await?;
        if let Some(watermark) = watermark {
            self.outlet.watermark(watermark).await?;
        }
        if let Some(barrier) = barrier {
            let state = self.take_state();
            self.reporter.reached(barrier, state);
            self.outlet.barrier(barrier).await?;
        }
        self.metrics.in_flight.fetch_sub(records as i64, Ordering::Relaxed);
        Ok(())
    }
}

/// The next result to send.
enum Next {
    /// All results of one number, after those of all lower numbers.
    InOrder(Vec<Done>),
    Ahead(Done),
}

/// Restores the order of the batches. Holds no more than the dispatcher's window.
#[derive(Default)]
struct Resequencer {
    next: u64,
    held: BTreeMap<u64, Vec<Done>>,
    /// Parts of batches that need not wait for earlier ones.
    ahead: VecDeque<Done>,
    /// By batch sent ahead: the number of its parts that have come.
    parts_seen: BTreeMap<u64, usize>,
    /// Batches of which all parts were sent ahead.
    gone: BTreeSet<u64>,
}

impl Resequencer {
    /// If not `ordered`, answers to batches go ahead as they come; watermarks and checkpoints never
    /// do.
    fn add(&mut self, done: Done, ordered: bool) {
        let number = done.number;
        if ordered || !matches!(done.made, Made::Answer(_)) {
            self.held.entry(number).or_default().push(done);
            return;
        }
        let seen = self.parts_seen.entry(number).or_default();
        *seen += 1;
        if done.share.as_ref().is_none_or(|share| *seen >= share.parts) {
            self.parts_seen.remove(&number);
            self.gone.insert(number);
        }
        self.ahead.push_back(done);
    }

    /// The next result, with all its parts.
    fn next(&mut self) -> Option<Next> {
        if let Some(done) = self.ahead.pop_front() {
            return Some(Next::Ahead(done));
        }
        while self.gone.remove(&self.next) {
            self.next += 1;
        }
        let first = self.held.first_entry().filter(|entry| *entry.key() == self.next)?;
        let parts = first.get()[0].share.as_ref().map_or(1, |share| share.parts);
        if first.get().len() < parts {
            return None;
        }
        self.next += 1;
        Some(Next::InOrder(first.remove()))
    }
}

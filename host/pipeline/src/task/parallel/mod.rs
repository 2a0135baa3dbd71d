//! A stage that keeps something, with several lanes: a dispatcher divides the batches among them
//! by a column, each lane processes its part, and an emitter sends the answers on, in order
//! unless `ordered` is off.

mod dispatcher;
mod emitter;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::checkpoint::Reporter;
use crate::flow::inlet::Inlet;
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::run::Task;
use crate::task::rejections::Rejections;
use crate::task::stage::{advance, finish, process, save};
use dispatcher::{Dispatcher, Divider};
use emitter::Emitter;
use pipehost_config::Partition;
use pipehost_record::{Batch, RowNumbers};
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::{Worker, WorkerState};

/// Work for a worker.
enum Job {
    /// The worker's part of a batch.
    Batch { number: u64, batch: Batch, rows: RowNumbers, share: Share },
    /// A new watermark.
    Watermark { number: u64, watermark: i64, share: Share },
    /// A checkpoint, sent when nothing else is in flight.
    Save { number: u64, barrier: u64, share: Share },
    /// The input has ended; `finishes`: the worker calls `finish`; `is_heard`: it saves its state.
    End { number: u64, close: StreamEnd, finishes: bool, is_heard: bool },
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

/// How the state of a stage is divided among its workers.
#[derive(Clone)]
pub(crate) enum Divided {
    /// Each has its own, by a hash of this column.
    Workers(Partition),
    /// Each has some key groups of this column.
    KeyGroups { by: Partition, held: Vec<Range<u32>> },
}

/// The tasks of a stage with several workers.
pub(crate) struct Parallel {
    pub workers: Vec<Worker>,
    pub inlet: Inlet,
    pub outlet: Outlet,
    pub rejections: Rejections,
    pub reporter: Reporter,
    pub divided: Divided,
    pub ordered: bool,
    /// Whether the component handles watermarks.
    pub timed: bool,
    /// As `finished` of a stage with one worker.
    pub finished: bool,
    /// Whether the component keeps something that cannot be saved.
    pub keeps_unsaved: bool,
}

impl Parallel {
    /// The futures to spawn.
    pub(crate) fn tasks(self) -> Vec<Task> {
        let Self { workers, inlet, outlet, rejections, reporter, divided, ordered, .. } = self;
        // Twice the workers: one batch each in process, and as many finished ones that wait for an
        // earlier batch. This also bounds the resequencer.
        let window = 2 * workers.len();
        let (done, answers) = mpsc::channel(window);
        let mut queues = Vec::new();
        let mut tasks: Vec<Task> = Vec::new();
        let count = workers.len();
        for (number, worker) in workers.into_iter().enumerate() {
            let (queue, jobs) = mpsc::channel(1);
            queues.push(queue);
            tasks.push(Box::pin(work(number, worker, jobs, done.clone(), rejections.clone())));
        }
        let held = match &divided {
            Divided::Workers(_) => None,
            Divided::KeyGroups { held, .. } => Some(held.clone()),
        };
        let dispatcher = Dispatcher {
            queues,
            divider: Divider::new(divided),
            timed: self.timed,
            finished: self.finished,
            reporter: reporter.clone(),
            keeps_unsaved: self.keeps_unsaved,
            done,
        };
        tasks.push(Box::pin(dispatcher.run(inlet, window)));
        let emitter = Emitter {
            outlet,
            workers: count,
            held,
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

async fn work(
    number: usize,
    mut worker: Worker,
    mut jobs: mpsc::Receiver<Job>,
    done: mpsc::Sender<Done>,
    rejections: Rejections,
) -> TaskResult {
    loop {
        let job = jobs.recv().await.ok_or(TaskError::NeighbourGone)?;
        let last = matches!(job, Job::End { .. });
        let made = match job {
            Job::Batch { number, batch, rows, mut share } => {
                let mut answer = process(&mut worker, &batch, &rejections).await?;
                share.records -= answer.rejected.len();
                answer.renumber(&rows);
                Done { number, made: Made::Answer(answer), share: Some(share) }
            }
            Job::Watermark { number, watermark, share } => {
                let answer = advance(&mut worker, watermark, &rejections).await?;
                Done { number, made: Made::Advanced(watermark, answer), share: Some(share) }
            }
            Job::Save { number: place, barrier, share } => {
                let state = save(&mut worker, &rejections).await?;
                let made = Made::Saved { barrier, worker: number, state };
                Done { number: place, made, share: Some(share) }
            }
            Job::End { number: place, close, finishes, is_heard } => {
                let answer = match finishes {
                    true => finish(&mut worker, &rejections).await?,
                    false => Answer::default(),
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

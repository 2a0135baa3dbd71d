//! A worker: one instance, and what happens when it fails.
//!
//! A batch that fails is divided until the records at fault stand alone; those become
//! rejected rows and all the others go on, in order. A stage that exports
//! `checkpoint` gets its state back before each new attempt.

use std::sync::Arc;

use super::instance::Instance;
use super::program::{Plan, Program};
use crate::config::Retry;
use crate::failure::{Cause, Failure};
use crate::metrics::NodeMetrics;
use crate::outcome::{Answer, Rejected};
use crate::record::{Batch, MAX_ATTRIBUTES};

/// A stage that is part of this program: what benchmarks compare the sandbox with.
pub trait Native: Send {
    /// # Errors
    /// Condemns the batch, as in the contract.
    fn process(&mut self, batch: &Batch) -> Result<Answer, String>;
    /// # Errors
    /// As [`Native::process`].
    fn finish(&mut self) -> Result<Answer, String>;
}

/// Makes the instances of a stage.
#[derive(Clone)]
pub enum Runner {
    Sandboxed(Arc<Program>),
    Native { plan: Arc<Plan>, make: Arc<dyn Fn() -> Box<dyn Native> + Send + Sync> },
}

impl Runner {
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Sandboxed(program) => program.plan(),
            Self::Native { plan, .. } => plan,
        }
    }

    /// What the answers to the parts of a batch may come to.
    fn answer_limits(&self, batch: &Batch) -> Room {
        match self {
            Self::Sandboxed(program) => Room {
                bytes: program.limits.output_bytes.saturating_add(batch.bytes()),
                records: program.limits.output_records,
                attributes: MAX_ATTRIBUTES,
            },
            Self::Native { .. } => {
                Room { bytes: usize::MAX, records: usize::MAX, attributes: usize::MAX }
            }
        }
    }

    /// SHA-256 of the component; empty for a native stage.
    pub fn hash(&self) -> Arc<str> {
        match self {
            Self::Sandboxed(program) => program.hash.clone(),
            Self::Native { .. } => "".into(),
        }
    }
}

/// What is left for the answers to the parts of a batch.
struct Room {
    bytes: usize,
    records: usize,
    /// That the stage adds, counted anew for each part.
    attributes: usize,
}

impl Room {
    fn take(&mut self, answer: Answer) -> Result<Answer, Failure> {
        let batches = || answer.emitted.iter().map(|emitted| &emitted.batch);
        let bytes = batches().map(Batch::bytes).fold(0, usize::saturating_add);
        let records = batches().map(|batch| batch.len).sum();
        let left = (self.bytes.checked_sub(bytes), self.records.checked_sub(records));
        let attributes = batches().map(|batch| batch.attributes.len()).max().unwrap_or(0);
        match left {
            (Some(bytes), Some(records)) if attributes <= self.attributes => {
                (self.bytes, self.records) = (bytes, records);
                Ok(answer)
            }
            _ => {
                let message = "its answers to the parts of one batch are together more than \
                               limits.output and limits.output_records allow";
                Err(Failure::new(Cause::Output, message))
            }
        }
    }
}

enum Live {
    /// Boxed: a store is large. None after a failure, until the next call.
    Sandboxed(Option<Box<Instance>>),
    Native(Box<dyn Native>),
}

/// Batches after which the state of a stage is saved anew: what a failure repeats.
const SAVE_EVERY: usize = 64;

/// What gives a stage its state back.
#[derive(Default)]
struct Recovery {
    saved: Option<Vec<u8>>,
    since: Vec<Batch>,
}

/// One of the instances of a stage.
pub struct Worker {
    runner: Runner,
    number: usize,
    metrics: Arc<NodeMetrics>,
    retry: Option<Retry>,
    /// Whether the first record at fault ends the pipeline: then it is not worth while to
    /// look for the others.
    first_fails: bool,
    live: Live,
    recovery: Recovery,
}

impl Worker {
    /// Makes an instance and opens it.
    ///
    /// # Errors
    /// If the guest fails.
    pub async fn start(
        runner: Runner,
        number: usize,
        metrics: Arc<NodeMetrics>,
        retry: Option<Retry>,
        first_fails: bool,
    ) -> Result<Self, Failure> {
        let live = match &runner {
            Runner::Sandboxed(program) => {
                let instance = Instance::open_new(program, number, &metrics).await?;
                Live::Sandboxed(Some(Box::new(instance)))
            }
            Runner::Native { make, .. } => Live::Native(make()),
        };
        Ok(Self {
            runner,
            number,
            metrics,
            retry,
            first_fails,
            live,
            recovery: Recovery::default(),
        })
    }

    /// Processes a batch: division and retries included. What is still rejected in the
    /// answer is rejected for good.
    ///
    /// # Errors
    /// If the stage cannot be brought back after a failure.
    pub async fn process(&mut self, batch: &Batch) -> Result<Answer, Failure> {
        let mut answer = self.divide(batch).await?;
        let Some(retry) = self.retry.clone() else { return Ok(answer) };
        for attempt in 2..=retry.attempts {
            let (again, settled): (Vec<_>, Vec<_>) =
                answer.rejected.into_iter().partition(|rejected| rejected.retryable);
            answer.rejected = settled;
            if again.is_empty() {
                break;
            }
            self.metrics.retries.inc_by(again.len() as u64);
            tokio::time::sleep(retry.delay(attempt)).await;
            let rows: Vec<u32> = again.iter().map(|rejected| rejected.row as u32).collect();
            let mut retried = self.divide(&batch.pick(Arc::new(rows.clone()))).await?;
            retried.renumber(&rows);
            for rejected in &mut retried.rejected {
                rejected.attempts = attempt;
            }
            answer = Answer::in_row_order(vec![answer, retried]);
        }
        Ok(answer)
    }

    /// Asks for what the stage still holds.
    ///
    /// # Errors
    /// If the stage fails: there is no record to blame. One whose state can be brought
    /// back is asked a second time; of another, what it held is lost.
    pub async fn finish(&mut self) -> Result<Answer, Failure> {
        let attempts: &[bool] = if self.keeps_state() { &[false, true] } else { &[true] };
        for &last in attempts {
            let result = match self.live().await? {
                Live::Native(native) => {
                    return native.finish().map_err(|e| Failure::new(Cause::Error, e));
                }
                Live::Sandboxed(instance) => instance.as_mut().expect("live").finish().await,
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(failure) if last => {
                    self.fail(&failure);
                    return Err(failure);
                }
                Err(failure) => self.fail(&failure),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn keeps_state(&self) -> bool {
        matches!(&self.runner, Runner::Sandboxed(program) if program.has_checkpoint())
    }

    /// Processes a batch, dividing it where it fails.
    async fn divide(&mut self, batch: &Batch) -> Result<Answer, Failure> {
        let mut parts = Vec::new();
        // First and last row, exclusive, of the parts still to do; the last comes next.
        let mut pending = vec![(0, batch.len)];
        // Each call has its limits; so have all the calls for one batch together.
        // Only a batch that is divided pays for counting them.
        let mut room = None;
        while let Some((start, end)) = pending.pop() {
            let whole = end - start == batch.len;
            let part = if whole { batch.clone() } else { batch.slice(start..end) };
            let attempt = self.attempt(&part).await?.and_then(|answer| match whole {
                true => Ok(answer),
                false => room.get_or_insert_with(|| self.runner.answer_limits(batch)).take(answer),
            });
            let mut answer = match attempt {
                Ok(answer) => answer,
                Err(failure) if end - start == 1 => Answer {
                    emitted: Vec::new(),
                    rejected: vec![Rejected {
                        row: 0,
                        reason: format!("{}: {}", failure.cause.name(), failure.message),
                        retryable: false,
                        attempts: 1,
                    }],
                },
                Err(_) => {
                    let middle = start + (end - start) / 2;
                    pending.extend([(middle, end), (start, middle)]);
                    continue;
                }
            };
            if !whole {
                answer.renumber(&(start as u32..end as u32).collect::<Vec<_>>());
            }
            let at_fault = answer.rejected.iter().any(|rejected| !rejected.retryable);
            parts.push(answer);
            if at_fault && self.first_fails {
                break;
            }
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Answer::in_row_order(parts) })
    }

    /// One call. The inner error is the guest's; the instance is gone then.
    async fn attempt(&mut self, batch: &Batch) -> Result<Result<Answer, Failure>, Failure> {
        let result = match self.live().await? {
            Live::Native(native) => {
                return Ok(native.process(batch).map_err(|e| Failure::new(Cause::Error, e)));
            }
            Live::Sandboxed(instance) => instance.as_mut().expect("live").process(batch).await,
        };
        match &result {
            Ok(_) => self.remember(batch).await,
            Err(failure) => self.fail(failure),
        }
        Ok(result)
    }

    /// Keeps what is needed to bring the stage back to where it is now.
    async fn remember(&mut self, batch: &Batch) {
        let Live::Sandboxed(Some(instance)) = &mut self.live else { return };
        if !instance.has_checkpoint() {
            return;
        }
        self.recovery.since.push(batch.clone());
        if self.recovery.since.len() >= SAVE_EVERY {
            match instance.save().await {
                Ok(saved) => {
                    self.recovery.saved = saved;
                    self.recovery.since.clear();
                }
                // The answer is good; what was saved before still leads to it.
                Err(failure) => self.fail(&failure),
            }
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.metrics.failure(failure.cause).inc();
        tracing::debug!(worker = self.number, "an instance failed: {failure}");
        self.live = Live::Sandboxed(None);
    }

    /// The instance; after a failure a new one, in the state of the old one before
    /// the batch that failed.
    async fn live(&mut self) -> Result<&mut Live, Failure> {
        if let (Live::Sandboxed(None), Runner::Sandboxed(program)) = (&self.live, &self.runner) {
            let mut instance = Instance::open_new(program, self.number, &self.metrics).await?;
            if let Some(saved) = &self.recovery.saved {
                instance.restore(saved).await?;
            }
            for batch in &self.recovery.since {
                instance.process(batch).await?;
            }
            if !self.recovery.since.is_empty() {
                // The next failure then repeats nothing of this.
                self.recovery.saved = instance.save().await?;
                self.recovery.since.clear();
            }
            self.live = Live::Sandboxed(Some(Box::new(instance)));
        }
        Ok(&mut self.live)
    }
}

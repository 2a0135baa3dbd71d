//! A worker: one instance, and what happens when it fails.
//!
//! A batch that fails is divided until the records at fault stand alone; those become
//! rejected rows and all the others go on, in order. A stage that exports
//! `checkpoint` gets its state back before each new attempt.

use std::sync::Arc;
use std::time::Duration;

use super::failure::{Cause, Failure};
use super::instance::Instance;
use super::program::{Plan, Program};
use crate::metrics::NodeMetrics;
use crate::outcome::{Answer, Rejected};
use crate::record::Batch;

/// How often a retryable rejection is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one, with jitter.
    pub backoff: Duration,
    pub max_backoff: Duration,
}

impl Retry {
    /// Waits before attempt `attempt` (2 for the first retry): between half the
    /// backoff and the whole ("equal jitter").
    fn delay(&self, attempt: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (attempt - 2).min(30));
        doubled.min(self.max_backoff).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

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

    /// SHA-256 of the component; empty for a native stage.
    pub fn hash(&self) -> Arc<str> {
        match self {
            Self::Sandboxed(program) => program.hash.clone(),
            Self::Native { .. } => "".into(),
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
    ) -> Result<Self, Failure> {
        let live = match &runner {
            Runner::Sandboxed(program) => {
                let instance = Instance::open_new(program, number, &metrics).await?;
                Live::Sandboxed(Some(Box::new(instance)))
            }
            Runner::Native { make, .. } => Live::Native(make()),
        };
        Ok(Self { runner, number, metrics, retry, live, recovery: Recovery::default() })
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
    /// If the stage fails twice in a row: there is no record to blame.
    pub async fn finish(&mut self) -> Result<Answer, Failure> {
        for last in [false, true] {
            let result = match self.live().await? {
                Live::Native(native) => {
                    return native.finish().map_err(|e| Failure::new(Cause::Error, e));
                }
                Live::Sandboxed(instance) => instance.as_mut().expect("live").finish().await,
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(failure) if last => return Err(failure),
                Err(failure) => self.fail(&failure),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Processes a batch, dividing it where it fails.
    async fn divide(&mut self, batch: &Batch) -> Result<Answer, Failure> {
        let mut parts = Vec::new();
        // First and last row, exclusive, of the parts still to do; the last comes next.
        let mut pending = vec![(0, batch.len)];
        while let Some((start, end)) = pending.pop() {
            let range = start..end;
            let whole = range.len() == batch.len;
            let part = if whole { batch.clone() } else { batch.slice(range.clone()) };
            let mut answer = match self.attempt(&part).await? {
                Ok(answer) => answer,
                Err(failure) if range.len() == 1 => Answer {
                    emitted: Vec::new(),
                    rejected: vec![Rejected {
                        row: 0,
                        reason: format!("{}: {}", failure.cause.name(), failure.message),
                        retryable: false,
                        attempts: 1,
                    }],
                },
                Err(_) => {
                    let middle = start + range.len() / 2;
                    pending.extend([(middle, end), (start, middle)]);
                    continue;
                }
            };
            if !whole {
                answer.renumber(&(start as u32..end as u32).collect::<Vec<_>>());
            }
            parts.push(answer);
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
            Ok(_) => self.remember(batch).await?,
            Err(failure) => self.fail(failure),
        }
        Ok(result)
    }

    /// Keeps what is needed to bring the stage back to where it is now.
    async fn remember(&mut self, batch: &Batch) -> Result<(), Failure> {
        let Live::Sandboxed(Some(instance)) = &mut self.live else { return Ok(()) };
        if !instance.has_checkpoint() {
            return Ok(());
        }
        self.recovery.since.push(batch.clone());
        if self.recovery.since.len() >= SAVE_EVERY {
            self.recovery.saved = instance.save().await?;
            self.recovery.since.clear();
        }
        Ok(())
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
            self.live = Live::Sandboxed(Some(Box::new(instance)));
        }
        Ok(&mut self.live)
    }
}

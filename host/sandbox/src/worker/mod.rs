//! A worker: one instance, and what happens when it fails.
//!
//! A batch that fails is halved until each record at fault stands alone. These become rejected
//! rows, and all other records go on, in order. A stage that exports `checkpoint` gets its state
//! back before each new attempt.

mod breaker;
mod budget;
mod recovery;

use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::contract::outcome::{Answer, Emitted};
use crate::contract::plan::{Keeps, Plan};
use crate::contract::state::{KeyGroups, Saved, SavedBy};
use crate::host::{self, GuestLog};
use crate::instance::Failure;
use crate::instance::Instance;
use crate::program::Program;
pub use breaker::Breaker;
use breaker::NotAdmitted;
use budget::OutputBudget;
use pipehost_config::Retry;
use pipehost_observe::metrics::{Activity, Cause, NodeMetrics};
use pipehost_observe::tap;
use pipehost_record::{Batch, Rejected};
use recovery::Recovery;
pub use recovery::WorkerState;

/// A stage compiled into this program: benchmarks compare the sandbox with it.
#[cfg(feature = "native")]
pub trait Native: Send {
    /// # Errors
    /// If the whole batch fails, as in the contract.
    fn process(&mut self, batch: &Batch) -> Result<Answer>;
    /// # Errors
    /// As [`Native::process`].
    fn finish(&mut self) -> Result<Answer>;
}

/// Makes the instances of a stage.
#[derive(Clone)]
pub enum Runner {
    Sandboxed(Arc<Program>),
    #[cfg(feature = "native")]
    Native {
        plan: Arc<Plan>,
        make: Arc<dyn Fn() -> Box<dyn Native> + Send + Sync>,
    },
}

impl Runner {
    /// The program of a sandboxed stage; `None` for a native one.
    pub fn program(&self) -> Option<&Arc<Program>> {
        match self {
            Self::Sandboxed(program) => Some(program),
            #[cfg(feature = "native")]
            Self::Native { .. } => None,
        }
    }

    pub fn plan(&self) -> &Plan {
        match self {
            Self::Sandboxed(program) => program.plan(),
            #[cfg(feature = "native")]
            Self::Native { plan, .. } => plan,
        }
    }

    /// Whether the stage receives watermarks.
    pub fn has_watermark(&self) -> bool {
        self.program().is_some_and(|program| program.component().has_watermark())
    }

    /// The output budget for all parts of a batch together.
    fn answer_limits(&self, batch: &Batch) -> OutputBudget {
        match self {
            Self::Sandboxed(program) => OutputBudget::new(&program.component().limits, batch),
            #[cfg(feature = "native")]
            Self::Native { .. } => OutputBudget::endless(),
        }
    }

    /// Whether the stage has a state that is saved.
    pub fn keeps_state(&self) -> bool {
        self.program().is_some_and(|program| program.component().has_checkpoint())
            && self.keeps_something()
    }

    /// Whether the stage keeps anything between calls, or does not say that it keeps nothing.
    pub fn keeps_something(&self) -> bool {
        self.plan().keeps != Keeps::Nothing
    }

    /// Whether the stage keeps something, or does not say that it keeps nothing, and has no state
    /// that is saved.
    pub fn keeps_unsaved(&self) -> bool {
        self.keeps_something() && !self.keeps_state()
    }

    /// Who a state of this stage is saved by.
    pub fn saves_as(&self) -> SavedBy {
        self.program().map(|program| program.saves_as().clone()).unwrap_or_default()
    }

    /// SHA-256 of the component; empty for a native stage.
    pub fn hash(&self) -> Arc<str> {
        match self {
            Self::Sandboxed(program) => program.component().hash.clone(),
            #[cfg(feature = "native")]
            Self::Native { .. } => "".into(),
        }
    }
}

enum Live {
    /// Boxed because a store is large. `None` from a failure until the next call.
    Sandboxed(Option<Box<Instance>>),
    #[cfg(feature = "native")]
    Native(Box<dyn Native>),
}

/// How a worker handles failures, and the state that it starts from.
#[derive(Clone, Default)]
pub struct WorkerOptions {
    pub retry: Option<Retry>,
    /// Whether the first record at fault ends the pipeline: then the rest of the batch is not
    /// searched for more.
    pub first_fails: bool,
    pub breaker: Option<Arc<Breaker>>,
    /// The key groups that the worker holds.
    pub groups: KeyGroups,
    /// The state of these groups that was saved before.
    pub saved: Option<Saved>,
}

/// How often a worker looks where a guest is whose time runs out.
const LOCATE: Duration = Duration::from_secs(60);
/// Fuel that a guest has used which computes, and does not wait.
const WORTH_LOCATING: u64 = 10 * host::FUEL;

/// One of the instances of a stage.
pub struct Worker {
    runner: Runner,
    number: usize,
    metrics: Arc<NodeMetrics>,
    retry: Option<Retry>,
    first_fails: bool,
    breaker: Option<Arc<Breaker>>,
    live: Live,
    recovery: Recovery,
    /// When it last looked where a guest is whose time runs out.
    located: Option<Instant>,
    /// Its instance could not be replaced when its memory neared its limit.
    is_not_renewed: bool,
    /// Its rate limit belongs to the worker: a guest that crashes does not get a new one.
    log: Option<GuestLog>,
}

impl Worker {
    /// Makes an instance and opens it.
    ///
    /// # Errors
    /// If the guest fails, or refuses the state of an earlier run.
    pub async fn start(
        runner: Runner,
        number: usize,
        metrics: Arc<NodeMetrics>,
        options: WorkerOptions,
    ) -> Result<Self, Failure> {
        let log = runner.program().map(|program| program.log(number, &metrics));
        let live = match &runner {
            Runner::Sandboxed(_) => Live::Sandboxed(None),
            #[cfg(feature = "native")]
            Runner::Native { make, .. } => Live::Native(make()),
        };
        let WorkerOptions { retry, first_fails, breaker, groups, saved } = options;
        let recovery = Recovery::new(groups, saved);
        let mut worker = Self {
            runner,
            number,
            metrics,
            retry,
            first_fails,
            breaker,
            live,
            recovery,
            located: None,
            is_not_renewed: false,
            log,
        };
        worker.live().await?;
        Ok(worker)
    }

    /// Whether the first record at fault ends the pipeline: see [`WorkerOptions::first_fails`].
    pub fn ends_at_first_fault(&mut self, ends: bool) {
        self.first_fails = ends;
    }

    /// Processes a batch, with division and retries. Records still rejected in the answer are
    /// rejected for good.
    ///
    /// # Errors
    /// If the stage cannot be restored after a failure, or its breaker ends the pipeline. The
    /// message begins with the stage.
    pub async fn process(&mut self, batch: &Batch) -> Result<Answer> {
        self.renew_if_full().await;
        let answer = self.retried(batch).await?;
        self.metrics.tap.call(batch.len, || tap::Call {
            before: batch.clone(),
            after: answer.emitted.iter().map(Emitted::seen).collect(),
            rejected: answer.rejected.clone(),
        });
        Ok(answer)
    }

    /// Processes a batch, and again what may succeed later.
    async fn retried(&mut self, batch: &Batch) -> Result<Answer> {
        let mut answer = self.divide(batch, None).await?;
        let Some(retry) = self.retry.clone() else { return Ok(answer) };
        // All attempts together may answer as much as one call.
        let mut budget: Option<OutputBudget> = None;
        for attempt in (2..).take_while(|attempt| !retry.is_over(attempt - 1)) {
            let (again, settled): (Vec<_>, Vec<_>) =
                answer.rejected.into_iter().partition(|rejected| rejected.retryable);
            answer.rejected = settled;
            if again.is_empty() {
                break;
            }
            self.metrics.retries.inc_by(again.len() as u64);
            let wait = tokio::time::sleep(retry.delay(attempt));
            self.metrics.waiting(Activity::WaitingToRetry, wait).await;
            let rows: Vec<u32> = again.iter().map(|rejected| rejected.row as u32).collect();
            let budget = budget.get_or_insert_with(|| {
                let mut budget = self.runner.answer_limits(batch);
                budget.spend(&answer);
                budget
            });
            let mut retried =
                self.divide(&batch.pick(Arc::new(rows.clone())), Some(budget)).await?;
            retried.renumber(&rows);
            for rejected in &mut retried.rejected {
                rejected.attempts = attempt;
            }
            answer = Answer::in_row_order(vec![answer, retried]);
        }
        Ok(answer)
    }

    /// Calls `finish`, in which the stage emits what it still holds.
    ///
    /// # Errors
    /// If the stage fails: no record is to blame. A stage with a saved state is restored and called
    /// a second time; what any other stage held is lost.
    pub async fn finish(&mut self) -> Result<Answer, Failure> {
        let answer = self.twice(Call::Finish).await?.answer;
        self.recovery.finished();
        Ok(answer)
    }

    /// Passes a watermark to the stage.
    ///
    /// # Errors
    /// As [`Worker::finish`].
    pub async fn advance(&mut self, watermark: i64) -> Result<Answer, Failure> {
        let answer = self.twice(Call::Advance(watermark)).await?.answer;
        if self.keeps_state() {
            self.recovery.saw_watermark(watermark);
            self.save_if_long().await;
        }
        Ok(answer)
    }

    /// The state of the stage, for a checkpoint.
    ///
    /// # Errors
    /// As [`Worker::finish`].
    pub async fn state(&mut self) -> Result<WorkerState, Failure> {
        if self.keeps_state() && self.recovery.has_changed() {
            let saved = self.twice(Call::Save).await?.saved;
            self.recovery.save(saved);
        }
        Ok(self.recovery.changed_state())
    }

    pub fn plan(&self) -> &Plan {
        self.runner.plan()
    }

    /// As [`Runner::keeps_something`].
    pub fn keeps_something(&self) -> bool {
        self.runner.keeps_something()
    }

    /// As [`Runner::keeps_unsaved`].
    pub fn keeps_unsaved(&self) -> bool {
        self.runner.keeps_unsaved()
    }

    /// The key groups that it holds.
    pub fn groups(&self) -> &KeyGroups {
        self.recovery.groups()
    }

    /// The state of the stage as it is now, for other workers to go on with. `None` if it keeps
    /// none.
    ///
    /// # Errors
    /// As [`Worker::finish`].
    pub async fn saved(&mut self) -> Result<Option<Saved>, Failure> {
        if self.keeps_state() && self.recovery.has_calls() {
            let saved = self.twice(Call::Save).await?.saved;
            self.recovery.save(saved);
        }
        Ok(self.recovery.saved().cloned())
    }

    /// Makes a call that no record is to blame for. If it fails, tries a second time if the state
    /// can be restored.
    async fn twice(&mut self, call: Call) -> Result<Reply, Failure> {
        if self.keeps_state()
            && let Ok(reply) = self.once(call).await
        {
            return Ok(reply);
        }
        self.once(call).await
    }

    async fn once(&mut self, call: Call) -> Result<Reply, Failure> {
        let groups = self.recovery.groups().clone();
        let by = self.runner.saves_as();
        let replied = match (self.live().await?, call) {
            #[cfg(feature = "native")]
            (Live::Native(native), Call::Finish) => native
                .finish()
                .map(Reply::from)
                .map_err(|error| Failure::new(Cause::Error, format!("{error:#}"))),
            #[cfg(feature = "native")]
            (Live::Native(_), Call::Advance(_) | Call::Save) => Ok(Reply::default()),
            (Live::Sandboxed(instance), call) => {
                let instance = instance.as_mut().expect("live");
                let reply = match call {
                    Call::Finish => instance.finish().await.map(Reply::from),
                    Call::Advance(watermark) => instance.advance(watermark).await.map(Reply::from),
                    Call::Save => (instance.save(&groups).await).map(|groups| Reply {
                        answer: Answer::default(),
                        saved: groups.map(|groups| Saved { groups, by }),
                    }),
                };
                // What it tells while it saves is of no answer.
                if reply.is_ok() && !matches!(call, Call::Save) {
                    instance.count_own_metrics();
                }
                reply
            }
        };
        if let Err(failure) = &replied {
            self.fail(failure);
        }
        replied
    }

    fn keeps_state(&self) -> bool {
        self.runner.keeps_state()
    }

    /// Processes a batch; divides it if it fails.
    async fn divide(
        &mut self,
        batch: &Batch,
        mut budget: Option<&mut OutputBudget>,
    ) -> Result<Answer> {
        match self.admitted(batch, budget.as_deref_mut()).await {
            Ok(answer) => Ok(answer), // The usual case.
            Err(PartFailure::Fatal(why)) => Err(why),
            Err(PartFailure::Refused(reason)) => Ok(reject_all(batch.len, &reason)),
            Err(PartFailure::Failed(failure)) if batch.len == 1 => Ok(rejected(&failure)),
            Err(PartFailure::Failed(failure)) => {
                let (answer, all_passed) = match budget {
                    Some(budget) => self.halves(batch, budget).await,
                    // Each call has its limits, and so have all calls for one batch together.
                    None => {
                        let mut budget = self.runner.answer_limits(batch);
                        self.halves(batch, &mut budget).await
                    }
                }?;
                if all_passed {
                    self.metrics.rescued(failure.cause).inc();
                }
                Ok(answer)
            }
        }
    }

    /// Processes the halves of a batch that failed as a whole. Also returns whether no record had to
    /// be rejected for a failure.
    async fn halves(&mut self, batch: &Batch, budget: &mut OutputBudget) -> Result<(Answer, bool)> {
        let mut parts: Vec<Answer> = Vec::new();
        let mut all_passed = true;
        let mut reason = "".into();
        // Ranges of rows still to process, the end exclusive; the last one comes next.
        let middle = batch.len / 2;
        let mut pending = vec![(middle, batch.len), (0, middle)];
        while let Some((start, end)) = pending.pop() {
            let part = batch.slice(start..end);
            let mut answer = match self.admitted(&part, Some(&mut *budget)).await {
                Ok(answer) => answer,
                Err(PartFailure::Fatal(why)) => return Err(why),
                Err(PartFailure::Refused(reason)) => {
                    all_passed = false;
                    reject_all(part.len, &reason)
                }
                Err(PartFailure::Failed(failure)) if end - start == 1 => {
                    all_passed = false;
                    rejected(&failure)
                }
                Err(PartFailure::Failed(_)) => {
                    let middle = start + (end - start) / 2;
                    pending.extend([(middle, end), (start, middle)]);
                    continue;
                }
            };
            budget.keep_reasons(&mut answer, &mut reason);
            answer.renumber(&(start as u32..end as u32).collect::<Vec<_>>());
            let at_fault = answer.rejected.iter().any(|rejected| !rejected.retryable);
            match parts.last_mut() {
                // Merged, because there may be as many such answers as records.
                Some(last) if answer.emitted.is_empty() => last.rejected.extend(answer.rejected),
                _ => parts.push(answer),
            }
            if at_fault && self.first_fails {
                break;
            }
        }
        let answer =
            if parts.len() == 1 { parts.swap_remove(0) } else { Answer::in_row_order(parts) };
        Ok((answer, all_passed))
    }

    /// Makes one call, if the breaker admits it.
    async fn admitted(
        &mut self,
        batch: &Batch,
        budget: Option<&mut OutputBudget>,
    ) -> Result<Answer, PartFailure> {
        let breaker = self.breaker.clone();
        if let Some(breaker) = &breaker {
            match breaker.admit().await {
                Ok(()) => {}
                Err(NotAdmitted::Records(reason)) => return Err(PartFailure::Refused(reason)),
                Err(NotAdmitted::Pipeline(why)) => {
                    return Err(PartFailure::Fatal(anyhow!("{why} (breaker)")));
                }
            }
        }
        let result = self.attempt(batch, budget).await;
        match (&breaker, &result) {
            (Some(breaker), Ok(_)) => breaker.success(),
            (Some(breaker), Err(PartFailure::Failed(failure))) => breaker.failure(failure),
            _ => {}
        }
        result
    }

    /// Makes one call. After a failure of it, the instance is gone.
    async fn attempt(
        &mut self,
        batch: &Batch,
        budget: Option<&mut OutputBudget>,
    ) -> Result<Answer, PartFailure> {
        let lost = |why| PartFailure::Fatal(anyhow!("cannot be restored after a failure: {why}"));
        let result = match self.live().await.map_err(lost)? {
            #[cfg(feature = "native")]
            Live::Native(native) => {
                let start = Instant::now();
                let answer = native.process(batch);
                self.metrics.spent(Activity::Working, start.elapsed());
                return answer.map_err(|error| {
                    let cause = Cause::Error;
                    PartFailure::Failed(Failure::new(cause, format!("{error:#}")))
                });
            }
            Live::Sandboxed(instance) => instance.as_mut().expect("live").process(batch).await,
        };
        let result = result.and_then(|answer| match budget {
            Some(budget) => budget.take(answer),
            None => Ok(answer),
        });
        if let (Ok(_), Live::Sandboxed(Some(instance))) = (&result, &mut self.live) {
            instance.count_own_metrics();
        }
        match &result {
            Ok(_) if self.keeps_state() => {
                self.recovery.saw_batch(batch);
                self.save_if_long().await;
            }
            Ok(_) => {}
            Err(failure) => self.fail(failure),
        }
        match result {
            Err(failure) if failure.cause == Cause::Timeout && batch.len == 1 => {
                let place = self.locate(batch, &failure).await.unwrap_or_default();
                Err(PartFailure::Failed(failure.at(&place)))
            }
            result => result.map_err(PartFailure::Failed),
        }
    }

    /// Where the guest was when its time ran out: a call that is dropped does not tell it. So the
    /// record is given again, with an eighth of the fuel that the call had used by then. Once in
    /// [`LOCATE`] at most, as this takes time; never if the guest has hardly computed, or may do
    /// something to the world again.
    async fn locate(&mut self, batch: &Batch, failure: &Failure) -> Option<String> {
        let changes_the_world = self.runner.program()?.component().grants.change_the_world();
        let is_recent = self.located.is_some_and(|at| at.elapsed() < LOCATE);
        if failure.fuel < WORTH_LOCATING || changes_the_world || is_recent {
            return None;
        }
        self.located = Some(Instant::now());
        let Live::Sandboxed(Some(instance)) = self.live().await.ok()? else { return None };
        let place = instance.place_after(batch, failure.fuel / 8).await;
        self.live = Live::Sandboxed(None);
        place
    }

    /// Replaces an instance whose memory nears its limit by a new one with the same state. What an
    /// instance holds unsaved would be lost, so such a one goes on; so does one that cannot be
    /// replaced.
    async fn renew_if_full(&mut self) {
        let Live::Sandboxed(Some(instance)) = &mut self.live else { return };
        if !instance.is_nearly_full() || self.runner.keeps_unsaved() || self.is_not_renewed {
            return;
        }
        if self.runner.keeps_state() && self.recovery.has_calls() {
            match instance.save(self.recovery.groups()).await {
                Ok(groups) => {
                    let by = self.runner.saves_as();
                    self.recovery.save(groups.map(|groups| Saved { groups, by }));
                }
                Err(failure) => return self.fail(&failure), // It is restored as after any failure.
            }
        }
        let (Some(program), Some(log)) = (self.runner.program().cloned(), self.log.clone()) else {
            return;
        };
        let renewed = async {
            let mut instance = program.instance(log, &self.metrics).await?;
            self.recovery.restore(&mut instance, program.saves_as()).await?;
            Ok::<_, Failure>(instance)
        };
        match renewed.await {
            Ok(instance) => {
                self.live = Live::Sandboxed(Some(Box::new(instance)));
                self.metrics.renewed.inc();
            }
            Err(failure) => {
                let stage = &*program.component().name;
                tracing::warn!(
                    stage,
                    worker = self.number,
                    "its memory nears limits.memory, and its instance cannot be replaced: {failure}"
                );
                self.is_not_renewed = true;
            }
        }
    }

    async fn save_if_long(&mut self) {
        if let Live::Sandboxed(Some(instance)) = &mut self.live
            && self.recovery.is_long()
        {
            match instance.save(self.recovery.groups()).await {
                Ok(groups) => {
                    let by = self.runner.saves_as();
                    self.recovery.save(groups.map(|groups| Saved { groups, by }));
                }
                // The answer is valid, and the state saved before still leads to it.
                Err(failure) => self.fail(&failure),
            }
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.metrics.failure(failure.cause).inc();
        if let Some(program) = self.runner.program() {
            let stage = &*program.component().name;
            tracing::debug!(stage, worker = self.number, "an instance failed: {failure}");
            self.live = Live::Sandboxed(None);
        }
    }

    /// The instance. After a failure, a new one that is restored to the state before the batch that
    /// failed.
    async fn live(&mut self) -> Result<&mut Live, Failure> {
        if let (Live::Sandboxed(None), Some(program), Some(log)) =
            (&self.live, self.runner.program(), &self.log)
        {
            let mut instance = program.instance(log.clone(), &self.metrics).await?;
            self.recovery.restore(&mut instance, program.saves_as()).await?;
            self.live = Live::Sandboxed(Some(Box::new(instance)));
        }
        Ok(&mut self.live)
    }
}

/// A call without records.
#[derive(Clone, Copy)]
enum Call {
    Finish,
    Advance(i64),
    Save,
}

#[derive(Default)]
struct Reply {
    answer: Answer,
    saved: Option<Saved>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, saved: None }
    }
}

/// Why there is no answer for a part of a batch.
enum PartFailure {
    /// The pipeline cannot go on.
    Fatal(anyhow::Error),
    Failed(Failure),
    /// The breaker did not admit the call.
    Refused(String),
}

/// The answer for a record that made the stage fail.
fn rejected(failure: &Failure) -> Answer {
    reject_all(1, &format!("{}: {}", failure.cause.name(), failure.message))
}

fn reject_all(rows: usize, reason: &str) -> Answer {
    let reason: Arc<str> = reason.into();
    let rejected = |row| Rejected { row, reason: reason.clone(), retryable: false, attempts: 1 };
    Answer { emitted: Vec::new(), rejected: (0..rows).map(rejected).collect() }
}

//! One instance: its calls, each under the stage's limits.

#[cfg(test)]
mod arbitrary_guests;
mod classify;
mod exports;
mod failure;
mod hint;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::component::TypedFunc;
use wasmtime::{Store, UpdateDeadline, WasmBacktrace};

use crate::compile::Metering;
use crate::component::Component;
use crate::contract::Violation;
use crate::contract::bindings::{declarations, records};
use crate::contract::outcome::{self, Answer};
use crate::contract::plan::{Given, Keeps, Plan};
use crate::contract::state::{
    self, CrossingState, GivenGroups, GroupState, KeyGroups, Saved, SavedBy,
};
use crate::engine::EPOCH;
use crate::host::{self, GuestLog, Host, Turns};
use crate::threads::stopped;
use classify::classify;
pub(crate) use exports::ExportsPre;
use exports::{Answered, Exports};
pub use failure::Failure;
use hint::Hints;
use pipehost_config::Partition;
use pipehost_config::limits::Limits;
use pipehost_observe::metrics::{Activity, Cause, NodeMetrics};
use pipehost_record::Batch;
use pipehost_record::foreign::Foreign;

type Save = TypedFunc<(GivenGroups,), (Result<Vec<CrossingState>, String>,)>;
type Restore = TypedFunc<(Vec<CrossingState>, SavedBy), (Result<(), String>,)>;

/// The description that a component returns.
#[derive(Debug, Clone)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// The JSON Schema of its configuration, as text.
    pub config_schema: String,
}

/// An instance of a stage, used by one worker.
pub(crate) struct Instance {
    store: Store<Host>,
    exports: Exports,
    checkpoint: Option<(Save, Restore)>,
    name: Arc<str>,
    limits: Limits,
    plan: Plan,
    metrics: Arc<NodeMetrics>,
    turns: Turns,
    hints: Hints,
    /// What this instance has added to the memory gauge.
    memory: usize,
    calls: u32,
    /// Its memory after its first batch.
    first_memory: usize,
    /// Total time of the calls that were measured: in the guest, and overall.
    measured: (Duration, Duration),
}

/// One call in this many is measured in detail: measuring costs some of the time that it measures.
const LOOK_AT: u32 = 32;

/// An instance is not replaced for its memory before it has processed this many batches: one that
/// needs nearly all of it for each batch would be replaced for each.
const RENEW_AFTER: u32 = 64;

impl Instance {
    /// Instantiates a component. Start functions run here, under the limits.
    ///
    /// # Errors
    /// If a start function fails or breaks a limit.
    pub(crate) async fn start(
        component: &Component,
        log: GuestLog,
        metrics: &Arc<NodeMetrics>,
    ) -> Result<Self, Failure> {
        let limits = component.limits.clone();
        let metering = component.engine.metering;
        let quota = component.quota.clone();
        let servers = component.servers.clone();
        let host = Host::new(&component.grants, &limits, metering, quota, servers, log.clone())
            .map_err(|error| Failure::new(Cause::Error, format!("{error:#}")))?;
        let turns = host.turn.turns();
        let mut store = Store::new(&component.engine.wasmtime, host);
        store.limiter_async(|host| &mut host.memory);
        store.call_hook(host::cross);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_max_component_handles(1000);
        match metering {
            Metering::Fuel => {
                store.fuel_async_yield_interval(Some(host::FUEL)).expect("this engine counts fuel")
            }
            Metering::Epochs => {
                let turns = turns.clone();
                store.epoch_deadline_callback(move |_| turns.after_tick());
            }
        }
        if let Some(profile) = component.engine.profile.clone() {
            let (stage, yields, turns) = (component.name.clone(), metering, turns.clone());
            store.epoch_deadline_callback(move |store| {
                let stack = WasmBacktrace::capture(store);
                let functions = stack.frames().iter().rev().map(|f| f.func_name().unwrap_or("?"));
                profile.sample(&stage, functions);
                match yields {
                    Metering::Fuel => Ok(UpdateDeadline::Continue(1)),
                    Metering::Epochs => turns.after_tick(),
                }
            });
        }
        // If nothing increments the epoch, this deadline never comes.
        store.set_epoch_deadline(1);
        arm(&mut store, limits.lifecycle_fuel());
        let made = async {
            let instance = component.pre.instance_pre().instantiate_async(&mut store).await?;
            let advance = component.advance.as_ref();
            let exports = Exports::new(&component.pre, &mut store, &instance, advance)?;
            let checkpoint = match &component.checkpoint {
                None => None,
                Some((save, restore)) => Some((
                    instance.get_typed_func(&mut store, save)?,
                    instance.get_typed_func(&mut store, restore)?,
                )),
            };
            Ok((exports, checkpoint))
        };
        let made = within(&limits, &log, &turns, made).await.0;
        count_fuel(&mut store, limits.lifecycle_fuel(), metrics);
        let (exports, checkpoint) = made?;
        let mut instance = Self {
            store,
            exports,
            checkpoint,
            name: component.name.clone(),
            limits,
            plan: Plan::default(),
            metrics: metrics.clone(),
            turns,
            hints: Hints::of(component),
            memory: 0,
            calls: 0,
            first_memory: 0,
            measured: Default::default(),
        };
        instance.count_memory();
        Ok(instance)
    }

    pub(crate) async fn describe(&mut self) -> Result<Description, Failure> {
        let described = self
            .call(self.limits.lifecycle_fuel(), async |store, exports| {
                exports.describe(store).await
            })
            .await?;
        Ok(Description {
            name: Foreign::new(&described.name).to_string(),
            version: Foreign::new(&described.version).to_string(),
            summary: Foreign::new(&described.summary).to_string(),
            config_schema: described.config_schema,
        })
    }

    pub(crate) async fn open(&mut self, config: &str) -> Result<Plan, Failure> {
        let plan = self
            .call(self.limits.lifecycle_fuel(), async |store, exports| {
                exports.open(store, config).await
            })
            .await?
            .map_err(|refusal| Failure::new(Cause::Error, self.hints.with(refusal)))?;
        let plan = Plan {
            timestamps: plan.reads.timestamps,
            key: plan.reads.key,
            value: plan.reads.value,
            attributes: plan.reads.attributes,
            ports: plan.ports,
            inputs: plan.inputs,
            keeps: match plan.keeps {
                declarations::Keeps::Anything => Keeps::Anything,
                declarations::Keeps::Nothing => Keeps::Nothing,
                declarations::Keeps::ByKey(records::Target::Key) => Keeps::ByKey(Partition::Key),
                declarations::Keeps::ByKey(records::Target::Value) => {
                    Keeps::ByKey(Partition::Value)
                }
                declarations::Keeps::ByKey(records::Target::Attribute(name)) => {
                    Keeps::ByKey(Partition::Attribute(name))
                }
            },
        };
        plan.check().map_err(|rule| Failure::new(Cause::Contract, rule.to_string()))?;
        self.plan = plan.clone();
        Ok(plan)
    }

    /// Calls `process` with a batch.
    ///
    /// # Errors
    /// If the guest fails, or breaks a limit or the contract. The instance must not be used again.
    pub(crate) async fn process(&mut self, batch: &Batch) -> Result<Answer, Failure> {
        let given = Given::new(&self.plan, batch);
        let fuel = self.limits.call_fuel(batch.len, given.bytes());
        self.process_with(batch, &given, fuel).await
    }

    /// Where the guest is after this much fuel, in the same call; `None` if the call ends before. The
    /// instance must not be used again.
    pub(crate) async fn place_after(&mut self, batch: &Batch, fuel: u64) -> Option<String> {
        let given = Given::new(&self.plan, batch);
        let failure = self.process_with(batch, &given, Some(fuel)).await.err()?;
        Some(failure.place).filter(|_| failure.cause == Cause::Fuel)
    }

    async fn process_with(
        &mut self,
        batch: &Batch,
        given: &Given,
        fuel: Option<u64>,
    ) -> Result<Answer, Failure> {
        // Not the first call: it touches memory for the first time, which later calls do not.
        let watched = self.calls % LOOK_AT == 1;
        self.calls = self.calls.wrapping_add(1);
        let stopwatch = &mut self.store.data_mut().stopwatch;
        (stopwatch.runs, stopwatch.in_guest) = (watched, Duration::ZERO);
        let metrics = self.metrics.clone();
        let working = metrics.begin(Activity::Working);
        let (outcome, took) = self
            .timed_call(fuel, async |store, exports| exports.process(store, batch, given).await)
            .await;
        drop(working);
        self.count_time(took);
        if self.calls == 1 {
            self.first_memory = self.memory;
        }
        self.check(Some((batch, given)), outcome?)
    }

    /// Calls `finish`, in which the stage emits what it still holds.
    ///
    /// # Errors
    /// As [`Instance::process`].
    pub(crate) async fn finish(&mut self) -> Result<Answer, Failure> {
        let finish = async |store: &mut Store<Host>, exports: &Exports| exports.finish(store).await;
        let outcome = self.call(self.state_fuel(0), finish).await?;
        self.check(None, outcome)
    }

    /// Passes a watermark to the stage; does nothing if the stage does not export `advance`.
    ///
    /// # Errors
    /// As [`Instance::process`].
    pub(crate) async fn advance(&mut self, watermark: i64) -> Result<Answer, Failure> {
        if !self.exports.has_advance() {
            return Ok(Answer::default());
        }
        let outcome = self
            .call(self.state_fuel(0), async |store, exports| {
                exports.advance(store, watermark).await
            })
            .await?;
        self.check(None, outcome)
    }

    /// The state of the key groups that the instance holds; `None` if the stage keeps none.
    pub(crate) async fn save(
        &mut self,
        groups: &KeyGroups,
    ) -> Result<Option<Vec<GroupState>>, Failure> {
        let Some((save, _)) = self.checkpoint else { return Ok(None) };
        let given = GivenGroups::from(groups);
        let saved = self
            .call(self.state_fuel(0), async |store, _| {
                Ok(save.call_async(store, (given,)).await?.0)
            })
            .await?
            .map_err(|message| Failure::new(Cause::Error, format!("save: {message}")))?;
        let saved: Vec<GroupState> = saved.into_iter().map(Into::into).collect();
        state::check(&saved, groups)
            .map_err(|rule| Failure::new(Cause::Contract, rule.to_string()))?;
        Ok(Some(saved))
    }

    /// Gives a saved state to the stage.
    ///
    /// # Errors
    /// As [`Instance::process`], or if the stage refuses the state.
    pub(crate) async fn restore(&mut self, saved: Saved) -> Result<(), Failure> {
        let Some((_, restore)) = self.checkpoint else { return Ok(()) };
        let fuel = self.state_fuel(saved.bytes());
        let version = Foreign::new(&saved.by.version).to_string();
        let groups = saved.groups.into_iter().map(Into::into).collect();
        self.call(fuel, async |store, _| Ok(restore.call_async(store, (groups, saved.by)).await?.0))
            .await?
            .map_err(|message| {
                let message =
                    format!("it refuses the state that its version {version} saved: {message}");
                Failure::new(Cause::Error, message)
            })
    }

    fn check(
        &self,
        input: Option<(&Batch, &Given)>,
        answered: Answered,
    ) -> Result<Answer, Failure> {
        let broken = |rule: Violation| {
            Failure::new(Cause::Contract, format!("its answer breaks the contract: {rule:#}"))
        };
        let outcome =
            answered.map_err(|message| Failure::new(Cause::Error, self.hints.with(message)))?;
        let mut outcome = outcome.map_err(broken)?;
        let batch = input.map(|(batch, _)| batch);
        let asked = self.store.data().asked_for_folders;
        for rejection in &mut outcome.rejected {
            rejection.reason = Foreign::new(&rejection.reason).to_string();
            if let Some(hint) = self.hints.for_reason(&rejection.reason, asked) {
                rejection.reason.push_str(hint);
            }
        }
        let limit = self.limits.output_records;
        let rows = |output| outcome::rows(batch, output);
        let answered: usize = outcome.outputs.iter().map(rows).sum();
        if answered > limit {
            let message = format!(
                "its answer has {answered} records, and limits.output_records allows {limit}"
            );
            return Err(Failure::new(Cause::Output, message));
        }
        let size = |bytes: usize| bytesize::ByteSize::b(bytes as u64);
        let allowed = self.limits.output_bytes;
        let made = outcome::made_bytes(batch, &outcome.outputs);
        if made > allowed && made > allowed.saturating_add(batch.map_or(0, Batch::held_bytes)) {
            let message = format!(
                "its answer takes {} for its outputs and their names, and limits.output allows {}",
                size(made),
                size(allowed)
            );
            return Err(Failure::new(Cause::Output, message));
        }
        let excerpts: usize =
            (outcome.outputs.iter().map(outcome::excerpt_bytes)).fold(0, usize::saturating_add);
        // Usually nothing is repeated, and the size of the batch is not needed.
        if repeats(&outcome.outputs) || excerpts > allowed {
            let most = allowed.saturating_add(batch.map_or(0, Batch::bytes));
            let inherited = inherited_bytes(batch, &outcome.outputs, most);
            if inherited.saturating_add(excerpts) > most {
                let message = format!(
                    "its answer repeats what it was given up to {}, more than limits.output allows",
                    size(inherited.saturating_add(excerpts))
                );
                return Err(Failure::new(Cause::Output, message));
            }
        }
        outcome::join(input, self.plan.ports.len(), &self.name, outcome).map_err(broken)
    }

    /// Makes one call into the guest with this much fuel, under the time limit.
    async fn call<R>(
        &mut self,
        fuel: Option<u64>,
        call: impl AsyncFnOnce(&mut Store<Host>, &Exports) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        self.timed_call(fuel, call).await.0
    }

    /// As [`Instance::call`]; also returns how long it took.
    async fn timed_call<R>(
        &mut self,
        fuel: Option<u64>,
        call: impl AsyncFnOnce(&mut Store<Host>, &Exports) -> wasmtime::Result<R>,
    ) -> (Result<R, Failure>, Duration) {
        arm(&mut self.store, fuel);
        // A tick that came while nothing ran must not count for this call.
        self.store.set_epoch_deadline(1);
        let log = self.store.data().log.clone();
        log.begin_call();
        self.store.data_mut().told.clear();
        let result =
            within(&self.limits, &log, &self.turns, call(&mut self.store, &self.exports)).await;
        let used = count_fuel(&mut self.store, fuel, &self.metrics);
        self.count_memory();
        let (result, took) = result;
        let hinted = |mut failure: Failure| {
            failure.fuel = used;
            if failure.cause == Cause::Trap {
                failure.message = self.hints.with(failure.message);
            }
            failure
        };
        (result.map_err(hinted), took)
    }

    fn count_time(&mut self, took: Duration) {
        self.metrics.duration.observe(took.as_secs_f64());
        let stopwatch = &mut self.store.data_mut().stopwatch;
        if std::mem::take(&mut stopwatch.runs) {
            self.measured.0 += stopwatch.in_guest;
            self.measured.1 += took;
        }
        let (guest, all) = self.measured;
        let share = if all.is_zero() { 1.0 } else { guest.as_secs_f64() / all.as_secs_f64() };
        let working = took.mul_f64(share.min(1.0));
        // All of the call was counted as work while it lasted.
        let copying = took.saturating_sub(working);
        self.metrics.shift(Activity::Working, Activity::Copying, copying);
    }

    /// Counts the metrics that the last call has told: its answer is accepted.
    pub(crate) fn count_own_metrics(&mut self) {
        self.metrics.count_own(&mut self.store.data_mut().told);
    }

    /// Whether its memory nears its limit, it has grown since its first batch, and it has done some
    /// work since then. Memory never shrinks, and the runtimes of some languages leak: a new
    /// instance is then better than a call that fails. One that needs so much from the first batch
    /// on is left as it is.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let limit = self.limits.memory_bytes;
        self.memory > limit / 4 * 3
            && self.memory - self.first_memory.min(self.memory) > limit / 8
            && self.calls >= RENEW_AFTER
    }

    fn state_fuel(&self, saved: usize) -> Option<u64> {
        self.limits.state_fuel(self.store.data().memory.used, saved)
    }

    fn count_memory(&mut self) {
        let used = self.store.data().memory.used;
        self.metrics.memory.add(used as i64 - self.memory as i64);
        self.memory = used;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.metrics.memory.sub(self.memory as i64);
    }
}

/// Whether a row may occur several times. If none does, an answer inherits no more than the batch
/// has.
fn repeats(outputs: &[records::Output]) -> bool {
    match outputs {
        [] | [records::Output { rows: records::Rows::All, .. }] => false,
        [records::Output { rows: records::Rows::Picked(rows), .. }] => !ascending(rows),
        _ => true,
    }
}

fn ascending(rows: &[u32]) -> bool {
    rows.is_sorted_by(|a, b| a < b)
}

/// Bytes that the rows of an answer inherit. Stops counting above `most`.
fn inherited_bytes(input: Option<&Batch>, outputs: &[records::Output], most: usize) -> usize {
    let Some(input) = input else { return 0 };
    let whole = input.bytes();
    let mut bytes = 0usize;
    for output in outputs {
        bytes = bytes.saturating_add(match &output.rows {
            records::Rows::All => whole,
            records::Rows::Picked(rows) if ascending(rows) && rows.len() * 2 > input.len => whole,
            records::Rows::Picked(rows) => input.bytes_of(rows, most),
            records::Rows::Fresh(_) => 0,
        });
        if bytes > most {
            break;
        }
    }
    bytes
}

/// Sets the fuel for a call.
fn arm(store: &mut Store<Host>, fuel: Option<u64>) {
    let yields = store.data_mut().turn.begin();
    if let Some(fuel) = fuel {
        const COUNTS: &str = "an engine that counts fuel was chosen";
        if yields {
            store.fuel_async_yield_interval(Some(host::FUEL)).expect(COUNTS);
        }
        store.set_fuel(fuel).expect(COUNTS);
    }
}

/// Returns the fuel that the guest itself has used.
fn count_fuel(store: &mut Store<Host>, fuel: Option<u64>, metrics: &NodeMetrics) -> u64 {
    let owed = store.data_mut().turn.settle();
    let Some(fuel) = fuel else { return 0 };
    let left = store.get_fuel().expect("an engine that counts fuel was chosen");
    let used = fuel.saturating_sub(left);
    metrics.fuel.inc_by(used.saturating_add(owed));
    used
}

/// Bounds the time of a call. A guest that computes yields regularly, and one in a host call waits;
/// either way, the clock is checked before the next turn.
async fn within<R>(
    limits: &Limits,
    log: &GuestLog,
    turns: &Turns,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> (Result<R, Failure>, Duration) {
    let start = Instant::now();
    let mut call = pin!(call);
    // Most calls end in their first turn, and need no timer.
    let first = poll_fn(|context| Poll::Ready(turns.poll(call.as_mut(), context))).await;
    let ended = match first {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => {
            let left = limits.timeout.saturating_sub(start.elapsed());
            let mut timer = pin!(tokio::time::sleep(left));
            let mut allowed = limits.timeout;
            poll_fn(|context| {
                // The timer wakes a guest that waits. A guest that computes may keep its thread
                // from polling timers, so the clock is checked too.
                while start.elapsed() >= allowed || timer.as_mut().poll(context).is_ready() {
                    let before = allowed;
                    allowed = limits.timeout.saturating_add(stopped::since(start));
                    if start.elapsed() >= allowed || allowed <= before {
                        return Poll::Ready(None);
                    }
                    timer.as_mut().reset((start + allowed).into());
                }
                turns.poll(call.as_mut(), context).map(Some)
            })
            .await
        }
    };
    // A guest that never yielded may answer after the timeout: that is a timeout, too.
    let took = start.elapsed();
    let late = took > limits.timeout && took - stopped::since(start) > limits.timeout;
    let has_not_ended = ended.is_none();
    let result = match ended {
        Some(Ok(result)) if !late => Ok(result),
        Some(Err(error)) => Err(classify(&error, &log.last_words())),
        Some(Ok(_)) | None => {
            let message = format!("it ran longer than {:?} (limits.timeout)", limits.timeout);
            // One that has answered, too late, must not be asked again.
            let place = if has_not_ended && turns.end_at_tick() {
                // The next tick ends it, and tells where it is; a host call may not end.
                let ended = poll_fn(|context| turns.poll(call.as_mut(), context));
                match tokio::time::timeout(200 * EPOCH, ended).await {
                    Ok(Err(error)) => classify::place(&error),
                    Ok(Ok(_)) | Err(_) => String::new(),
                }
            } else {
                String::new()
            };
            Err(Failure::new(Cause::Timeout, message).at(&place))
        }
    };
    (result, took)
}

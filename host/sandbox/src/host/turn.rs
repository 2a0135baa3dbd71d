//! Turns: what a guest does from one yield to the next, and what host calls cost.
//!
//! A guest that computes yields when its fuel reaches the next interval. A host call burns no fuel
//! by itself, so it is charged here. A guest that calls the host again and again is made to yield
//! at the next place that checks fuel (the beginning of a function or of a loop).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use wasmtime::UpdateDeadline;

use crate::compile::Metering;

/// A guest yields after this much fuel: about a millisecond.
pub(crate) const FUEL: u64 = 2_000_000;
/// Fuel of a host call, besides one unit for each byte that it moves.
const CALL_FUEL: u64 = 1_000;
/// A guest that has spent this long in host calls yields, whatever their fuel.
const TIME: Duration = Duration::from_millis(1);
/// Maximum host calls within one turn. A guest usually yields long before. One that does not has
/// neither a loop nor a function between its calls, which no compiler makes.
const MOST_CALLS: u32 = 10_000;
/// Filling more memory than this at once takes longer than a few turns.
pub(crate) const HEAVY: usize = 32 << 20;
/// Maximum bytes of the arguments of one host call: strings and lists.
pub(crate) const ARGUMENT_BYTES: usize = 1 << 20;

/// The turns of one instance.
pub(crate) struct Turn {
    metering: Metering,
    /// Maximum bytes of one answer of the guest.
    answer_bytes: usize,
    /// Counts turns: [`Turns::poll`] increments it.
    turns: Turns,
    /// The turn that the following fields belong to.
    number: u64,
    /// When the guest entered the current host call.
    entered: Option<Instant>,
    /// Time spent in host calls.
    time: Duration,
    calls: u32,
    /// Fuel that is charged but not yet taken from the store.
    owed: u64,
    /// Whether the next check of the fuel yields.
    yields: bool,
}

/// What to do at the end of a host call.
pub(crate) struct HostCallEnd {
    /// The guest has yielded as required: from now on, it yields by its own fuel again.
    pub(crate) yielded: bool,
    /// The turn is over: take this much fuel, and make the next check of the fuel yield.
    pub(crate) owed: Option<u64>,
}

/// Gives an instance its turns, and counts them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicU64,
    /// Whether the instance has so much memory that one operation on all of it is long.
    is_heavy: AtomicBool,
    /// Whether ticks make the guest yield.
    has_ticks: AtomicBool,
    /// Whether the next tick ends the call.
    is_over: AtomicBool,
    /// Whether the guest is in a call of the host, which no tick interrupts.
    is_in_host: AtomicBool,
}

/// The error that ends a call whose time is over.
#[derive(Debug)]
struct OutOfTime;

impl fmt::Display for OutOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its time is over")
    }
}

impl std::error::Error for OutOfTime {}

impl Turns {
    /// Gives a guest a turn: every poll of every guest goes through here.
    pub(crate) fn poll<F: Future>(
        &self,
        call: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // Only one thread polls an instance at a time.
        self.0.count.store(self.count() + 1, Ordering::Relaxed);
        // Filling or copying memory is not interrupted. While it lasts, another thread takes the
        // tasks that this one would have polled.
        if self.0.is_heavy.load(Ordering::Relaxed) && can_hand_over() {
            return tokio::task::block_in_place(|| call.poll(context));
        }
        call.poll(context)
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// A tick has come: the guest yields, or its call ends.
    pub(crate) fn after_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        // It waits for the tick, not for the host.
        self.0.is_in_host.store(false, Ordering::Relaxed);
        match self.0.is_over.load(Ordering::Relaxed) {
            true => Err(OutOfTime.into()),
            false => Ok(UpdateDeadline::Yield(1)),
        }
    }

    /// Has the next tick end the call, which then tells where the guest was; false if no tick does.
    /// The instance must not be used again.
    pub(crate) fn end_at_tick(&self) -> bool {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.has_ticks.load(Ordering::Relaxed) && !self.0.is_in_host.load(Ordering::Relaxed)
    }

    /// From its next turn on, the instance is treated as one with this much memory.
    pub(crate) fn has_memory(&self, bytes: usize) {
        self.0.is_heavy.store(bytes > HEAVY, Ordering::Relaxed);
    }
}

/// Whether the runtime has other threads for other tasks.
fn can_hand_over() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

impl Turn {
    pub(crate) fn new(metering: Metering, answer_bytes: usize) -> Self {
        let turns = Turns::default();
        turns.0.has_ticks.store(metering == Metering::Epochs, Ordering::Relaxed);
        Self {
            metering,
            answer_bytes,
            turns,
            number: 0,
            entered: None,
            time: Duration::ZERO,
            calls: 0,
            owed: 0,
            yields: false,
        }
    }

    pub(crate) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// Charges the bytes that a host call moves.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u64);
    }

    /// Takes the fuel that is still owed, at the end of a call into the guest.
    pub(crate) fn settle(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    /// The guest enters a host call or a check of its fuel.
    pub(crate) fn enter(&mut self) {
        self.entered = Some(Instant::now());
        self.turns.0.is_in_host.store(true, Ordering::Relaxed);
    }

    /// A host call or a check of the fuel has ended.
    ///
    /// # Errors
    /// If the guest calls the host endlessly and never checks its fuel.
    pub(crate) fn leave(&mut self) -> Result<HostCallEnd, NoYield> {
        self.turns.0.is_in_host.store(false, Ordering::Relaxed);
        let number = self.turns.count();
        let is_new = self.number != number;
        let yielded = if is_new {
            (self.number, self.time, self.calls) = (number, Duration::ZERO, 0);
            std::mem::take(&mut self.yields)
        } else {
            self.time += self.entered.take().map_or(Duration::ZERO, |entered| entered.elapsed());
            false
        };
        self.calls += 1;
        self.owed = self.owed.saturating_add(CALL_FUEL);
        let counts = self.metering == Metering::Fuel; // With epochs, ticks make a guest yield.
        if counts && self.calls > MOST_CALLS {
            return Err(NoYield);
        }
        let is_over = self.owed >= FUEL || self.time >= TIME;
        let ends = counts && is_over && !self.yields;
        self.yields |= ends;
        Ok(HostCallEnd { yielded, owed: ends.then(|| self.settle()) })
    }

    /// Maximum bytes of one answer of the guest.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Begins a call. Returns whether a yield was pending, which must not carry over to this call.
    pub(crate) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.yields)
    }
}

/// The error that stops a guest that calls the host endlessly and never checks its fuel.
#[derive(Debug)]
pub(crate) struct NoYield;

impl fmt::Display for NoYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it called the host {MOST_CALLS} times without a loop or a function between")
    }
}

impl std::error::Error for NoYield {}

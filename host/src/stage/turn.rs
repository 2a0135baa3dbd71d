//! Turns: what a guest does from one yield to the next, and what calls of the host cost it.
//!
//! A guest that computes yields by its own fuel. A call of the host burns none by itself, so
//! it is charged here, and a guest that calls the host again and again is made to yield at
//! the next place where its fuel is looked at (the begin of a function or of a loop).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::{CallHook, StoreContextMut};

use super::host::Host;
use crate::engine::Metering;

/// A guest yields after this much fuel: about a millisecond.
pub(super) const FUEL: u64 = 2_000_000;
/// What a call of the host costs in fuel, beside a unit for each byte that it moves.
const CALL_FUEL: u64 = 1_000;
/// A guest that has spent so long in calls of the host yields, whatever they cost.
const TIME: Duration = Duration::from_millis(1);
/// Calls of the host within one turn. A guest is made to yield long before; one that goes on
/// has neither a loop nor a function between its calls, which no compiler makes.
const MOST_CALLS: u32 = 10_000;
/// Bytes that one call of the host may be given: texts, lists.
const ARGUMENT_BYTES: usize = 1 << 20;

/// The turns of one instance.
pub(super) struct Turn {
    metering: Metering,
    /// Bytes that an answer of the guest may have.
    answer_bytes: usize,
    /// Turns so far: counted by who polls.
    turns: Turns,
    /// The turn to which the rest belongs.
    number: u64,
    /// Since when the guest is in a call of the host.
    entered: Option<Instant>,
    /// Time in calls of the host.
    time: Duration,
    calls: u32,
    /// Fuel that is not taken off yet.
    owed: u64,
    /// The next look at the fuel yields.
    yields: bool,
}

/// Gives an instance its turns, and counts them.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Gives a guest a turn: every poll of every guest goes through here.
    pub(super) fn poll<F: Future>(
        &self,
        call: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        // Only one thread polls an instance at a time.
        self.0.store(self.count() + 1, Ordering::Relaxed);
        call.poll(context)
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Turn {
    pub(super) fn new(metering: Metering, answer_bytes: usize) -> Self {
        Self {
            metering,
            answer_bytes,
            turns: Turns::default(),
            number: 0,
            entered: None,
            time: Duration::ZERO,
            calls: 0,
            owed: 0,
            yields: false,
        }
    }

    pub(super) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// Charges what a call of the host moves.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u64);
    }

    /// Takes what is owed: at the end of a call of the guest.
    pub(super) fn settle(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    /// Whether the next look at the fuel yields, which a new call is not to begin with.
    pub(super) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.yields)
    }
}

/// Control goes over between guest and host.
pub(super) fn cross(
    mut store: StoreContextMut<'_, Host>,
    crossing: CallHook,
) -> wasmtime::Result<()> {
    let turn = &mut store.data_mut().turn;
    match crossing {
        CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        CallHook::CallingHost => {
            turn.entered = Some(Instant::now());
            store.set_hostcall_fuel(ARGUMENT_BYTES);
        }
        CallHook::ReturningFromHost => returns(store)?,
    }
    Ok(())
}

/// A call of the host has ended, or a look at the fuel.
fn returns(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<()> {
    let turn = &mut store.data_mut().turn;
    let answer_bytes = turn.answer_bytes;
    let number = turn.turns.count();
    let restored = if turn.number == number {
        turn.time += turn.entered.take().map_or(Duration::ZERO, |entered| entered.elapsed());
        false
    } else {
        (turn.number, turn.time, turn.calls) = (number, Duration::ZERO, 0);
        std::mem::take(&mut turn.yields)
    };
    turn.calls += 1;
    turn.owed = turn.owed.saturating_add(CALL_FUEL);
    let counts = turn.metering == Metering::Fuel; // A clock makes the others yield.
    if counts && turn.calls > MOST_CALLS {
        return Err(NoYield.into());
    }
    let is_over = turn.owed >= FUEL || turn.time >= TIME;
    let ends = counts && is_over && !turn.yields;
    let owed = if ends { turn.settle() } else { 0 };
    turn.yields |= ends;
    store.set_hostcall_fuel(answer_bytes);
    if restored {
        store.fuel_async_yield_interval(Some(FUEL))?;
    }
    if ends {
        let left = store.get_fuel()?.saturating_sub(owed);
        store.fuel_async_yield_interval(Some(1))?;
        store.set_fuel(left)?;
    }
    Ok(())
}

/// The error that stops a guest that calls the host without end, and never looks at its fuel.
#[derive(Debug)]
pub(super) struct NoYield;

impl fmt::Display for NoYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it called the host {MOST_CALLS} times without a loop or a function between")
    }
}

impl std::error::Error for NoYield {}

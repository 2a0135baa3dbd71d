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

use crate::compile::Metering;

/// A guest yields after this much fuel: about a millisecond.
pub(crate) const FUEL: u64 = 2_000_000;
/// What a call of the host costs in fuel, beside a unit for each byte that it moves.
const CALL_FUEL: u64 = 1_000;
/// A guest that has spent so long in calls of the host yields, whatever they cost.
const TIME: Duration = Duration::from_millis(1);
/// Calls of the host within one turn. A guest is made to yield long before; one that goes on
/// has neither a loop nor a function between its calls, which no compiler makes.
const MOST_CALLS: u32 = 10_000;
/// Bytes that one call of the host may be given: texts, lists.
pub(crate) const ARGUMENT_BYTES: usize = 1 << 20;

/// The turns of one instance.
pub(crate) struct Turn {
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

/// What follows from the end of a call of the host.
pub(crate) struct HostCallEnd {
    /// The guest has yielded, as it was made to: from now on by its own fuel again.
    pub(crate) yielded: bool,
    /// The turn is over: so much fuel is taken off, and the next look at it yields.
    pub(crate) owed: Option<u64>,
}

/// Gives an instance its turns, and counts them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Gives a guest a turn: every poll of every guest goes through here.
    pub(crate) fn poll<F: Future>(
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
    pub(crate) fn new(metering: Metering, answer_bytes: usize) -> Self {
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

    pub(crate) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// Charges what a call of the host moves.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u64);
    }

    /// Takes what is owed: at the end of a call of the guest.
    pub(crate) fn settle(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    /// The guest calls the host, or looks at its fuel.
    pub(crate) fn enter(&mut self) {
        self.entered = Some(Instant::now());
    }

    /// A call of the host has ended, or a look at the fuel.
    ///
    /// # Errors
    /// If the guest calls the host without end, and never looks at its fuel.
    pub(crate) fn leave(&mut self) -> Result<HostCallEnd, NoYield> {
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
        let counts = self.metering == Metering::Fuel; // A clock makes the others yield.
        if counts && self.calls > MOST_CALLS {
            return Err(NoYield);
        }
        let is_over = self.owed >= FUEL || self.time >= TIME;
        let ends = counts && is_over && !self.yields;
        self.yields |= ends;
        Ok(HostCallEnd { yielded, owed: ends.then(|| self.settle()) })
    }

    /// Bytes that an answer of the guest may have.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Whether the next look at the fuel yields, which a new call is not to begin with.
    pub(crate) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.yields)
    }
}

/// The error that stops a guest that calls the host without end, and never looks at its fuel.
#[derive(Debug)]
pub(crate) struct NoYield;

impl fmt::Display for NoYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it called the host {MOST_CALLS} times without a loop or a function between")
    }
}

impl std::error::Error for NoYield {}

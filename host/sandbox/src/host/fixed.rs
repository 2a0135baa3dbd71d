//! Clocks and random numbers that are the same in each run: for tests, and for stages whose grants
//! say so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::random::Deterministic;

/// A clock that stands still, at nanoseconds since the Unix epoch. WASI knows no time before 1970.
pub(super) struct WallClock(pub(super) i64);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// A clock that moves by a microsecond each time it is read, so that nobody waits for it in vain.
#[derive(Default)]
pub(super) struct MonotonicClock(AtomicU64);

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(1000, Ordering::Relaxed)
    }
}

/// Random numbers, the same for each instance.
pub(super) fn random() -> Deterministic {
    // SplitMix64, from <https://prng.di.unimi.it/splitmix64.c>.
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    Deterministic::new((0..512).flat_map(|_| next().to_le_bytes()).collect())
}

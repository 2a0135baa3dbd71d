//! The threads that guests run on, apart from all others: whatever guests do, the rest of the
//! program has threads. What guests ask of the file system waits on threads of their own too.

pub(crate) mod stopped;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Polls between two looks at timers and sockets. A turn of a guest takes a millisecond or
/// two, and each look is worth some microseconds.
const EVENT_INTERVAL: u32 = 13;

/// Guests that wait for the file system at a time; more wait for their turn.
const BLOCKING_THREADS: usize = 64;

static GUESTS: LazyLock<Runtime> = LazyLock::new(|| {
    stopped::begin();
    Builder::new_multi_thread()
        .thread_name("guests")
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .expect("the system gives threads for guests")
});

/// Where the tasks of stages are spawned.
pub fn guests() -> &'static Handle {
    GUESTS.handle()
}

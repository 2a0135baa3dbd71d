//! Guests run on threads of their own, so that they cannot starve the rest of the program. Their
//! file system calls block threads of their own, too.

pub(crate) mod stopped;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Polls between two checks of timers and sockets. A turn of a guest takes a millisecond or two,
/// and a check costs some microseconds.
const EVENT_INTERVAL: u32 = 13;

/// Maximum file system calls of guests at a time; further ones wait.
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

/// The runtime for the tasks of stages.
pub fn guests() -> &'static Handle {
    GUESTS.handle()
}

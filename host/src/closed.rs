//! Whether stdin or stdout was closed when the program started (`<&-`, `>&-`).
//!
//! Before `main`, Rust's runtime opens `/dev/null` in the place of a closed one, and output would
//! be lost without a message. So this is checked before the runtime starts.

use std::sync::atomic::{AtomicBool, Ordering};

static STDIN: AtomicBool = AtomicBool::new(false);
static STDOUT: AtomicBool = AtomicBool::new(false);

/// The loader calls this before the runtime starts.
#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls one by one.
// This one makes two system calls and stores their results.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        let is_closed = |file: std::os::fd::BorrowedFd<'_>| {
            rustix::io::fcntl_getfd(file) == Err(rustix::io::Errno::BADF)
        };
        // SAFETY: only whether these descriptors are open is checked; nothing else is done with
        // them.
        let [stdin, stdout] =
            [0, 1].map(|number| unsafe { std::os::fd::BorrowedFd::borrow_raw(number) });
        STDIN.store(is_closed(stdin), Ordering::Relaxed);
        STDOUT.store(is_closed(stdout), Ordering::Relaxed);
    }
    look
};

pub fn stdin() -> bool {
    STDIN.load(Ordering::Relaxed)
}

pub fn stdout() -> bool {
    STDOUT.load(Ordering::Relaxed)
}

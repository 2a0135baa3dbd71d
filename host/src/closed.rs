//! Whether stdin or stdout was closed when the program began (`<&-`, `>&-`).
//!
//! Rust's runtime opens `/dev/null` in the place of what is closed, before `main`: what is written
//! then would be gone without a word. So it is asked before that.

use std::sync::atomic::{AtomicBool, Ordering};

static STDIN: AtomicBool = AtomicBool::new(false);
static STDOUT: AtomicBool = AtomicBool::new(false);

/// What the loader calls before the runtime begins.
#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls one by
// one. This one does two system calls and stores what they say.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        let is_closed = |file: std::os::fd::BorrowedFd<'_>| {
            rustix::io::fcntl_getfd(file) == Err(rustix::io::Errno::BADF)
        };
        // SAFETY: whether these are open is what is asked; nothing else is done with them.
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

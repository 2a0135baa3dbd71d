//! What strangers' bytes make this program compute before anything runs: components that are
//! compiled, schemas that configurations are checked against.
//!
//! Neither can be stopped from outside, and both can take memory without end, overflow the
//! stack or meet a defect of the library that does the work. So both are done by a child of
//! this program, which has limits. Where there is no such program (a library is used, a
//! benchmark, a unit test), the work is done here.

mod cache;
mod child;
mod job;
mod look;
mod schema;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

pub use cache::Cache;
pub use job::{Compiled, Source, TARGET};
pub use schema::{Complaint, check};

/// What a piece of work may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the child, in bytes, beside what the program itself takes.
    pub memory: u64,
    /// By the clock; the same of one core's time for each core that there is.
    pub time: Duration,
}

impl Limits {
    /// What is right for a check of a configuration, which is done in milliseconds.
    pub fn for_schema() -> Self {
        Self { time: Duration::from_secs(10), ..Self::for_size(0) }
    }

    /// What is right for honest components of this size: those of 12 to 19 MB take 5 to 6 s of
    /// both cores, and 450 MB.
    pub fn for_size(bytes: u64) -> Self {
        const MIB: u64 = 1 << 20;
        let time = Duration::from_secs(30 + 3 * (bytes / MIB));
        Self { memory: 512 * MIB + 48 * bytes, time }
    }
}

/// The program whose child does the work.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The very program that runs, whatever has its name by now: proc(5).
const ITSELF: &str = "/proc/self/exe";

/// The first argument of a child.
const CHILD: &str = "__work";

/// Does the work of a child, if this process is one. Called before anything else.
pub fn begin() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        return Some(child::work(arguments));
    }
    // Also where proc(5) is missing: then nothing is compiled, rather than without limits.
    let _ = PROGRAM.set(ITSELF.into());
    None
}

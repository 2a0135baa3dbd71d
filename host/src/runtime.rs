//! The threads of the host.

use anyhow::anyhow;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

/// The runtimes of a run. Guests run on a third one: see [`pipehost_sandbox::guests`].
pub struct Threads {
    /// This thread: signals, the deadline, metrics, the end. It handles no records, so that it is
    /// never busy.
    pub control: Runtime,
    /// Sources, sinks, and the host's work between them.
    pub work: Runtime,
}

impl Threads {
    pub fn new() -> Result<Self, Error> {
        Ok(Self { control: one_thread()?, work: runtime()? })
    }

    /// Ends the runtimes. A write in progress holds its file, which is removed afterwards, so this
    /// waits for a second. It waits no longer: a read or a guest may never end.
    pub fn end(self) {
        self.control.shutdown_background();
        self.work.shutdown_timeout(Duration::from_secs(1));
    }
}

/// A runtime on this thread alone.
pub fn one_thread() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(cannot)
}

fn cannot(error: io::Error) -> Error {
    Error::Failed(anyhow!("cannot start the runtime: {error}"))
}

pub fn runtime() -> Result<Runtime, Error> {
    // Files that are followed, and the files of a partitioned sink, stay open. The soft limit is
    // low only for programs that use select(2).
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    Builder::new_multi_thread().thread_name("work").enable_all().build().map_err(cannot)
}

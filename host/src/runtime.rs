//! The threads of the host.

use anyhow::anyhow;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

/// What a run is made on. What guests run on is apart from both: see [`pipehost_sandbox::guests`].
pub struct Threads {
    /// This thread: signals, the deadline, metrics, the end. No record is touched on it, so
    /// that nothing keeps it busy.
    pub control: Runtime,
    /// Sources, sinks, and what is between.
    pub work: Runtime,
}

impl Threads {
    pub fn new() -> Result<Self, Error> {
        let cannot = |error| Error::Failed(anyhow!("cannot start the runtime: {error}"));
        let control = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        Ok(Self { control, work: runtime()? })
    }

    /// A write that is under way holds the file that it writes to, which is removed after it.
    /// A read or a guest may never come to an end; nobody waits for that.
    pub fn end(self) {
        self.control.shutdown_background();
        self.work.shutdown_timeout(Duration::from_secs(1));
    }
}

pub fn runtime() -> Result<Runtime, Error> {
    // Files that are followed, and those that a sink divides its records into, stay open. The
    // lower limit is for programs that use select(2).
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    Builder::new_multi_thread()
        .thread_name("work")
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(anyhow!("cannot start the runtime: {error}")))
}

//! A CPU profile of the host, in the format of pprof
//! (<https://github.com/google/pprof/blob/main/proto/profile.proto>), gzipped.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message as _;

/// Samples per second of CPU time. Not a round number, so that samples do not coincide with regular
/// work.
const FREQUENCY: i32 = 99;

/// Held while a profile is taken: the process has only one timer for it.
static TAKEN: Mutex<()> = Mutex::new(());

/// Why there is no profile.
pub enum Sampling {
    /// Another one is being taken.
    Busy,
    /// The client has gone.
    Unwanted,
    Failed(String),
}

/// Takes a profile of this process for `length`, or until the sender of `wanted` is dropped.
///
/// # Errors
/// If another profile is being taken, the system refuses it, or the client has gone.
pub fn sample(length: Duration, wanted: &Receiver<()>) -> Result<Vec<u8>, Sampling> {
    let _taken = TAKEN.try_lock().map_err(|_| Sampling::Busy)?;
    let failed = |error: pprof::Error| Sampling::Failed(error.to_string());
    // Unwinding in these libraries may wait for a lock that the interrupted thread holds.
    let blocked = ["libc", "libgcc", "pthread", "vdso"];
    let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&blocked);
    let guard = builder.build().map_err(failed)?;
    if wanted.recv_timeout(length) == Err(RecvTimeoutError::Disconnected) {
        return Err(Sampling::Unwanted);
    }
    let report = guard.report().build().map_err(failed)?;
    drop(guard);
    let profile = report.pprof().map_err(failed)?;
    let bytes = profile.write_to_bytes();
    let bytes = bytes.map_err(|error| Sampling::Failed(error.to_string()))?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let zipped = gzip.write_all(&bytes).and_then(|()| gzip.finish());
    zipped.map_err(|error| Sampling::Failed(error.to_string()))
}

//! What a stage may use: fuel, time, memory, output.

use std::time::Duration;

/// The limits of one instance of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `None`: fuel is not counted, and only the timeout bounds a call.
    pub fuel: Option<Fuel>,
    /// Wall-clock time of one call, from its start.
    pub timeout: Duration,
    /// All memories and tables of the instance together.
    pub memory_bytes: usize,
    /// Bytes of one answer: the lists and strings of its outcome.
    pub output_bytes: usize,
    /// Rows of one answer, over all ports.
    pub output_records: usize,
    /// Bytes a second that the stage may write to stdout and stderr.
    pub log_bytes: usize,
    /// Bytes that the folders that the stage may write can hold, all together.
    pub disk_bytes: u64,
    /// Files, folders and links in these folders.
    pub files: u64,
    pub http: HttpLimits,
    /// Size of the component.
    pub component_bytes: u64,
    /// Memory for compiling the component, in bytes; `None`: by its size.
    pub compile_memory: Option<u64>,
    /// Time for compiling the component; `None`: by its size.
    pub compile_time: Option<Duration>,
}

/// Limits of requests over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Requests of one instance at a time.
    pub requests: usize,
    /// Bytes of a request's body, and of a response's.
    pub body: u64,
    /// Time of a request, from its start until the response has ended.
    pub timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { requests: 8, body: 16 << 20, timeout: Duration::from_secs(4) }
    }
}

/// Wasmtime's deterministic measure of work: about one unit an instruction, and one
/// a byte that is copied or filled in bulk. A call gets
/// `base + per_record * records + per_byte * bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuel {
    pub base: u64,
    pub per_record: u64,
    /// For each byte of the columns that the stage reads.
    pub per_byte: u64,
}

impl Fuel {
    /// The fuel of a call with a batch of `records`, of which it is given so many bytes.
    fn of(self, records: usize, bytes: usize) -> u64 {
        self.base
            .saturating_add(self.per_record.saturating_mul(records as u64))
            .saturating_add(self.per_byte.saturating_mul(bytes as u64))
    }
}

/// The least fuel of a call without a batch: to start, describe, open, save or finish. A lower
/// setting is about batches, and says nothing about it.
const LIFECYCLE_FUEL: u64 = 200_000_000;

impl Limits {
    /// The fuel of a call with a batch of this many records and bytes; `None` if fuel is not
    /// counted.
    pub fn call_fuel(&self, records: usize, bytes: usize) -> Option<u64> {
        self.fuel.map(|fuel| fuel.of(records, bytes))
    }

    /// The fuel of a call that may visit the whole state of a stage: `memory` bytes in memory, or
    /// `saved` bytes to restore. The time limit of the call still applies.
    pub fn state_fuel(&self, memory: usize, saved: usize) -> Option<u64> {
        let bytes = 200 * memory as u64 + 4000 * saved as u64;
        self.lifecycle_fuel().map(|fuel| fuel.saturating_add(bytes))
    }

    /// The fuel of a call without a batch.
    pub fn lifecycle_fuel(&self) -> Option<u64> {
        self.fuel.map(|fuel| fuel.base.max(LIFECYCLE_FUEL))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Ten to twenty times what the stages in plugins/ use on records of a
            // kilobyte, and still stopped within about a second. By bytes, a bit more than the groups
            // of a regular expression take.
            fuel: Some(Fuel { base: 200_000_000, per_record: 100_000, per_byte: 1_000 }),
            timeout: Duration::from_secs(5),
            memory_bytes: 256 << 20,
            output_bytes: 32 << 20,
            output_records: 1_000_000,
            log_bytes: 64 << 10,
            disk_bytes: 10 << 30,
            files: 100_000,
            http: HttpLimits::default(),
            component_bytes: 32 << 20,
            compile_memory: None,
            compile_time: None,
        }
    }
}

//! Limits of a child process.

use std::time::Duration;

/// Limits of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the child in bytes, besides what the program itself needs.
    pub memory: u64,
    /// Wall-clock time. CPU time is limited to this for each core.
    pub time: Duration,
}

impl Limits {
    /// Limits for compiling a component of this size for a stage with these limits.
    pub fn of_component(stage: &pipehost_config::limits::Limits, bytes: u64) -> Self {
        Self::for_size(bytes).overridden(stage)
    }

    /// Limits for checking a configuration against a schema, for a stage with these limits.
    pub fn of_schema(stage: &pipehost_config::limits::Limits) -> Self {
        Self::for_schema().overridden(stage)
    }

    fn overridden(self, stage: &pipehost_config::limits::Limits) -> Self {
        Self {
            memory: stage.compile_memory.unwrap_or(self.memory),
            time: stage.compile_time.unwrap_or(self.time),
        }
    }

    /// Default limits for checking a configuration, which takes milliseconds.
    pub fn for_schema() -> Self {
        Self { time: Duration::from_secs(10), ..Self::for_size(0) }
    }

    /// Default limits for compiling a component of this size: those of 12 to 19 MB take 5 to 6 s of
    /// both cores, and 450 MB.
    pub fn for_size(bytes: u64) -> Self {
        const MIB: u64 = 1 << 20;
        let time = Duration::from_secs(30 + 3 * (bytes / MIB));
        Self { memory: 512 * MIB + 48 * bytes, time }
    }
}

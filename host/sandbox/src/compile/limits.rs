//! What a child may take.

use std::time::Duration;

/// What a piece of work may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the child, in bytes, beside what the program itself takes.
    pub memory: u64,
    /// By the clock; the same of one core's time for each core that there is.
    pub time: Duration,
}

impl Limits {
    /// What compiling a component of this size may take for a stage with these limits.
    pub fn of_component(stage: &pipehost_config::limits::Limits, bytes: u64) -> Self {
        Self::for_size(bytes).overridden(stage)
    }

    /// What a check of a configuration against a schema may take for a stage with these limits.
    pub fn of_schema(stage: &pipehost_config::limits::Limits) -> Self {
        Self::for_schema().overridden(stage)
    }

    fn overridden(self, stage: &pipehost_config::limits::Limits) -> Self {
        Self {
            memory: stage.compile_memory.unwrap_or(self.memory),
            time: stage.compile_time.unwrap_or(self.time),
        }
    }

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

//! The stages of `plugins/`, built for the sandbox and part of this program.

use pipehost_sandbox::plugin::BundledStage;

/// All of them, by name.
pub static STAGES: &[BundledStage] = include!(concat!(env!("OUT_DIR"), "/stages.rs"));

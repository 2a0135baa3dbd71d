//! The stages of `plugins/`, compiled to components and included in this program.

use pipehost_sandbox::plugin::BundledStage;

/// All of them, by name.
pub static STAGES: &[BundledStage] = include!(concat!(env!("OUT_DIR"), "/stages.rs"));

//! The contract between host and stages: its WIT types and its rules.

pub mod bindings;
pub mod outcome;
pub mod packed;
pub mod plan;
pub mod state;
mod violation;

pub use violation::Violation;

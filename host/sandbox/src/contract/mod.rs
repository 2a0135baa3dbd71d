//! What host and stages say to each other: the WIT contract, and its rules.

pub mod bindings;
pub mod outcome;
pub mod plan;
mod violation;

pub use violation::Violation;

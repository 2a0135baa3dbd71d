//! The verbs: one file each, with its arguments.

pub mod bench;
pub mod check;
pub mod completions;
pub mod dead_letter;
pub mod graph;
pub mod inspect;
pub mod man;
pub mod run;
pub mod stages;
pub mod state;

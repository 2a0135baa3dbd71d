//! The verbs: one file each, with its arguments.

pub mod bench;
pub mod build;
pub mod check;
pub mod completions;
pub mod dead_letter;
pub mod dev;
pub mod graph;
pub mod inspect;
pub mod man;
pub mod new;
pub mod registry;
pub mod run;
pub mod schema;
pub mod stages;
pub mod state;
pub mod tap;
pub mod test;
pub mod top;

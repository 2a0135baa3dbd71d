//! The tasks of a run: one per source, stage or sink; several for a stage with several workers.

pub(crate) mod parallel;
pub(crate) mod rejections;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stage;

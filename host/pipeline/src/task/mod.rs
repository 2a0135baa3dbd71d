//! The tasks of a run: one a source, stage or sink.

pub(crate) mod parallel;
pub(crate) mod rejections;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stage;

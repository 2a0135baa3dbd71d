//! The tasks of a run: one per source and sink; of stages, one for each lane.

pub(crate) mod lanes;
pub(crate) mod overload;
pub(crate) mod parallel;
pub(crate) mod rejections;
pub(crate) mod resequencer;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stage;

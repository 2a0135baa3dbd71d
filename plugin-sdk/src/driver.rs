//! What drives a stage: for whoever runs one without [`export!`](crate::export), such as a
//! benchmark or another host. Authors of stages need nothing of it.

pub use crate::export::bindings::transform::pipehost::stage::records as contract;
pub use crate::opened::Opened;
pub use crate::record::{Column, Input};
pub use crate::setup::Plan;

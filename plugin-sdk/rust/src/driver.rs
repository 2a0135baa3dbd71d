//! For running a stage without [`export!`](crate::export), as in a benchmark or another host.
//! Authors of stages do not need it.

pub use crate::export::bindings::transform::pipehost::stage::records as contract;
pub use crate::opened::Opened;
pub use crate::record::{Column, Input};
pub use crate::saved::KeyGroups;
pub use crate::setup::{Keeps, Plan};

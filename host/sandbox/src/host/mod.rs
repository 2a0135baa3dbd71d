//! What the host keeps for each instance, and does for its guest: WASI, limits of memory and disk,
//! turns, the log.

mod crossing;
mod files;
mod fixed;
mod guest_log;
mod http;
mod metrics;
mod names;
mod quota;
mod stand_ins;
mod store;
mod turn;
mod wasi;

pub(crate) use crossing::cross;
pub(crate) use guest_log::GuestLog;
pub(crate) use http::Server;
pub(crate) use quota::Quota;
pub(crate) use store::{Host, MemoryExceeded};
pub(crate) use turn::{FUEL, Turns};
pub(crate) use wasi::add_to_linker;

//! Where time goes: in guests, by their functions, and in the host.

mod guest;
mod host;

pub use guest::GuestProfile;
pub use host::{Sampling, sample};

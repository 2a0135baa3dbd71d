//! Profiles: of guests, by their functions, and of the host.

mod guest;
mod host;

pub use guest::GuestProfile;
pub use host::{Sampling, sample};

//! Components in OCI registries, in the layout of the CNCF that `wkg` writes and reads.
//!
//! A registry is a stranger. What it sends is bounded before it is read, in bytes and in time; what
//! it says is compared with a digest; where it sends us is looked at before we go. So a component
//! is the one that its digest names, or it is an error.

mod artifact;
mod body;
mod challenge;
mod client;
mod credentials;
mod digest;
mod error;
mod interface;
mod lock;
mod pull;
mod push;
mod reference;
mod route;

pub use client::Limits;
pub use digest::Digest;
pub use error::{Error, What};
pub use lock::Lock;
pub use pull::{Pulled, pull};
pub use push::{Component, push};
pub use reference::{Reference, Version};

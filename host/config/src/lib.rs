//! A pipeline's configuration: what was typed, with the place of everything, and what it means.
//!
//! Nothing here reads a file, waits, or knows a component: a text becomes a [`Config`] and a
//! list of mistakes, and a [`Config`] a graph.

mod connector;
pub mod grants;
pub mod graph;
pub mod limits;
pub mod mistake;
mod node;
mod pipeline;
pub mod quantity;
mod read;
mod secret;

pub use connector::*;
pub use mistake::At;
pub use node::*;
pub use pipeline::*;
pub use read::read;

//! A pipeline's configuration: parsed with the span of every value, and checked as a graph.
//!
//! Nothing here reads files, blocks, or uses components: a text becomes a [`Config`] and a list of
//! mistakes, and a [`Config`] becomes a graph.

pub mod case;
mod connector;
pub mod grants;
pub mod graph;
pub mod limits;
pub mod mistake;
mod node;
mod pipeline;
pub mod project;
pub mod quantity;
mod read;
pub mod secret;

pub use connector::*;
pub use mistake::At;
pub use node::*;
pub use pipeline::*;
pub use read::{
    Reference, Resolve, read, read_case, read_expanded, read_pipeline_case, read_project, schema,
};

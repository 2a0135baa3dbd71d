//! pipehost: data pipelines whose stages are sandboxed WebAssembly components.

pub mod bindings;
pub mod cli;
pub mod codec;
pub mod config;
pub mod connector;
pub mod dead_letter;
pub mod engine;
pub mod failure;
pub mod fingerprint;
pub mod folder;
pub mod grants;
pub mod graph;
pub mod limits;
pub mod metrics;
pub mod mistake;
pub mod outcome;
pub mod pipeline;
pub mod plugin;
pub mod prepare;
pub mod quantity;
pub mod record;
pub mod rotation;
pub mod stage;
pub mod state;
pub mod telemetry;
pub mod template;

//! HTTP: a source of posted records, and a sink that posts records.

use anyhow::{Result, anyhow};

mod acknowledgements;
mod body;
mod sink;
mod source;

pub use acknowledgements::Acknowledgements;
pub(crate) use sink::HttpSink;
pub(crate) use source::HttpSource;

/// The value of an environment variable that holds a secret.
fn token(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("the environment has no {name} (token_env)"))
}

/// Selects `ring` for cryptography; only the first call has an effect.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

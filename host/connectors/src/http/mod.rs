//! HTTP: records that are posted to the pipeline, and that it posts.

use anyhow::{Result, anyhow};

mod body;
mod sink;
mod source;

pub(crate) use sink::HttpSink;
pub(crate) use source::HttpSource;

/// The value of an environment variable that holds a secret.
fn token(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("the environment has no {name} (token_env)"))
}

/// Chooses who does the cryptography; once is enough.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

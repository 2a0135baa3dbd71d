//! HTTP: records that are posted to the pipeline, and that it posts.

mod body;
mod sink;
mod source;

pub(crate) use sink::HttpSink;
pub(crate) use source::HttpSource;

/// The value of an environment variable that holds a secret.
fn token(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the environment has no {name} (token_env)"))
}

/// Chooses who does the cryptography; once is enough.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

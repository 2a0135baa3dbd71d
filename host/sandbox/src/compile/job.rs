//! The jobs of a child, and its answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::Metering;

/// The contents of a plugin file: a component, a core module, or the text form of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// For messages.
    pub path: PathBuf,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    pub is_text: bool,
}

/// Native code, and the hash and size of its component.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compiled {
    /// SHA-256 of the component, in hexadecimal.
    pub hash: String,
    /// Bytes of the component.
    pub size: u64,
    /// As wasmtime serializes it.
    #[serde(with = "serde_bytes")]
    pub code: Vec<u8>,
}

/// Why a child refused a job, as it reports to its parent.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub(super) struct Refusal(String);

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// A job for the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    Compile { source: Source, metering: Metering, epochs: bool },
    Schema { schema: String, config: String },
}

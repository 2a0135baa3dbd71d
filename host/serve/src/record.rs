//! A record as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use pipehost_record::time::rfc3339;

/// Bytes: a text if they are UTF-8, otherwise base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Bytes {
    Text(String),
    Base64 { base64: String },
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64 { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

impl Bytes {
    /// The bytes; `None` if they are no valid base64.
    pub fn to_vec(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64 { base64 } => BASE64_STANDARD.decode(base64).ok(),
        }
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// RFC 3339, in UTC.
    pub timestamp: Option<String>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    #[serde(default)]
    pub attributes: BTreeMap<String, Bytes>,
}

impl From<&pipehost_record::Record> for Record {
    fn from(record: &pipehost_record::Record) -> Self {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(Bytes::from);
        let attributes = record.attributes.iter();
        Self {
            timestamp: record.timestamp.map(rfc3339),
            key: bytes(&record.key),
            value: bytes(&record.value),
            attributes: attributes
                .map(|(name, value)| (name.clone(), Bytes::from(&**value)))
                .collect(),
        }
    }
}

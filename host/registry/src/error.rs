//! Why a component was not pushed or pulled.

use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;

/// A thing that a registry has or sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Manifest,
    Component,
    Config,
    Token,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Component => "component",
            Self::Config => "config",
            Self::Token => "token",
        })
    }
}

/// Why a component was not pushed or pulled. Text of a registry in it is short, but as it came: who
/// shows it on a terminal escapes it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("\"{text}\" is not a reference: {why}; write oci://HOST/NAME:TAG")]
    Reference { text: String, why: &'static str },
    #[error("\"{0}\" is not a digest: it is sha256: and 64 hexadecimal digits, in lower case")]
    Digest(String),
    #[error(
        "the {what} from {from} is not the one that was asked for: its digest is {found}, and it \
         must be {expected}; the registry, or whoever stands before it, has changed it"
    )]
    OtherContent { what: What, from: String, expected: Digest, found: Digest },
    #[error(
        "the {what} from {from} has {found} bytes, and its manifest says {expected}; it was cut \
         off, or the manifest is wrong"
    )]
    OtherSize { what: What, from: String, expected: u64, found: u64 },
    #[error("the {what} from {from} is larger than {limit} bytes, which is the limit")]
    TooLarge { what: What, from: String, limit: u64 },
    #[error("{host} did not finish within {} s; try again, or allow more time", limit.as_secs())]
    TooSlow { host: String, limit: Duration },
    #[error("{host} sends from one place to another more than {limit} times")]
    TooManyRedirects { host: String, limit: usize },
    #[error("{host} sends us to {to}, where we do not go: {why}")]
    Astray { host: String, to: String, why: &'static str },
    #[error("{0} is not there, or its registry does not show it without credentials")]
    Missing(String),
    #[error(
        "{host} asks for credentials; sign in with `docker login {host}` or `podman login {host}`"
    )]
    NoCredentials { host: String },
    #[error("{host} does not accept the credentials from {}; sign in again", file.display())]
    Refused { host: String, file: PathBuf },
    #[error(
        "the credentials for {host} are kept by docker-credential-{helper}, which is not run here; \
         write them to a file with `podman login --authfile`, and name it in REGISTRY_AUTH_FILE"
    )]
    Helper { host: String, helper: String },
    #[error("cannot read the credentials in {}: {why}", file.display())]
    CredentialFile { file: PathBuf, why: String },
    #[error("{url} answered {status}: {text}")]
    Status { url: String, status: u16, text: String },
    #[error("{host} does not speak as a registry: {why}")]
    Protocol { host: String, why: String },
    #[error("{reference} is {what}, and no component")]
    NoComponent { reference: String, what: String },
    #[error("cannot push: {0}")]
    NotPushable(String),
    #[error("cannot reach {host}: {why}")]
    Connection { host: String, why: String },
    #[error("cannot read the lock {}: {why}; mend it, or delete it and lock again", file.display())]
    Lock { file: PathBuf, why: String },
    #[error("cannot write {}: {why}", file.display())]
    Write { file: PathBuf, why: std::io::Error },
}

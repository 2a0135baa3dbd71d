//! Safe files: names that survive a crash, fingerprints, rotation.

mod content;
pub mod fingerprint;
pub mod folder;
pub mod paths;
pub mod rename;
pub mod rotation;

pub use content::content_hash;

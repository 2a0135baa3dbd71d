//! What makes files safe: names that outlive a crash, files that are known again, rotation.

mod content;
pub mod fingerprint;
pub mod folder;
pub mod paths;
pub mod rotation;

pub use content::content_hash;

//! A state as bytes, for [`Checkpoint`](crate::Checkpoint): in the format of postcard.

use serde::{Deserialize, Serialize};

/// What [`Checkpoint::save`](crate::Checkpoint::save) returns of a state.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode<T: Serialize + ?Sized>(state: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(state).map_err(|error| error.to_string())
}

/// The state that [`encode`] was given.
///
/// # Errors
/// If the bytes are something else.
pub fn decode<'a, T: Deserialize<'a>>(saved: &'a [u8]) -> Result<T, String> {
    postcard::from_bytes(saved).map_err(|error| error.to_string())
}

//! Standard input.

use std::sync::Arc;

use super::Progress;
use super::bytes_source::{BytesSource, Named};
use crate::config::Decoding;

pub(super) fn open(decoding: Decoding, progress: Arc<Progress>) -> BytesSource {
    // Not locked: the lock cannot move to the reading thread.
    let stdin = Named { place: "stdin".into(), reader: std::io::stdin() };
    BytesSource::spawn(std::iter::once(Ok(stdin)), decoding, progress)
}

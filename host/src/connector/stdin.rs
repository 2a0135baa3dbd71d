//! Standard input.

use std::sync::Arc;

use super::Progress;
use super::bytes_source::{Begin, BytesSource, Piece};
use crate::config::Decoding;

pub(super) fn open(decoding: Decoding, progress: Arc<Progress>) -> BytesSource {
    BytesSource::spawn(decoding, progress, None, |pieces| {
        let begin = Begin { place: "stdin".into(), file: None, offset: 0, records: 0, known: None };
        pieces.send(Ok(Piece::Begin(0, begin.into())))?;
        // Not locked: the lock cannot move to the reading thread.
        match pieces.read_to_end(0, "stdin", &mut std::io::stdin())? {
            true => pieces.send(Ok(Piece::End(0))),
            false => Ok(()),
        }
    })
}

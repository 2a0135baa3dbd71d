//! Dead letters that are replayed into the pipeline.

use anyhow::Result;
use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::connector::SourceConnector;
use pipehost_codec::{Decoded, Decoder, Start, Undecodable};
use pipehost_config::{DecodeFormat, Decoding};
use pipehost_record::Letter;

/// The dead letters of one source, or of one input of a stage.
pub(crate) struct LetterSource {
    letters: VecDeque<Letter>,
    /// The codec of the source, which decodes its letters again; `None` for those that are records.
    decoding: Option<Decoding>,
    /// The position of the source that this one replaces; it does not change.
    position: Option<Value>,
    place: Arc<str>,
}

impl LetterSource {
    pub(crate) fn new(
        letters: Vec<Letter>,
        decoding: Option<Decoding>,
        position: Option<&Value>,
    ) -> Self {
        Self { letters: letters.into(), decoding, position: position.cloned(), place: "".into() }
    }
}

impl SourceConnector for LetterSource {
    async fn ready(&mut self) -> Result<bool> {
        Ok(!self.letters.is_empty())
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        // An undecodable record takes its origin from `place`: stop before that changes.
        while !full(out) && out.undecodable().is_empty() {
            let Some(letter) = self.letters.pop_front() else { return Ok(()) };
            if *self.place != *letter.place {
                self.place = letter.place.as_str().into();
            }
            let Some(decoding) = &self.decoding else {
                out.batch.push_record(&self.place, letter.number, &letter.record);
                continue;
            };
            let number = letter.number.saturating_sub(1);
            let start = Start { number, begins: false, ..Start::default() };
            let mut decoder = Decoder::new(decoding, self.place.clone(), &start);
            let before = out.batch.len() + out.undecodable().len();
            if let Some(bytes) = &letter.record.value {
                decoder.decode(bytes, out, |_| false)?;
                // Its line end is what makes an empty line a record.
                if !matches!(decoding.format, DecodeFormat::Frames) {
                    decoder.decode(b"\n", out, |_| false)?;
                }
                decoder.end(out)?;
            }
            if out.batch.len() + out.undecodable().len() == before {
                // Nothing to decode, as of a line that was too long to hold: refuse it again.
                let Letter { number, reason, record, .. } = letter;
                out.refuse(Undecodable { number, reason, record });
            }
        }
        Ok(())
    }

    fn position(&self) -> Option<Value> {
        self.position.clone()
    }

    fn place(&self) -> Arc<str> {
        self.place.clone()
    }
}

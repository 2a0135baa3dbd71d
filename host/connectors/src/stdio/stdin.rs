//! Standard input.

use anyhow::{Context as _, Result};
use std::sync::Arc;

use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::stdio::stdin;

use crate::connector::Progress;
use crate::connector::SourceConnector;
use crate::file::{AtStop, BytesSource, InputStart, Piece};
use pipehost_codec::Decoded;
use pipehost_config::Decoding;

/// Bytes that are read from stdin.
pub(crate) struct Stdin(BytesSource);

impl Stdin {
    pub(crate) fn open(decoding: Decoding, progress: Arc<Progress>) -> Result<Self> {
        let source = BytesSource::spawn(decoding, progress, None, AtStop::Decode, |pieces| {
            let place = "stdin".into();
            let begin = InputStart {
                place,
                file: None,
                offset: 0,
                records: 0,
                tail: Vec::new(),
                known: None,
            };
            pieces.send(Ok(Piece::Begin(0, begin.into())))?;
            match pieces.read_stream(0, "stdin", &stdin())? {
                true => pieces.send(Ok(Piece::End(0))),
                false => Ok(()),
            }
        });
        Ok(Self(source.context("cannot read stdin")?))
    }
}

impl SourceConnector for Stdin {
    async fn ready(&mut self) -> Result<bool> {
        self.0.ready().await
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        self.0.decode(out, full)
    }

    fn place(&self) -> Arc<str> {
        self.0.place()
    }

    fn stop(&mut self) -> bool {
        self.0.stop()
    }

    /// If stdin is a file, seeks back to before the incomplete record instead.
    fn torn(&self) -> u64 {
        if give_back(self.0.torn_bytes()) { 0 } else { self.0.torn() }
    }
}

/// Seeks back over bytes, so that the next reader of stdin gets them; false if it is no file.
fn give_back(bytes: u64) -> bool {
    let is_file = fstat(stdin())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let back = i64::try_from(bytes).map(|bytes| SeekFrom::Current(-bytes));
    is_file && back.is_ok_and(|back| seek(stdin(), back).is_ok())
}

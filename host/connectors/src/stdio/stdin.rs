//! Standard input.

use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::stdio::stdin;

use crate::connector::SourceConnector;
use crate::file::{AtStop, BytesSource, InputStart, Piece};
use pipehost_codec::Decoded;
use pipehost_config::Decoding;
use pipehost_observe::progress::Progress;

/// Bytes that are read from stdin: if they are compressed, what they were.
pub(crate) struct Stdin {
    source: BytesSource,
    is_compressed: Arc<AtomicBool>,
}

impl Stdin {
    pub(crate) fn open(decoding: Decoding, progress: Arc<Progress>) -> Result<Self> {
        let is_compressed = Arc::new(AtomicBool::new(false));
        let compressed = is_compressed.clone();
        let source = BytesSource::spawn(decoding, progress, None, AtStop::Decode, move |pieces| {
            let place = "stdin".into();
            let begin = InputStart {
                place,
                file: None,
                offset: 0,
                records: 0,
                tail: Vec::new(),
                head: Vec::new(),
                known: None,
            };
            pieces.send(Ok(Piece::Begin(0, begin.into())))?;
            let found = || compressed.store(true, Ordering::Relaxed);
            let has_ended = pieces.read_any_stream(0, "stdin", &stdin(), found)?;
            if has_ended { pieces.send(Ok(Piece::End(0))) } else { Ok(()) }
        });
        Ok(Self { source: source.context("cannot read stdin")?, is_compressed })
    }
}

impl SourceConnector for Stdin {
    async fn ready(&mut self) -> Result<bool> {
        self.source.ready().await
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        self.source.decode(out, full)
    }

    fn place(&self) -> Arc<str> {
        self.source.place()
    }

    fn stop(&mut self) -> bool {
        self.source.stop()
    }

    /// If stdin is a file, seeks back to before the incomplete record instead.
    fn torn(&self) -> u64 {
        let is_compressed = self.is_compressed.load(Ordering::Relaxed);
        if !is_compressed && give_back(self.source.torn_bytes()) { 0 } else { self.source.torn() }
    }
}

/// Seeks back over bytes, so that the next reader of stdin gets them; false if it is no file.
fn give_back(bytes: u64) -> bool {
    let is_file = fstat(stdin())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let back = i64::try_from(bytes).map(|bytes| SeekFrom::Current(-bytes));
    is_file && back.is_ok_and(|back| seek(stdin(), back).is_ok())
}

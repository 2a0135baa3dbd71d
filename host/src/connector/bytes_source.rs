//! Inputs of bytes, read by a thread of their own: a read that blocks (a pipe, a slow
//! disk) holds up nothing else, and batches can still be flushed meanwhile.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as std_mpsc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::Progress;
use super::file_positions::{FilePosition, FilePositions};
use crate::codec::{Decoded, Decoder};
use crate::config::Decoding;
use crate::fingerprint::Fingerprint;

const CHUNK: usize = 256 << 10;
/// Chunks that are read ahead.
const AHEAD: usize = 2;

/// What the reading thread sends of its inputs, which it numbers.
pub(super) enum Piece {
    Begin(usize, Box<Begin>),
    /// The file has grown, and can be told from others by more.
    Known(usize, Fingerprint),
    Bytes(usize, Chunk),
    /// Nothing more comes of it.
    End(usize),
}

/// An input, and where in it is begun.
#[derive(Clone)]
pub(super) struct Begin {
    /// What records give as their origin.
    pub place: Arc<str>,
    /// Which file it is; none if it can never be found again.
    pub file: Option<(PathBuf, Fingerprint)>,
    /// Bytes that went before, and the records in them.
    pub offset: u64,
    pub records: u64,
    /// What an earlier run said of it: this says it from now on.
    pub known: Option<FilePosition>,
}

/// What was read at once: the first bytes of a buffer.
pub(super) struct Chunk {
    buffer: Vec<u8>,
    len: usize,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// Where the reading thread sends what it has.
pub(super) struct Pieces {
    send: mpsc::Sender<Result<Piece, String>>,
    /// Buffers that were decoded, to be filled again: a new one would have to be cleared,
    /// and is in no cache.
    spent: std_mpsc::Receiver<Vec<u8>>,
}

/// The receiver has gone: the run is over.
pub(super) type Gone = mpsc::error::SendError<Result<Piece, String>>;

impl Pieces {
    pub(super) fn send(&self, piece: Result<Piece, String>) -> Result<(), Gone> {
        self.send.blocking_send(piece)
    }

    /// Whether nobody reads them any more.
    pub(super) fn are_unwanted(&self) -> bool {
        self.send.is_closed()
    }

    /// What can be read at once; nothing at the end.
    pub(super) fn read(&self, reader: &mut dyn Read) -> io::Result<Chunk> {
        let mut buffer = self.spent.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        loop {
            match reader.read(&mut buffer) {
                Ok(len) => return Ok(Chunk { buffer, len }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what a reader has, to its end; false if that could not be read, which was sent
    /// too.
    pub(super) fn read_to_end(
        &self,
        number: usize,
        place: &str,
        reader: &mut dyn Read,
    ) -> Result<bool, Gone> {
        loop {
            match self.read(reader) {
                Ok(chunk) if chunk.is_empty() => return Ok(true),
                Ok(chunk) => self.send(Ok(Piece::Bytes(number, chunk)))?,
                Err(error) => {
                    self.send(Err(format!("cannot read {place}: {error}")))?;
                    return Ok(false);
                }
            }
        }
    }
}

/// Decodes inputs of bytes, several side by side.
pub struct BytesSource {
    pieces: mpsc::Receiver<Result<Piece, String>>,
    spent: std_mpsc::Sender<Vec<u8>>,
    decoding: Decoding,
    inputs: BTreeMap<usize, Input>,
    /// Positions of inputs that have ended, or that have not begun yet.
    ended: FilePositions,
    /// Whether the inputs are files, which can be found again.
    has_files: bool,
    place: Arc<str>,
    piece: Option<Piece>,
    /// Bytes of the piece at hand that are decoded.
    taken: usize,
    progress: Arc<Progress>,
}

struct Input {
    begin: Begin,
    decoder: Decoder,
    /// Bytes that the decoder got, those included that went before.
    fed: u64,
}

impl Input {
    fn position(&self) -> Option<FilePosition> {
        let (path, file) = self.begin.file.clone()?;
        let offset = self.fed - self.decoder.begun();
        Some(FilePosition { path, file, offset, records: self.decoder.number() })
    }
}

impl BytesSource {
    /// Starts to read: `read` runs on a thread of its own. `known` is how far files were
    /// read by an earlier run; none if the inputs are no files.
    pub(super) fn spawn(
        decoding: Decoding,
        progress: Arc<Progress>,
        known: Option<FilePositions>,
        read: impl FnOnce(&Pieces) -> Result<(), Gone> + Send + 'static,
    ) -> Self {
        let (send, pieces) = mpsc::channel(AHEAD);
        let (spent, spent_before) = std_mpsc::channel();
        std::thread::spawn(move || {
            let _ = read(&Pieces { send, spent: spent_before });
        });
        Self {
            pieces,
            spent,
            decoding,
            inputs: BTreeMap::new(),
            has_files: known.is_some(),
            ended: known.unwrap_or_default(),
            place: "".into(),
            piece: None,
            taken: 0,
            progress,
        }
    }

    pub(super) async fn ready(&mut self) -> Result<bool, String> {
        if self.piece.is_none() {
            self.piece = self.pieces.recv().await.transpose()?;
        }
        Ok(self.piece.is_some())
    }

    pub(super) fn decode(
        &mut self,
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<(), String> {
        match &self.piece {
            None => return Ok(()),
            Some(Piece::Begin(number, begin)) => {
                self.place = begin.place.clone();
                let decoder = Decoder::new(&self.decoding, begin.place.clone(), begin.records)
                    .at_begin(begin.offset == 0);
                let fed = begin.offset;
                // What was remembered of this file, this input says from now on.
                let inode = begin.file.as_ref().map(|(_, file)| file.inode());
                self.ended.replace(inode, begin.known.as_ref());
                self.inputs.insert(*number, Input { begin: (**begin).clone(), decoder, fed });
            }
            Some(Piece::Known(number, fingerprint)) => {
                let input = self.inputs.get_mut(number).expect("it has begun");
                if let Some((_, file)) = &mut input.begin.file {
                    *file = fingerprint.clone();
                }
            }
            Some(Piece::Bytes(number, bytes)) => {
                let input = self.inputs.get_mut(number).expect("it has begun");
                self.place = input.begin.place.clone();
                let taken = input.decoder.decode(&bytes[self.taken..], out, full)?;
                input.fed += taken as u64;
                self.taken += taken;
                self.progress.add(taken as u64);
                if self.taken < bytes.len() {
                    return Ok(());
                }
                self.taken = 0;
            }
            Some(Piece::End(number)) => {
                let mut input = self.inputs.remove(number).expect("it has begun");
                self.place = input.begin.place.clone();
                input.decoder.end(out);
                if let Some(position) = input.position() {
                    self.ended.insert(FilePosition { offset: input.fed, ..position });
                }
            }
        }
        if let Some(Piece::Bytes(_, chunk)) = self.piece.take() {
            let _ = self.spent.send(chunk.buffer); // Nobody reads any more: it is freed.
        }
        Ok(())
    }

    pub(super) fn place(&self) -> Arc<str> {
        self.place.clone()
    }

    /// How far each file is read; none if there are none.
    pub(super) fn position(&self) -> Option<Value> {
        if !self.has_files {
            return None;
        }
        let mut positions: Vec<_> = self.ended.iter().cloned().collect();
        positions.extend(self.inputs.values().filter_map(Input::position));
        Some(serde_json::to_value(positions).expect("its keys are texts"))
    }
}

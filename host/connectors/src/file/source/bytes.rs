//! Byte inputs, read on a thread of their own: a read that blocks (a pipe, a slow disk) delays
//! nothing else, and batches are still flushed meanwhile.

use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::io::{self, BufReader, PipeReader, PipeWriter, Read};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::compressed::{decompress, known_by, may_be_compressed};
use crate::connector::SourceConnector;
use crate::file::source::compression::keep_tail;
use crate::file::source::positions::{FilePosition, FilePositions};
use pipehost_codec::{Decoded, Decoder, Start};
use pipehost_config::{Compression, DecodeFormat, Decoding};
use pipehost_files::fingerprint::Fingerprint;
use pipehost_observe::progress::Progress;

const CHUNK: usize = 256 << 10;
/// Chunks that are read ahead.
const AHEAD: usize = 2;

/// What the reading thread sends. The number tells its inputs apart.
pub(crate) enum Piece {
    Begin(usize, Box<InputStart>),
    /// The file has grown, and its fingerprint covers more bytes now.
    Known(usize, Fingerprint),
    Bytes(usize, Chunk),
    /// The input has ended.
    End(usize),
    /// The same, and the file of this device and inode is deleted: its position is dropped.
    Gone(usize, (u64, u64)),
    /// Files of an earlier run that are missing.
    Missing(Vec<(u64, u64)>),
}

/// An input, and where reading starts in it.
#[derive(Clone)]
pub(crate) struct InputStart {
    /// The origin that its records carry.
    pub place: Arc<str>,
    /// The path as saved in the state, and the fingerprint; `None` for a stream.
    pub file: Option<(PathBuf, Fingerprint)>,
    /// Bytes before the start, and the records in them.
    pub offset: u64,
    pub records: u64,
    /// The last bytes before the start.
    pub tail: Vec<u8>,
    /// How the content begins, if the decoder needs that to go on.
    pub head: Vec<u8>,
    /// The file's saved position; this input now reports it.
    pub known: Option<FilePosition>,
}

/// The bytes of one read: the first `len` of a buffer.
pub(crate) struct Chunk {
    buffer: Vec<u8>,
    len: usize,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// The channel from the reading thread to the decoder.
pub(crate) struct Pieces {
    send: mpsc::Sender<Result<Piece>>,
    /// Decoded buffers, to be filled again: a new one would have to be zeroed, and is in no CPU
    /// cache.
    spent: std_mpsc::Receiver<Vec<u8>>,
    /// Closed when reading must stop.
    stop: PipeReader,
    runtime: Handle,
}

/// The result of [`Pieces::send_within`].
pub(crate) enum SendOutcome {
    Yes,
    /// The channel is still full; returns the piece.
    NotYet(Result<Piece>),
}

/// The receiver is dropped: the run is over.
pub(crate) type ReceiverGone = mpsc::error::SendError<Result<Piece>>;

impl Pieces {
    pub(crate) fn send(&self, piece: Result<Piece>) -> Result<(), ReceiverGone> {
        self.send.blocking_send(piece)
    }

    /// The same, but gives up after `time`.
    pub(crate) fn send_within(
        &self,
        piece: Result<Piece>,
        time: Duration,
    ) -> Result<SendOutcome, ReceiverGone> {
        let place = async { tokio::time::timeout(time, self.send.reserve()).await };
        match self.runtime.block_on(place) {
            Ok(Ok(place)) => {
                place.send(piece);
                Ok(SendOutcome::Yes)
            }
            Ok(Err(_)) => Err(mpsc::error::SendError(piece)),
            Err(_) => Ok(SendOutcome::NotYet(piece)),
        }
    }

    /// Whether reading must stop.
    pub(crate) fn are_unwanted(&self) -> bool {
        let mut stop = [PollFd::new(&self.stop, PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        self.send.is_closed() || poll(&mut stop, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Sends the bytes of a stream until its end. False if it stops earlier: because reading must
    /// stop, or after an error, which it sends too. Unread bytes stay in the stream.
    pub(crate) fn read_stream(
        &self,
        number: usize,
        place: &str,
        stream: &impl AsFd,
    ) -> Result<bool, ReceiverGone> {
        loop {
            let mut ready =
                [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.stop, PollFlags::empty())];
            let polled = poll(&mut ready, None);
            if !ready[1].revents().is_empty() {
                return Ok(false);
            }
            let mut reader = Descriptor(stream);
            let read = polled.map_err(io::Error::from).and_then(|_| self.read(&mut reader));
            match read {
                Ok(chunk) if chunk.is_empty() => return Ok(true),
                Ok(chunk) => self.send(Ok(Piece::Bytes(number, chunk)))?,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.send(Err(anyhow!("cannot read {place}: {error}")))?;
                    return Ok(false);
                }
            }
        }
    }

    /// As [`Self::read_stream`]; of a stream that is compressed, what it was. `compressed` is then
    /// called first.
    pub(crate) fn read_any_stream(
        &self,
        number: usize,
        place: &str,
        stream: &impl AsFd,
        compressed: impl FnOnce(),
    ) -> Result<bool, ReceiverGone> {
        match self.head_of_stream(number, place, stream)? {
            Head::Ended => Ok(true),
            Head::Stopped => Ok(false),
            Head::Plain => self.read_stream(number, place, stream),
            Head::Compressed(compression, head) => {
                compressed();
                self.read_compressed_stream(number, place, stream, compression, &head)
            }
        }
    }

    /// Reads the first bytes of a stream, and sends them unless they are compressed.
    fn head_of_stream(
        &self,
        number: usize,
        place: &str,
        stream: &impl AsFd,
    ) -> Result<Head, ReceiverGone> {
        let mut head = Vec::new();
        let mut reader = Polled { stream, stop: &self.stop };
        // Both begin with bytes that no text does: the first one decides mostly.
        while known_by(&head).is_none() && may_be_compressed(&head) {
            let mut byte = [0];
            match reader.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => head.push(byte[0]),
                Err(error) => {
                    // What was read is not to be forgotten.
                    let len = head.len();
                    self.send(Ok(Piece::Bytes(number, Chunk { buffer: head, len })))?;
                    return self.failed(place, &error).map(|()| Head::Stopped);
                }
            }
        }
        if let Some(compression) = known_by(&head) {
            return Ok(Head::Compressed(compression, head));
        }
        if head.is_empty() {
            return Ok(Head::Ended);
        }
        let len = head.len();
        self.send(Ok(Piece::Bytes(number, Chunk { buffer: head, len })))?;
        Ok(Head::Plain)
    }

    /// As [`Self::read_stream`], of what was compressed; `head` was read of it.
    fn read_compressed_stream(
        &self,
        number: usize,
        place: &str,
        stream: &impl AsFd,
        compression: Compression,
        head: &[u8],
    ) -> Result<bool, ReceiverGone> {
        let rest = Polled { stream, stop: &self.stop };
        let reader = BufReader::new(head.chain(rest));
        match decompress(compression, reader, None) {
            Ok(mut reader) => self.read_to_end(number, place, &mut reader),
            Err(error) => self.failed(place, &error).map(|()| false),
        }
    }

    /// Sends an error, unless it comes from a stop.
    fn failed(&self, place: &str, error: &io::Error) -> Result<(), ReceiverGone> {
        if self.are_unwanted() {
            return Ok(());
        }
        self.send(Err(anyhow!("cannot read {place}: {error}")))
    }

    /// The bytes of one read; empty at the end.
    pub(crate) fn read(&self, reader: &mut dyn Read) -> io::Result<Chunk> {
        let mut buffer = self.spent.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        loop {
            match reader.read(&mut buffer) {
                Ok(len) => return Ok(Chunk { buffer, len }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the bytes of a reader until its end. False if it stops earlier: because reading must
    /// stop, or after an error, which it sends too.
    pub(crate) fn read_to_end(
        &self,
        number: usize,
        place: &str,
        reader: &mut dyn Read,
    ) -> Result<bool, ReceiverGone> {
        loop {
            if self.are_unwanted() {
                return Ok(false);
            }
            match self.read(reader) {
                Ok(chunk) if chunk.is_empty() => return Ok(true),
                Ok(chunk) => self.send(Ok(Piece::Bytes(number, chunk)))?,
                Err(error) => return self.failed(place, &error).map(|()| false),
            }
        }
    }
}

/// How a stream begins.
enum Head {
    /// There is nothing in it.
    Ended,
    Stopped,
    /// It is not compressed; its first bytes are sent.
    Plain,
    Compressed(Compression, Vec<u8>),
}

/// A stream, until reading must stop.
struct Polled<'a, T> {
    stream: &'a T,
    stop: &'a PipeReader,
}

impl<T: AsFd> Read for Polled<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = [
                PollFd::new(self.stream, PollFlags::IN),
                PollFd::new(self.stop, PollFlags::empty()),
            ];
            let polled = poll(&mut ready, None);
            if !ready[1].revents().is_empty() {
                return Err(io::Error::other("reading was stopped"));
            }
            let read = polled.and_then(|_| rustix::io::read(self.stream, &mut *buffer));
            match read.map_err(io::Error::from) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                read => return read,
            }
        }
    }
}

/// Reads a file, a pipe or a terminal without a buffer, in which bytes would be lost at a stop.
struct Descriptor<'a, T>(&'a T);

impl<T: AsFd> Read for Descriptor<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

/// What happens at a stop to bytes that were read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtStop {
    /// They are dropped: the next run can read them again.
    Leave,
    /// They are decoded: the input does not have them any more, or no state records how far it was
    /// read.
    Decode,
}

/// Decodes byte inputs, several at a time.
pub struct BytesSource {
    /// The work of the reading thread, until it is started: nothing is read before it is asked for.
    read: Option<Box<dyn FnOnce() + Send>>,
    /// Dropped to stop the reading thread.
    stop: Option<PipeWriter>,
    at_stop: AtStop,
    pieces: mpsc::Receiver<Result<Piece>>,
    spent: std_mpsc::Sender<Vec<u8>>,
    decoding: Decoding,
    inputs: BTreeMap<usize, Input>,
    /// Positions of inputs that have ended or not started yet.
    ended: FilePositions,
    /// Whether lines are held, and given after a time.
    gives_lines: bool,
    /// Whether the inputs are files, which have positions.
    has_files: bool,
    place: Arc<str>,
    piece: Option<Piece>,
    /// Bytes of `piece` that are decoded.
    taken: usize,
    progress: Arc<Progress>,
}

struct Input {
    begin: InputStart,
    decoder: Decoder,
    /// Bytes before the start, plus those that the decoder took.
    fed: u64,
    /// The last bytes before `fed`.
    last: Vec<u8>,
    /// The last bytes before the record that is still incomplete.
    tail: Vec<u8>,
    /// The same before the line that is still incomplete, and the bytes that were begun then: the
    /// last lines may turn out to be a record.
    line_tail: Vec<u8>,
    begun: u64,
    /// When the last bytes came.
    changed: Instant,
}

impl Input {
    fn position(&self) -> Option<FilePosition> {
        let (path, file) = self.begin.file.clone()?;
        let offset = self.fed - self.decoder.begun();
        let (records, tail) = (self.decoder.number(), crc32fast::hash(&self.tail));
        Some(FilePosition { path, file, offset, records, tail, gone: None })
    }

    /// Updates the offset and the tails after the decoder took bytes.
    fn take(&mut self, taken: &[u8]) {
        self.fed += taken.len() as u64;
        self.changed = Instant::now();
        let begun = self.decoder.begun();
        let before = |tail: &mut Vec<u8>, begun: u64| {
            let ended = taken.len().checked_sub(begun as usize);
            if let Some(ended) = ended {
                tail.clone_from(&self.last);
                keep_tail(tail, &taken[..ended]);
            }
            ended.is_some()
        };
        // If a record was given that ends before these bytes, the next one begins with the line
        // that was incomplete.
        if !before(&mut self.tail, begun) && begun != self.begun + taken.len() as u64 {
            self.tail.clone_from(&self.line_tail);
        }
        before(&mut self.line_tail, self.decoder.line_begun());
        self.begun = begun;
        keep_tail(&mut self.last, taken);
    }

    /// When whole lines that are held are given.
    fn gives_at(&self) -> Option<Instant> {
        Some(self.changed + self.decoder.waits()?)
    }

    /// Gives whole lines that are held.
    fn give(&mut self, out: &mut Decoded) {
        self.decoder.give(out);
        self.begun = self.decoder.line_begun();
        self.tail.clone_from(&self.line_tail);
    }
}

impl BytesSource {
    /// Prepares a source: `read` runs on a thread of its own, from the first [`Self::ready`] on.
    /// `known` are the saved positions of the files; `None` if the inputs are no files.
    pub(crate) fn spawn(
        decoding: Decoding,
        progress: Arc<Progress>,
        known: Option<FilePositions>,
        at_stop: AtStop,
        read: impl FnOnce(&Pieces) -> Result<(), ReceiverGone> + Send + 'static,
    ) -> io::Result<Self> {
        let gives_lines = matches!(decoding.format, DecodeFormat::Multiline(_));
        let (send, pieces) = mpsc::channel(AHEAD);
        let (spent, spent_before) = std_mpsc::channel();
        let (until, stop) = io::pipe()?;
        let runtime = Handle::current();
        let read = move || {
            let _ = read(&Pieces { send, spent: spent_before, stop: until, runtime });
        };
        Ok(Self {
            read: Some(Box::new(read)),
            stop: Some(stop),
            at_stop,
            pieces,
            spent,
            decoding,
            inputs: BTreeMap::new(),
            gives_lines,
            has_files: known.is_some(),
            ended: known.unwrap_or_default(),
            place: "".into(),
            piece: None,
            taken: 0,
            progress,
        })
    }

    /// The bytes of these incomplete records.
    pub(crate) fn torn_bytes(&self) -> u64 {
        let streams = self.inputs.values().filter(|input| input.begin.file.is_none());
        streams.map(|input| input.decoder.begun()).sum()
    }

    /// Ends an input, unless it has ended already.
    fn end(&mut self, number: usize, out: &mut Decoded) -> Result<()> {
        let Some(mut input) = self.inputs.remove(&number) else { return Ok(()) };
        self.place = input.begin.place.clone();
        // Half a character is read again with its other half.
        let carried = input.decoder.carried();
        input.decoder.end(out)?;
        if let Some(position) = input.position() {
            let last = &input.last[..input.last.len().saturating_sub(carried as usize)];
            let (offset, tail) = (input.fed - carried, crc32fast::hash(last));
            self.ended.insert(FilePosition { offset, tail, ..position });
        }
        Ok(())
    }
}

impl SourceConnector for BytesSource {
    fn stop(&mut self) -> bool {
        (self.read, self.stop) = (None, None);
        self.at_stop == AtStop::Decode
    }

    fn torn(&self) -> u64 {
        let streams = self.inputs.values().filter(|input| input.begin.file.is_none());
        streams.filter(|input| input.decoder.begun() > 0).count() as u64
    }

    async fn ready(&mut self) -> Result<bool> {
        if let Some(read) = self.read.take() {
            std::thread::spawn(read);
        }
        if self.piece.is_none() {
            let next = self.pieces.recv();
            let piece = match self.inputs.values().filter_map(Input::gives_at).min() {
                None => next.await,
                Some(at) => match tokio::time::timeout_at(at, next).await {
                    Ok(piece) => piece,
                    Err(_) => return Ok(true),
                },
            };
            self.piece = piece.transpose()?;
        }
        Ok(self.piece.is_some())
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        // Before the next piece, which may be of an input that always has one.
        if self.gives_lines {
            let now = Instant::now();
            let mut inputs = self.inputs.values_mut();
            if let Some(input) = inputs.find(|input| input.gives_at().is_some_and(|at| at <= now)) {
                self.place = input.begin.place.clone();
                input.give(out);
                // What does not decode takes its origin from one place.
                return Ok(());
            }
        }
        match &self.piece {
            None => return Ok(()),
            Some(Piece::Begin(number, begin)) => {
                self.place = begin.place.clone();
                let start = Start {
                    number: begin.records,
                    offset: begin.offset,
                    begins: begin.offset == 0,
                    head: begin.head.clone(),
                };
                let decoder = Decoder::new(&self.decoding, begin.place.clone(), &start);
                let fed = begin.offset;
                // From now on this input, not `ended`, reports the position of the file.
                let inode = begin.file.as_ref().map(|(_, file)| file.inode());
                self.ended.replace(inode, begin.known.as_ref());
                let (begin, tail) = ((**begin).clone(), begin.tail.clone());
                let input = Input {
                    begin,
                    decoder,
                    fed,
                    last: tail.clone(),
                    line_tail: tail.clone(),
                    tail,
                    begun: 0,
                    changed: Instant::now(),
                };
                self.inputs.insert(*number, input);
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
                let rest = &bytes[self.taken..];
                let taken = input.decoder.decode(rest, out, full)?;
                input.take(&rest[..taken]);
                self.taken += taken;
                self.progress.add(taken as u64);
                if self.taken < bytes.len() {
                    return Ok(());
                }
                self.taken = 0;
            }
            Some(Piece::End(number)) => {
                let number = *number;
                self.end(number, out)?;
            }
            Some(Piece::Gone(number, inode)) => {
                let (number, inode) = (*number, *inode);
                self.end(number, out)?;
                self.ended.take_inode(inode);
            }
            Some(Piece::Missing(files)) => self.ended.note_gone(files.iter().copied()),
        }
        if let Some(Piece::Bytes(_, chunk)) = self.piece.take() {
            let _ = self.spent.send(chunk.buffer); // Fails if the reader has ended.
        }
        Ok(())
    }

    fn place(&self) -> Arc<str> {
        self.place.clone()
    }

    fn position(&self) -> Option<Value> {
        if !self.has_files {
            return None;
        }
        let mut positions: Vec<_> = self.ended.iter().cloned().collect();
        positions.extend(self.inputs.values().filter_map(Input::position));
        Some(serde_json::to_value(positions).expect("its keys are texts"))
    }
}

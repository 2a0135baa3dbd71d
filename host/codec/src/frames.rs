//! Length-prefixed, checksummed, versioned frames: records in files, and dead letters.
//!
//! A frame is `b"PH"`, a version (3), a kind (`R` a record, `D` a dead letter), the
//! length of the payload and the CRC-32 (IEEE) of kind and payload, both little-endian
//! u32, then the payload in [postcard's wire format](https://postcard.jamesmunns.com).

use anyhow::{Context as _, Result, anyhow, bail};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeSeq as _, SerializeStruct as _};
use serde::{Serialize, Serializer};
use serde_bytes::Bytes;

use crate::{Decoded, Undecodable};
use pipehost_record::{Batch, Column, Letter, Record, Selected};

const MAGIC: [u8; 2] = *b"PH";
const VERSION: u8 = 3;
const HEADER: usize = 12;
/// A frame that claims to be larger is damaged: batches are far smaller.
const MAX_PAYLOAD: usize = 256 << 20;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Record(Record),
    Letter(Letter),
}

/// Appends a record.
pub fn write_record(record: &Record, out: &mut Vec<u8>) {
    write(b'R', record, out);
}

/// Appends a row of a batch as a record, without copying it first.
pub(super) fn write_row(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    write(b'R', &Row { batch, row }, out);
}

/// Serializes a row of a batch as a [`Record`], without copying it first.
struct Row<'a> {
    batch: &'a Batch,
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { batch, row } = *self;
        fn bytes(column: Option<&Selected<Column>>, row: usize) -> Option<&Bytes> {
            column.and_then(|column| column.get(row)).map(Bytes::new)
        }
        let mut record = serializer.serialize_struct("Record", 4)?;
        let time = batch.timestamps.as_ref().and_then(|times| times.get(row));
        record.serialize_field("timestamp", &time)?;
        record.serialize_field("key", &bytes(batch.key.as_ref(), row))?;
        record.serialize_field("value", &bytes(batch.value.as_ref(), row))?;
        record.serialize_field("attributes", &Attributes(self))?;
        record.end()
    }
}

struct Attributes<'a>(&'a Row<'a>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { batch, row } = self.0;
        // The sequence starts with its length.
        let mut list = serializer.serialize_seq(Some(batch.attributes_of(*row).count()))?;
        for (name, bytes) in batch.attributes_of(*row) {
            list.serialize_element(&(name, Bytes::new(bytes)))?;
        }
        list.end()
    }
}

/// Appends a dead letter.
pub fn write_letter(letter: &Letter, out: &mut Vec<u8>) {
    write(b'D', letter, out);
}

fn write(kind: u8, payload: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    postcard::to_io(payload, &mut *out)
        .expect("a vector takes all, and these types have no case that cannot be encoded");
    let length = u32::try_from(out.len() - start - HEADER).expect("records are below 4 GiB");
    let crc = checksum(kind, &out[start + HEADER..]);
    let header = &mut out[start..start + HEADER];
    header[..4].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION, kind]);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(payload);
    crc.finalize()
}

/// Reads the frame at the start of `bytes`, and its length; `None` if it is incomplete.
///
/// # Errors
/// If the bytes are no frame, or one that is damaged or of another version.
pub fn read(bytes: &[u8]) -> Result<Option<(Frame, usize)>> {
    let Some(header) = bytes.get(..HEADER) else {
        let begun = &bytes[..bytes.len().min(MAGIC.len())];
        return if MAGIC.starts_with(begun) { Ok(None) } else { Err(anyhow!("it is not a frame")) };
    };
    if header[..2] != MAGIC {
        bail!("it is not a frame");
    }
    if header[2] != VERSION {
        bail!(
            "the frame has version {}, and this pipehost reads version {VERSION}: read it with the pipehost that wrote it",
            header[2]
        );
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let (kind, length, crc) = (header[3], word(4) as usize, word(8));
    if length > MAX_PAYLOAD {
        bail!("the frame is damaged: it claims {length} bytes");
    }
    let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
    if checksum(kind, payload) != crc {
        bail!("the frame is damaged: its checksum is wrong");
    }
    let frame = match kind {
        b'R' => Frame::Record(decode(payload)?),
        b'D' => Frame::Letter(decode(payload)?),
        other => return Err(anyhow!("the frame is of an unknown kind, {other}")),
    };
    Ok(Some((frame, HEADER + length)))
}

/// The length of the frame at the start of `bytes`, which must be one.
pub fn length(bytes: &[u8]) -> usize {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok());
    HEADER + length.map_or(0, u32::from_le_bytes) as usize
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(anyhow!("the frame has more bytes than its record")),
        Err(error) => Err(anyhow!("the frame does not decode: {error}")),
    }
}

/// Splits an input into frames. A dead letter yields its record.
pub struct FrameSplitter {
    place: Arc<str>,
    number: u64,
    begun: Vec<u8>,
}

impl FrameSplitter {
    /// `number`: the records of the input before this one.
    pub(super) fn new(place: Arc<str>, number: u64) -> Self {
        Self { place, number, begun: Vec::new() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of a frame that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.begun.len() as u64
    }

    pub(super) fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<usize> {
        let before = self.begun.len();
        self.begun.extend_from_slice(bytes);
        let mut start = 0;
        while !full(out) {
            let number = self.number + 1;
            let frame = read(&self.begun[start..])
                .with_context(|| format!("frame {number} of {}", self.place))?;
            let Some((frame, length)) = frame else {
                self.begun.drain(..start);
                return Ok(bytes.len());
            };
            let (Frame::Record(record) | Frame::Letter(Letter { record, .. })) = frame;
            self.number = number;
            out.batch.push_record(&self.place, number, &record);
            start += length;
        }
        self.begun.clear();
        Ok(start - before)
    }

    pub(super) fn end(&mut self, out: &mut Decoded) {
        if !self.begun.is_empty() {
            out.refuse(Undecodable {
                number: self.number + 1,
                reason: format!(
                    "the input ends within a frame, {} bytes of it are there",
                    self.begun.len()
                ),
                record: Record {
                    value: Some(std::mem::take(&mut self.begun)),
                    ..Record::default()
                },
            });
        }
    }
}

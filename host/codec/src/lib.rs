//! Bytes to batches and back: lines, CSV, JSON, frames.

mod begun;
mod csv;
pub mod frames;
mod json;
mod lines;
mod prefix;

use anyhow::Result;
use std::sync::Arc;

use pipehost_config::{DecodeFormat, Decoding, Encoding};
use pipehost_record::{Batch, BatchBuilder, Record};
use prefix::Prefix;
pub use prefix::{CONVERT, HEAD, is_utf16};

/// A piece of input that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its number among the records of its input, from 1.
    pub number: u64,
    pub reason: String,
    /// Its bytes, as the value; none if it was too long to hold.
    pub record: Record,
}

/// What a decoder has found: records, and input that does not decode.
#[derive(Debug, Default)]
pub struct Decoded {
    pub batch: BatchBuilder,
    undecodable: Vec<Undecodable>,
    /// Bytes that `undecodable` takes.
    undecodable_bytes: usize,
}

impl Decoded {
    /// Whether nothing was found yet.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.undecodable.is_empty()
    }

    /// Bytes that records and undecodable input take.
    pub fn bytes(&self) -> usize {
        self.batch.bytes() + self.undecodable_bytes
    }

    /// Adds a piece of input that does not decode.
    pub fn refuse(&mut self, undecodable: Undecodable) {
        const ITSELF: usize = 128;
        let Undecodable { reason, record, .. } = &undecodable;
        let value = record.value.as_ref().map_or(0, Vec::len);
        self.undecodable_bytes += ITSELF + reason.len() + value;
        self.undecodable.push(undecodable);
    }

    pub fn undecodable(&self) -> &[Undecodable] {
        &self.undecodable
    }

    pub fn take_undecodable(&mut self) -> Vec<Undecodable> {
        self.undecodable_bytes = 0;
        std::mem::take(&mut self.undecodable)
    }
}

/// Decodes one input: a file, or stdin.
pub struct Decoder {
    /// Looks for a byte order mark before a text, until the first bytes have come.
    prefix: Prefix,
    splitter: RecordSplitter,
}

enum RecordSplitter {
    Lines(lines::LineSplitter),
    Csv(csv::CsvSplitter),
    Json(lines::LineSplitter, json::Members),
    Frames(frames::FrameSplitter),
}

impl Decoder {
    /// `place` is the origin that the records carry; `number` of them came before. 0 means that
    /// this is the start of the input.
    pub fn new(decoding: &Decoding, place: Arc<str>, number: u64) -> Self {
        let max = decoding.max_line_bytes;
        let lines = || lines::LineSplitter::new(place.clone(), max, number);
        let splitter = match &decoding.format {
            DecodeFormat::Lines => RecordSplitter::Lines(lines()),
            DecodeFormat::Csv { delimiter } => {
                RecordSplitter::Csv(csv::CsvSplitter::new(place.clone(), max, *delimiter, number))
            }
            DecodeFormat::Json(members) => {
                RecordSplitter::Json(lines(), json::Members::new(members.clone()))
            }
            DecodeFormat::Frames => {
                RecordSplitter::Frames(frames::FrameSplitter::new(place.clone(), number))
            }
        };
        Self { prefix: Prefix::new(place), splitter }.at_begin(number == 0)
    }

    /// Sets whether this is the start of the input, where a byte order mark may stand.
    pub fn at_begin(mut self, begin: bool) -> Self {
        self.prefix.look(begin && !matches!(self.splitter, RecordSplitter::Frames(_)));
        self
    }

    /// Records so far (in text formats, lines), including those before this decoder.
    pub fn number(&self) -> u64 {
        match &self.splitter {
            RecordSplitter::Lines(lines) | RecordSplitter::Json(lines, _) => lines.number(),
            RecordSplitter::Csv(csv) => csv.number(),
            RecordSplitter::Frames(frames) => frames.number(),
        }
    }

    /// Bytes that were taken of a record that is still incomplete.
    pub fn begun(&self) -> u64 {
        let begun = match &self.splitter {
            RecordSplitter::Lines(lines) | RecordSplitter::Json(lines, _) => lines.begun(),
            RecordSplitter::Csv(csv) => csv.begun(),
            RecordSplitter::Frames(frames) => frames.begun(),
        };
        begun + self.prefix.begun()
    }

    /// Takes bytes until they end or `full` says to send the batch first. Returns how many were
    /// taken.
    ///
    /// # Errors
    /// If no later input can be decoded either: after a damaged frame, or in UTF-16.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<usize> {
        let (taken, first) = self.prefix.take(bytes)?;
        if let Some(first) = first {
            // They are too few to end a record, so all are taken.
            self.splitter.split(&first, out, &full)?;
        }
        Ok(taken + self.splitter.split(&bytes[taken..], out, full)?)
    }

    /// Ends the input: decodes or refuses a record that is still incomplete.
    pub fn end(&mut self, out: &mut Decoded) {
        if let Some(first) = self.prefix.end() {
            self.splitter.split(&first, out, |_| false).expect("texts always split");
        }
        self.splitter.end(out);
    }
}

impl RecordSplitter {
    fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<usize> {
        match self {
            Self::Lines(lines) => Ok(lines.split(bytes, out, full, lines::value)),
            Self::Csv(csv) => Ok(csv.split(bytes, out, full)),
            Self::Json(lines, members) => {
                Ok(lines.split(bytes, out, full, |place, number, line, out| {
                    members.decode(place, number, line, out);
                }))
            }
            Self::Frames(frames) => frames.split(bytes, out, full),
        }
    }

    fn end(&mut self, out: &mut Decoded) {
        match self {
            Self::Lines(lines) => lines.end(out, lines::value),
            Self::Csv(csv) => csv.end(out),
            Self::Json(lines, members) => lines.end(out, |place, number, line, out| {
                members.decode(place, number, line, out);
            }),
            Self::Frames(frames) => frames.end(out),
        }
    }
}

/// Appends the records of a batch.
pub fn encode(encoding: &Encoding, batch: &Batch, out: &mut Vec<u8>) {
    encode_from(encoding, batch, 0, usize::MAX, out);
}

/// Bytes to encode before they are written: a batch that becomes much text is not held whole.
const PIECE: usize = 1 << 20;

/// Encodes a batch in pieces of about a mebibyte, each of whole records, and gives them to `write`.
///
/// # Errors
/// That of `write`, which is not called again.
pub fn encode_pieces<E>(
    encoding: &Encoding,
    batch: &Batch,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut row, mut piece) = (0, Vec::new());
    while row < batch.len {
        piece.clear();
        row = encode_from(encoding, batch, row, PIECE, &mut piece);
        write(&piece)?;
    }
    Ok(())
}

/// Appends records from a row on, until they have `most` bytes. Returns the next row.
fn encode_from(
    encoding: &Encoding,
    batch: &Batch,
    mut row: usize,
    most: usize,
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    while row < batch.len && out.len() - start < most {
        match encoding {
            Encoding::Lines(template) => lines::encode(template.as_ref(), batch, row, out),
            Encoding::Json(numbers) => json::encode(numbers, batch, row, out),
            Encoding::Frames => frames::write_row(batch, row, out),
        }
        row += 1;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes an input that arrives in pieces of `piece` bytes.
    fn decode(
        decoding: &Decoding,
        input: &[u8],
        piece: usize,
    ) -> (Vec<Record>, Vec<(u64, String)>) {
        let mut decoder = Decoder::new(decoding, "test".into(), 0);
        let mut out = Decoded::default();
        let mut records = Vec::new();
        let take = |out: &mut Decoded, records: &mut Vec<Record>| {
            let batch = out.batch.take();
            records.extend((0..batch.len).map(|row| batch.record(row)));
        };
        for mut bytes in input.chunks(piece) {
            while !bytes.is_empty() {
                let taken = decoder.decode(bytes, &mut out, |out| out.batch.len() == 2).unwrap();
                bytes = &bytes[taken..];
                take(&mut out, &mut records);
            }
        }
        decoder.end(&mut out);
        take(&mut out, &mut records);
        let wrong = out.take_undecodable().into_iter().map(|u| (u.number, u.reason)).collect();
        (records, wrong)
    }

    fn lines(max_line_bytes: usize) -> Decoding {
        Decoding { format: DecodeFormat::Lines, max_line_bytes }
    }

    #[track_caller]
    fn check_lines(input: &str, values: &[&str], too_long: &[u64]) {
        for piece in 1..=input.len().max(1) {
            let (records, wrong) = decode(&lines(5), input.as_bytes(), piece);
            let found: Vec<_> = records
                .iter()
                .map(|r| String::from_utf8(r.value.clone().unwrap()).unwrap())
                .collect();
            assert_eq!(found, values, "in pieces of {piece}");
            assert_eq!(wrong.iter().map(|(number, _)| *number).collect::<Vec<_>>(), too_long);
        }
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        check_lines("", &[], &[]);
        check_lines("a\nbb\n", &["a", "bb"], &[]);
        check_lines("a\nno newline"[..4].into(), &["a", "no"], &[]);
        check_lines("\n\na\n", &["", "", "a"], &[]);
        check_lines("dos\r\nunix\n", &["dos", "unix"], &[]);
        check_lines("12345\n123456\nx\n", &["12345", "x"], &[2]);
        check_lines("x\n1234567890", &["x"], &[2]);
    }

    #[test]
    fn a_line_that_is_too_long_says_how_long_it_was() {
        let (_, wrong) = decode(&lines(5), b"1234567890\n", 3);
        assert_eq!(wrong, [(1, "the line has 10 bytes, and max_line allows 5".to_owned())]);
    }

    #[test]
    fn json_members_become_what_the_codec_says() {
        use pipehost_config::{JsonAttributes, JsonMembers};
        let members = JsonMembers {
            attributes: JsonAttributes::Named(vec!["level".into(), "code".into(), "none".into()]),
            key: Some("id".into()),
            timestamp: Some("at".into()),
            value: Some("text".into()),
        };
        let decoding = Decoding { format: DecodeFormat::Json(members), max_line_bytes: 1000 };
        let input = br#"{"id":7,"at":"1970-01-01T00:00:01Z","text":"hi","level":"INFO","code":[12345678901234567890.10],"none":null}
not json
[1]
{"at":"yesterday"}
"#;
        let (records, wrong) = decode(&decoding, input, 10);
        let expected = Record {
            timestamp: Some(1_000_000_000),
            key: Some(b"7".to_vec()),
            value: Some(b"hi".to_vec()),
            attributes: vec![
                ("level".into(), b"INFO".to_vec()),
                ("code".into(), b"[12345678901234567890.10]".to_vec()),
            ],
        };
        assert_eq!(records, [expected]);
        assert_eq!(wrong.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(wrong[0].1.starts_with("not a JSON object: "), "{wrong:?}");
        assert!(wrong[2].1.contains("`at`"), "{wrong:?}");
    }

    #[test]
    fn frames_survive_the_round_trip_and_a_torn_end_is_reported() {
        let record = |value: &str| Record {
            timestamp: Some(-5),
            key: None,
            value: Some(value.into()),
            attributes: vec![("a".into(), b"\xff\n".to_vec())],
        };
        let records: Vec<_> = ["x", "", "long enough to span pieces"].map(record).into();
        let mut bytes = Vec::new();
        for record in &records {
            frames::write_record(record, &mut bytes);
        }
        let decoding = Decoding { format: DecodeFormat::Frames, max_line_bytes: 1 };
        for piece in 1..bytes.len() {
            assert_eq!(decode(&decoding, &bytes, piece), (records.clone(), vec![]));
        }
        let (found, wrong) = decode(&decoding, &bytes[..bytes.len() - 1], 7);
        assert_eq!(found, records[..2]);
        assert!(wrong[0].1.starts_with("the input ends within a frame"), "{wrong:?}");
    }

    #[test]
    fn json_holds_bytes_that_are_not_text() {
        let mut builder = BatchBuilder::default();
        let attributes = [("level", &b"INFO"[..]), ("raw", &b"\xff"[..])];
        builder.push(&"t".into(), 1, Some(0), None, Some(b"a \"quote\""), attributes.into_iter());
        let mut out = Vec::new();
        encode(&Encoding::Json(Default::default()), &builder.take(), &mut out);
        let expected = r#"{"timestamp":"1970-01-01T00:00:00Z","value":"a \"quote\"","attributes":{"level":"INFO","raw":{"base64":"/w=="}}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}

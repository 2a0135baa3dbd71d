//! Bytes to batches and back: lines, CSV, JSON, frames.

mod begun;
mod charset;
mod csv;
mod decoded;
pub mod frames;
mod json;
mod labels;
mod lines;
mod multiline;
mod prefix;
mod values;

use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;

use charset::Transcoder;
pub use decoded::{Decoded, Undecodable};
use labels::Labels;
use pipehost_config::{
    Charset, CsvColumns, DecodeFormat, Decoding, Encoding, JsonLayout, Metadata,
};
use pipehost_record::Batch;
use prefix::Prefix;
pub use prefix::{CONVERT, HEAD, is_utf16};

/// How much of the begin of an input a decoder wants that goes on in its middle: the byte order
/// mark, and the names in a header.
pub const BEGIN: usize = 64 << 10;

/// Where a decoder begins in an input.
#[derive(Debug, Clone)]
pub struct Start {
    /// Records (in text formats, lines) and bytes before it.
    pub number: u64,
    pub offset: u64,
    /// Whether the input begins here. If not, `head` is how it begins, [`BEGIN`] bytes at most, as
    /// far as that is known.
    pub begins: bool,
    pub head: Vec<u8>,
}

impl Default for Start {
    /// The begin of an input.
    fn default() -> Self {
        Self { number: 0, offset: 0, begins: true, head: Vec::new() }
    }
}

/// Whether a decoder that goes on in the middle of an input has to know how that begins.
pub fn needs_head(decoding: &Decoding) -> bool {
    let has_header =
        matches!(&decoding.format, DecodeFormat::Csv(csv) if csv.columns == CsvColumns::Header);
    has_header || decoding.charset == Charset::Utf16
}

/// Decodes one input: a file, or stdin.
pub struct Decoder {
    input: Arc<str>,
    metadata: Metadata,
    /// Looks for a byte order mark before a text, until the first bytes have come.
    prefix: Prefix,
    transcoder: Option<Transcoder>,
    splitter: RecordSplitter,
}

enum RecordSplitter {
    Lines(lines::LineSplitter),
    Multiline(Box<multiline::MultilineSplitter>),
    Csv(Box<(csv::CsvSplitter, csv::Fields)>),
    Json(lines::LineSplitter, json::Members),
    Values(values::ValueSplitter, json::Members),
    Frames(frames::FrameSplitter),
}

impl Decoder {
    /// `input` is the origin that the records carry.
    pub fn new(decoding: &Decoding, input: Arc<str>, start: &Start) -> Self {
        let (max, too_long) = (decoding.max_line_bytes, decoding.too_long);
        let (number, offset) = (start.number, start.offset);
        let begins = start.begins;
        let lines = || lines::LineSplitter::new(input.clone(), max, too_long, number, offset);
        let splitter = match &decoding.format {
            DecodeFormat::Lines => RecordSplitter::Lines(lines()),
            DecodeFormat::Multiline(multiline) => {
                let splitter = multiline::MultilineSplitter::new(
                    input.clone(),
                    multiline,
                    max,
                    too_long,
                    number,
                    offset,
                );
                RecordSplitter::Multiline(splitter.into())
            }
            DecodeFormat::Csv(csv) => {
                let splitter =
                    csv::CsvSplitter::new(input.clone(), max, csv.delimiter, number, offset);
                let mut fields = csv::Fields::new(csv);
                if !begins {
                    let head = text_of(decoding.charset, &start.head);
                    fields.go_on(number, &head);
                }
                RecordSplitter::Csv((splitter, fields).into())
            }
            DecodeFormat::Json(members) => {
                let splitter = json::Members::new(members.clone());
                match members.layout {
                    JsonLayout::Lines => RecordSplitter::Json(lines(), splitter),
                    JsonLayout::Values => {
                        let values =
                            values::ValueSplitter::new(input.clone(), max, begins, number, offset);
                        RecordSplitter::Values(values, splitter)
                    }
                }
            }
            DecodeFormat::Frames => {
                RecordSplitter::Frames(frames::FrameSplitter::new(input.clone(), number))
            }
        };
        let is_text = !matches!(splitter, RecordSplitter::Frames(_));
        let transcoder = Transcoder::new(decoding.charset, begins, &start.head);
        let mut prefix = Prefix::new(input.clone());
        prefix.look(begins && is_text && transcoder.is_none());
        Self { input, metadata: decoding.metadata.clone(), prefix, transcoder, splitter }
    }

    /// Records so far (in text formats, lines), including those before this decoder.
    pub fn number(&self) -> u64 {
        match &self.splitter {
            RecordSplitter::Lines(lines) | RecordSplitter::Json(lines, _) => lines.number(),
            RecordSplitter::Multiline(lines) => lines.number(),
            RecordSplitter::Csv(csv) => csv.0.number(),
            RecordSplitter::Values(values, _) => values.number(),
            RecordSplitter::Frames(frames) => frames.number(),
        }
    }

    /// Bytes that were taken of a record that is still incomplete.
    pub fn begun(&self) -> u64 {
        match &self.transcoder {
            Some(transcoder) => transcoder.begun(),
            None => self.splitter.begun() + self.prefix.begun(),
        }
    }

    /// Bytes of a line that has not ended yet: of those that are begun, the last.
    pub fn line_begun(&self) -> u64 {
        match (&self.transcoder, &self.splitter) {
            (Some(transcoder), _) => transcoder.line_begun(),
            (None, RecordSplitter::Multiline(lines)) => lines.line_begun(),
            (None, _) => self.begun(),
        }
    }

    /// Bytes of half a character, which were taken last: a next run reads them again.
    pub fn carried(&self) -> u64 {
        self.transcoder.as_ref().map_or(0, Transcoder::carried)
    }

    /// How long whole lines are held that may be a record, if no more come; then they are to be
    /// [given](Self::give).
    pub fn waits(&self) -> Option<Duration> {
        match &self.splitter {
            RecordSplitter::Multiline(lines) => lines.waits(),
            _ => None,
        }
    }

    /// Gives whole lines that are held, as a record.
    pub fn give(&mut self, out: &mut Decoded) {
        self.label(out);
        if let RecordSplitter::Multiline(lines) = &mut self.splitter {
            lines.give(out);
            if let Some(transcoder) = &mut self.transcoder {
                transcoder.give(lines.line_begun());
            }
        }
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
        self.label(out);
        if let Some(transcoder) = &mut self.transcoder {
            let mut taken = 0;
            while taken < bytes.len() {
                let piece = transcoder.next(&bytes[taken..]);
                taken += piece.taken;
                self.splitter.split(piece.text.as_bytes(), out, |_| false)?;
                transcoder.note(&piece, self.splitter.begun());
                if full(out) {
                    break;
                }
            }
            return Ok(taken);
        }
        let (taken, first) = self.prefix.take(bytes)?;
        self.splitter.skip(self.prefix.take_removed());
        if let Some(first) = first {
            // They are too few to end a record, so all are taken.
            self.splitter.split(&first, out, &full)?;
        }
        Ok(taken + self.splitter.split(&bytes[taken..], out, full)?)
    }

    /// Ends the input: decodes or refuses a record that is still incomplete.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn end(&mut self, out: &mut Decoded) -> Result<()> {
        self.label(out);
        if let Some(first) = self.prefix.end() {
            self.splitter.split(&first, out, |_| false)?;
        }
        if let Some(transcoder) = &mut self.transcoder {
            let last = transcoder.end();
            self.splitter.split(last.as_bytes(), out, |_| false)?;
        }
        self.splitter.end(out)
    }

    /// What the records that are found now have beside their bytes.
    fn label(&self, out: &mut Decoded) {
        if self.metadata != Metadata::default() {
            out.labels = Labels::of_input(&self.metadata, &self.input).into();
        } else if !out.labels.is_empty() {
            out.labels = Arc::default();
        }
    }
}

/// The begin of an input in UTF-8.
fn text_of(charset: Charset, head: &[u8]) -> Vec<u8> {
    let Some(mut transcoder) = Transcoder::new(charset, true, &[]) else {
        return head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).to_vec();
    };
    let (mut text, mut taken) = (Vec::new(), 0);
    while taken < head.len() {
        let piece = transcoder.next(&head[taken..]);
        taken += piece.taken;
        text.extend_from_slice(piece.text.as_bytes());
    }
    text
}

impl RecordSplitter {
    /// Passes over bytes that belong to no record.
    fn skip(&mut self, bytes: u64) {
        match self {
            Self::Lines(lines) | Self::Json(lines, _) => lines.offset += bytes,
            Self::Multiline(lines) => lines.offset += bytes,
            Self::Csv(csv) => csv.0.offset += bytes,
            Self::Values(values, _) => values.offset += bytes,
            Self::Frames(_) => {}
        }
    }

    fn begun(&self) -> u64 {
        match self {
            Self::Lines(lines) | Self::Json(lines, _) => lines.begun(),
            Self::Multiline(lines) => lines.begun(),
            Self::Csv(csv) => csv.0.begun(),
            Self::Values(values, _) => values.begun(),
            Self::Frames(frames) => frames.begun(),
        }
    }

    fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<usize> {
        match self {
            Self::Lines(lines) => Ok(lines.split(bytes, out, full, lines::value)),
            Self::Multiline(lines) => Ok(lines.split(bytes, out, full)),
            Self::Csv(csv) => csv.0.split(bytes, out, full, &mut csv.1),
            Self::Json(lines, members) => Ok(lines.split(bytes, out, full, |place, line, out| {
                members.decode(place, line, out);
            })),
            Self::Values(values, members) => {
                Ok(values.split(bytes, out, full, |place, value, out| {
                    members.decode(place, value, out);
                }))
            }
            Self::Frames(frames) => frames.split(bytes, out, full),
        }
    }

    fn end(&mut self, out: &mut Decoded) -> Result<()> {
        match self {
            Self::Lines(lines) => lines.end(out, lines::value),
            Self::Multiline(lines) => lines.end(out),
            Self::Csv(csv) => csv.0.end(out, &mut csv.1)?,
            Self::Json(lines, members) => lines.end(out, |place, line, out| {
                members.decode(place, line, out);
            }),
            Self::Values(values, members) => values.end(out, |place, value, out| {
                members.decode(place, value, out);
            }),
            Self::Frames(frames) => frames.end(out),
        }
        Ok(())
    }
}

/// Appends what stands before the first record of an output: the header of CSV.
pub fn begin(encoding: &Encoding, out: &mut Vec<u8>) {
    if let Encoding::Csv(fields) = encoding {
        csv::header(fields, out);
    }
}

/// Whether each record of an encoding ends with a line end.
pub fn ends_lines(encoding: &Encoding) -> bool {
    !matches!(encoding, Encoding::Frames)
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
            Encoding::Json(parts) => json::encode(parts, batch, row, out),
            Encoding::Csv(fields) => csv::encode(fields, batch, row, out),
            Encoding::Frames => frames::write_row(batch, row, out),
        }
        row += 1;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_config::{Csv, TooLong};
    use pipehost_record::{BatchBuilder, Record};

    /// Decodes an input that arrives in pieces of `piece` bytes.
    fn decode(
        decoding: &Decoding,
        input: &[u8],
        piece: usize,
    ) -> (Vec<Record>, Vec<(u64, String)>) {
        let mut decoder = Decoder::new(decoding, "test".into(), &Start::default());
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
        decoder.end(&mut out).unwrap();
        take(&mut out, &mut records);
        let wrong = out.take_undecodable().into_iter().map(|u| (u.number, u.reason)).collect();
        (records, wrong)
    }

    fn lines(max_line_bytes: usize) -> Decoding {
        Decoding { max_line_bytes, ..Decoding::default() }
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
            ..JsonMembers::default()
        };
        let decoding = Decoding {
            format: DecodeFormat::Json(members),
            max_line_bytes: 1000,
            ..Decoding::default()
        };
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
        let decoding =
            Decoding { format: DecodeFormat::Frames, max_line_bytes: 1, ..Decoding::default() };
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

    #[test]
    fn json_holds_numbers_booleans_and_what_is_nested_if_it_is_told_to() {
        use pipehost_config::{JsonParts, PartSet};
        let mut builder = BatchBuilder::default();
        let attributes = [
            ("n", &b"1.50"[..]),
            ("ok", b"true"),
            ("tags", b"[\"a\", 1]"),
            ("bad", b"{"),
            ("text", b"7"),
            ("none", b"null"),
            ("lines", b"[1,\n2]"),
        ];
        builder.push(&"t".into(), 1, None, Some(b"8"), Some(b"{\"a\":1}"), attributes.into_iter());
        let set = |names: &[&str]| PartSet {
            attributes: names.iter().map(|name| (*name).to_owned()).collect(),
            ..PartSet::default()
        };
        let raw = PartSet { value: true, ..set(&["ok", "tags", "bad", "none", "lines"]) };
        let parts = JsonParts { numbers: PartSet { key: true, ..set(&["n"]) }, raw };
        let mut out = Vec::new();
        encode(&Encoding::Json(parts), &builder.take(), &mut out);
        let expected = r#"{"key":8,"value":{"a":1},"attributes":{"n":1.50,"ok":true,"tags":["a", 1],"bad":"{","text":"7","none":null,"lines":"[1,\n2]"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn a_long_line_may_be_truncated_and_says_how_long_it_was() {
        let decoding =
            Decoding { max_line_bytes: 5, too_long: TooLong::Truncate, ..Decoding::default() };
        for piece in 1..30 {
            let (records, wrong) =
                decode(&decoding, "12345\r\n1234567\nééé\nx\n1234567".as_bytes(), piece);
            let shown: Vec<_> = (records.iter())
                .map(|record| {
                    let text = String::from_utf8(record.value.clone().unwrap()).unwrap();
                    let length = record.attributes.first().map(|(name, length)| {
                        assert_eq!(name, "truncated");
                        String::from_utf8(length.clone()).unwrap()
                    });
                    (text, length)
                })
                .collect();
            let truncated = |text: &str, length: &str| (text.to_owned(), Some(length.to_owned()));
            let whole = |text: &str| (text.to_owned(), None);
            // Half of an é is none.
            assert_eq!(
                shown,
                [
                    whole("12345"),
                    truncated("12345", "7"),
                    truncated("éé", "6"),
                    whole("x"),
                    truncated("12345", "7")
                ],
                "in pieces of {piece}"
            );
            assert!(wrong.is_empty());
        }
    }

    /// The header and the records of an input, however it comes, and from each record on.
    #[test]
    fn a_header_names_the_fields_and_is_known_where_reading_goes_on() {
        let csv = |columns, key: Option<&str>| {
            let csv = Csv { delimiter: b';', columns, key: key.map(str::to_owned) };
            Decoding { format: DecodeFormat::Csv(csv), ..Decoding::default() }
        };
        let input = "\u{feff}id;\"full; name\";\n1;\"Jo\nDoe\";x\n2;;y\n3;z\n";
        let decoding = csv(CsvColumns::Header, Some("id"));
        let expected = |id: &str, name: &str, value: &str| Record {
            key: Some(id.into()),
            value: Some(value.into()),
            attributes: vec![("id".into(), id.into()), ("full; name".into(), name.into())],
            ..Record::default()
        };
        let all = [expected("1", "Jo\nDoe", "1;\"Jo\nDoe\";x"), expected("2", "", "2;;y")];
        for piece in 1..input.len() {
            let (records, wrong) = decode(&decoding, input.as_bytes(), piece);
            assert_eq!(records, all, "in pieces of {piece}");
            assert_eq!(wrong, [(5, "it has 2 fields, and there are 3 columns".to_owned())]);
        }
        let at = input.find("2;;y").unwrap();
        let rest = |head: &str| {
            let start = Start { number: 3, offset: at as u64, begins: false, head: head.into() };
            let mut decoder = Decoder::new(&decoding, "test".into(), &start);
            let mut out = Decoded::default();
            decoder.decode(b"2;;y\n", &mut out, |_| false).unwrap();
            let reasons: Vec<_> = out.take_undecodable().into_iter().map(|u| u.reason).collect();
            (out.batch.take(), reasons)
        };
        assert_eq!(rest(input).0.record(0), all[1]);
        assert!(rest("").1[0].contains("are not known here"));
        // A file of a header that cannot be right says so, and is not read.
        for (wrong, why) in [("a;a\n", "twice"), ("a;b\n", "\"id\"")] {
            let mut decoder = Decoder::new(&decoding, "x.csv".into(), &Start::default());
            let error = decoder.decode(wrong.as_bytes(), &mut Decoded::default(), |_| false);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("x.csv, line 1") && error.contains(why), "{error}");
        }
        // Behind an empty line, the header still comes.
        let start = Start { number: 1, offset: 1, begins: false, head: b"\na;id\n1;2\n".to_vec() };
        let mut decoder = Decoder::new(&decoding, "test".into(), &start);
        let mut out = Decoded::default();
        decoder.decode(b"a;id\n1;2\n", &mut out, |_| false).unwrap();
        let batch = out.batch.take();
        assert_eq!((batch.len, batch.record(0).key), (1, Some(b"2".to_vec())));
        let named = csv(CsvColumns::Named(vec!["a".into(), String::new()]), None);
        let (records, _) = decode(&named, b"1;2\n", 2);
        assert_eq!(records[0].attributes, [("a".to_owned(), b"1".to_vec())]);
    }

    #[test]
    fn other_characters_become_utf_8_and_positions_stay_those_of_the_input() {
        let lines = ["é€\u{1f600}", "", "plain", "a\rb", "last"];
        let text = lines.join("\n");
        let wide = |order: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
            let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
            units.flat_map(order).collect()
        };
        let other = |label: &str| {
            Charset::Other(encoding_rs::Encoding::for_label(label.as_bytes()).unwrap())
        };
        let latin: Vec<u8> = "é\n\nü\nlast".chars().map(|c| c as u8).collect();
        for (charset, input, expected) in [
            (Charset::Utf16, wide(u16::to_le_bytes, true), &lines[..]),
            (Charset::Utf16, wide(u16::to_be_bytes, true), &lines[..]),
            (Charset::Utf16, wide(u16::to_le_bytes, false), &lines[..]),
            (other("utf-16le"), wide(u16::to_le_bytes, true), &lines[..]),
            (other("utf-16be"), wide(u16::to_be_bytes, false), &lines[..]),
            (other("latin1"), latin, &["é", "", "ü", "last"][..]),
        ] {
            let decoding = Decoding { charset, ..Decoding::default() };
            for piece in 1..12 {
                let (records, _) = decode(&decoding, &input, piece);
                let found: Vec<_> = (records.iter())
                    .map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap())
                    .collect();
                assert_eq!(found, expected, "{charset:?} in pieces of {piece}");
            }
            // From each place at which a run may have ended.
            let mut decoder = Decoder::new(&decoding, "test".into(), &Start::default());
            let mut out = Decoded::default();
            for at in 0..input.len() {
                decoder.decode(&input[at..=at], &mut out, |_| false).unwrap();
                let offset = at + 1 - decoder.begun() as usize;
                let start = Start {
                    number: decoder.number(),
                    offset: offset as u64,
                    begins: offset == 0,
                    head: input.clone(),
                };
                let mut second = Decoder::new(&decoding, "test".into(), &start);
                let mut rest = Decoded::default();
                second.decode(&input[offset..], &mut rest, |_| false).unwrap();
                second.end(&mut rest).unwrap();
                assert_eq!(
                    out.batch.len() + rest.batch.len(),
                    expected.len(),
                    "{charset:?} at {at}"
                );
                let batch = rest.batch.take();
                let last = batch.record(batch.len - 1);
                assert_eq!(last.value.as_deref(), Some(&b"last"[..]), "{charset:?} at {at}");
            }
        }
    }

    #[test]
    fn records_say_where_they_came_from_if_they_are_told_to() {
        let name = |name: &str| Some(name.to_owned());
        let metadata = Metadata {
            path: name("file"),
            offset: name("at"),
            host: name("host"),
            ingested: name("when"),
        };
        let decoding = Decoding { metadata, ..Decoding::default() };
        let start = Start { number: 2, offset: 10, begins: false, head: Vec::new() };
        let mut decoder = Decoder::new(&decoding, "a.log".into(), &start);
        let mut out = Decoded::default();
        decoder.decode(b"one\r\nt", &mut out, |_| false).unwrap();
        decoder.decode(b"wo\nthree", &mut out, |_| false).unwrap();
        decoder.end(&mut out).unwrap();
        let batch = out.batch.take();
        let text = |row: usize, name: &str| {
            String::from_utf8(batch.attribute(name).unwrap().get(row).unwrap().to_vec()).unwrap()
        };
        for (row, offset) in [(0, "10"), (1, "15"), (2, "19")] {
            assert_eq!(
                (text(row, "file"), text(row, "at")),
                ("a.log".to_owned(), offset.to_owned())
            );
            assert!(!text(row, "host").is_empty());
            pipehost_plugin::parse_rfc3339(text(row, "when").as_bytes()).unwrap();
        }
    }
}

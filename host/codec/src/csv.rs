//! CSV (RFC 4180): each CSV record is a record.
//!
//! A field may be quoted, and may then hold delimiters, line breaks, and doubled quotes. A record
//! ends with a line end (`\n` or `\r\n`) outside of quotes; the last one may lack it. The value is
//! the record as written; its fields become attributes if the configuration names them, or with the
//! stage `parse-csv`. A malformed record is refused whole: a quote inside an unquoted field, something other than a delimiter after a
//! closing quote, a quote that is never closed.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};

use crate::begun::PartialRecord;
use crate::decoded::Place;
use crate::lines::without_return;
use crate::{Decoded, Undecodable};
use pipehost_config::{Csv, CsvColumns, CsvFields, TooLong};
use pipehost_record::template::without_prefix;
use pipehost_record::time::rfc3339;
use pipehost_record::{Batch, Record, check_name};

/// Splits an input into records, and never holds more than `max_bytes` of one.
pub struct CsvSplitter {
    input: Arc<str>,
    delimiter: u8,
    /// Lines and bytes before the current record.
    lines: u64,
    pub(super) offset: u64,
    /// Line ends within the current record.
    within: u64,
    /// The part of the current record that came in earlier calls.
    begun: PartialRecord,
    /// The last byte of that part.
    last: u8,
    state: State,
}

/// Where in a record the splitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a field, or in one that is not quoted.
    Plain,
    /// In a quoted field.
    Quoted,
    /// After a quote in a quoted field: it closes the field, or a second quote follows.
    Quote,
    /// After a `\r` behind a closing quote.
    Return,
    /// The record is malformed; it extends to the end of the line.
    Wrong(&'static str),
}

const WITHIN: &str = "a quote stands in a field that is not quoted";
const BEHIND: &str = "a closing quote is not followed by a delimiter";
const OPEN: &str = "a quote is not closed";

impl CsvSplitter {
    /// `lines` and `offset` bytes of the input come before this record.
    pub(super) fn new(
        input: Arc<str>,
        max_bytes: usize,
        delimiter: u8,
        lines: u64,
        offset: u64,
    ) -> Self {
        Self {
            input,
            delimiter,
            lines,
            offset,
            within: 0,
            begun: PartialRecord::new(max_bytes, TooLong::Reject),
            last: 0,
            state: State::Plain,
        }
    }

    /// Lines before the current record.
    pub(super) fn number(&self) -> u64 {
        self.lines
    }

    /// Bytes of a record that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.begun.len()
    }

    /// Takes whole records, until `full`; returns how many bytes were taken.
    pub(super) fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
        fields: &mut Fields,
    ) -> Result<usize> {
        // Where the current record starts or continues, and where the scan is.
        let (mut start, mut at) = (0, 0);
        while let Some(end) = self.end_of_record(bytes, start, at) {
            self.end_record(&bytes[start..end], 1, out, fields)?;
            (start, at) = (end + 1, end + 1);
            if full(out) {
                return Ok(start);
            }
        }
        self.extend(&bytes[start..]);
        Ok(bytes.len())
    }

    /// Scans from `at` on for the line end that ends the record.
    fn end_of_record(&mut self, bytes: &[u8], start: usize, mut at: usize) -> Option<usize> {
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Plain => {
                    let found = at + memchr::memchr2(b'"', b'\n', &bytes[at..])?;
                    if bytes[found] == b'\n' {
                        return Some(found);
                    }
                    let before = match found.checked_sub(1) {
                        Some(before) if before >= start => Some(bytes[before]),
                        _ => (!self.begun.is_empty()).then_some(self.last),
                    };
                    let begins = before.is_none_or(|before| before == self.delimiter);
                    self.state = if begins { State::Quoted } else { State::Wrong(WITHIN) };
                    at = found + 1;
                }
                State::Quoted => {
                    let found = at + memchr::memchr2(b'"', b'\n', &bytes[at..])?;
                    match bytes[found] {
                        b'"' => self.state = State::Quote,
                        _ => self.within += 1,
                    }
                    at = found + 1;
                }
                State::Quote | State::Return if byte == b'\n' => return Some(at),
                State::Quote => {
                    self.state = match byte {
                        b'"' => State::Quoted,
                        b'\r' => State::Return,
                        byte if byte == self.delimiter => State::Plain,
                        _ => State::Wrong(BEHIND),
                    };
                    at += 1;
                }
                State::Return => self.state = State::Wrong(BEHIND),
                State::Wrong(_) => return Some(at + memchr::memchr(b'\n', &bytes[at..])?),
            }
        }
        None
    }

    pub(super) fn end(&mut self, out: &mut Decoded, fields: &mut Fields) -> Result<()> {
        if self.begun.is_empty() {
            return Ok(());
        }
        if self.state == State::Quoted {
            self.state = State::Wrong(OPEN);
        }
        self.end_record(&[], 0, out, fields)
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.begun.extend(bytes);
    }

    /// Ends the current record with these bytes, behind which its line end is so long.
    fn end_record(
        &mut self,
        bytes: &[u8],
        line_end: u64,
        out: &mut Decoded,
        fields: &mut Fields,
    ) -> Result<()> {
        let place = Place { input: &self.input, number: self.lines + 1, offset: self.offset };
        let number = place.number;
        let state = std::mem::replace(&mut self.state, State::Plain);
        let mut length = bytes.len() as u64;
        let mut record = bytes;
        if !self.begun.is_empty() {
            self.last = bytes.last().copied().unwrap_or(self.last);
            self.begun.extend(bytes);
            length = self.begun.len();
            record = self.begun.bytes();
        }
        self.lines += 1 + std::mem::take(&mut self.within);
        self.offset += length + line_end;
        let record = without_return(record);
        let passed = self.begun.passed().unwrap_or(record.len() as u64);
        let limit = self.begun.max_bytes();
        let mut taken = Ok(());
        let wrong = match state {
            _ if passed > limit as u64 => Some("it is too long"),
            State::Wrong(why) => Some(why),
            _ => None,
        };
        if let Some(why) = wrong.filter(|_| matches!(fields.names, Names::Come)) {
            // Another record is no header in its place.
            taken = Err(anyhow!("{}, line {number}: in the header, {why}", self.input));
        } else if passed > limit as u64 {
            let mut reason = format!("the record has {passed} bytes, and max_line allows {limit}");
            if let State::Wrong(why) = state {
                reason = format!("{reason}; {why}");
            }
            out.refuse(Undecodable { number, reason, record: Record::default() });
        } else if let State::Wrong(why) = state {
            let record = Record { value: Some(record.to_vec()), ..Record::default() };
            out.refuse(Undecodable { number, reason: why.to_owned(), record });
        } else if !record.is_empty() {
            taken = fields.take(place, record, out);
        }
        self.begun.clear();
        taken
    }
}

/// The attributes that take the fields of a record.
pub struct Fields {
    delimiter: u8,
    names: Names,
    key: Option<String>,
}

enum Names {
    None,
    Are(Vec<String>),
    /// The next record has them.
    Come,
    /// They were in a record that is not there any more.
    Unknown,
}

impl Fields {
    pub(super) fn new(csv: &Csv) -> Self {
        let names = match &csv.columns {
            CsvColumns::None => Names::None,
            CsvColumns::Named(names) => Names::Are(names.clone()),
            CsvColumns::Header => Names::Come,
        };
        Self { delimiter: csv.delimiter, names, key: csv.key.clone() }
    }

    /// The input does not begin here, but behind so many lines: `head` is how it begins, or nothing
    /// if that is not known.
    pub(super) fn go_on(&mut self, lines: u64, head: &[u8]) {
        if !matches!(self.names, Names::Come) {
            return;
        }
        let mut splitter = CsvSplitter::new("".into(), head.len(), self.delimiter, 0, 0);
        let (mut out, mut is_found) = (Decoded::default(), false);
        let mut at = 0;
        while at < head.len() && matches!(self.names, Names::Come) {
            if splitter.lines >= lines {
                return; // Only empty lines were before: the header still comes.
            }
            match splitter.split(&head[at..], &mut out, |_| true, self) {
                Ok(taken) => at += taken,
                Err(_) => break,
            }
            is_found = matches!(self.names, Names::Are(_));
        }
        if !is_found {
            self.names = Names::Unknown;
        }
    }

    /// Makes a record of a CSV record, or takes its fields as names.
    fn take(&mut self, place: Place<'_>, record: &[u8], out: &mut Decoded) -> Result<()> {
        let refuse = |reason: String, out: &mut Decoded| {
            let record = Record { value: Some(record.to_vec()), ..Record::default() };
            out.refuse(Undecodable { number: place.number, reason, record });
        };
        match &self.names {
            Names::None => out.push_value(place, record),
            Names::Come => {
                let names = split_fields(record, self.delimiter).map(|field| {
                    String::from_utf8(field.into_owned()).map_err(|_| anyhow!("a name is not UTF-8"))
                });
                let names = names.collect::<Result<Vec<_>>>().and_then(|names| self.check(names, out.most_attributes()));
                let names = names
                    .map_err(|why| anyhow!("{}, line {}: {why:#}", place.input, place.number))?;
                self.names = Names::Are(names);
            }
            Names::Unknown => refuse(
                "the names of its fields are not known here: they are in the header of its file. Name \
                 them with `columns` in the codec"
                    .to_owned(),
                out,
            ),
            Names::Are(names) => {
                let fields: Vec<Cow<'_, [u8]>> = split_fields(record, self.delimiter).collect();
                if fields.len() != names.len() {
                    let (found, wanted) = (fields.len(), names.len());
                    refuse(format!("it has {found} fields, and there are {wanted} columns"), out);
                    return Ok(());
                }
                let named = || names.iter().zip(&fields).filter(|(name, _)| !name.is_empty());
                let key = self.key.as_ref().and_then(|key| named().find(|(name, _)| *name == key));
                let key = key.map(|(_, field)| &**field);
                let attributes = named().map(|(name, field)| (&**name, &**field));
                out.push(place, None, key, Some(record), attributes);
            }
        }
        Ok(())
    }

    /// Checks the names of a header.
    fn check(&self, names: Vec<String>, most: usize) -> Result<Vec<String>> {
        let of_attributes = || names.iter().filter(|name| !name.is_empty());
        if of_attributes().count() > most {
            bail!("the header has {} names, and at most {most} can be attributes", names.len());
        }
        let mut seen = std::collections::HashSet::new();
        for name in of_attributes() {
            check_name(name)?;
            if !seen.insert(name) {
                bail!("the header has the name {name:?} twice");
            }
        }
        if let Some(key) = self.key.as_ref().filter(|key| !names.contains(key)) {
            bail!("the header has no name {key:?}, which `key` wants");
        }
        Ok(names)
    }
}

/// The fields of a well-formed record, without their quotes.
fn split_fields(record: &[u8], delimiter: u8) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut rest = Some(record);
    std::iter::from_fn(move || {
        let text = rest?;
        if let Some(quoted) = text.strip_prefix(b"\"") {
            let (field, behind) = unquoted(quoted);
            rest = behind.get(1..); // Behind the delimiter.
            return Some(field);
        }
        let end = memchr::memchr(delimiter, text).unwrap_or(text.len());
        rest = text.get(end + 1..);
        Some(text[..end].into())
    })
}

/// What stands before the quote that closes a field, and what is behind that.
fn unquoted(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let mut field = Cow::Borrowed(&[][..]);
    let mut rest = text;
    loop {
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        let is_doubled = rest.get(end + 1) == Some(&b'"');
        let part = &rest[..end + usize::from(is_doubled)];
        if field.is_empty() {
            field = Cow::Borrowed(part);
        } else {
            field.to_mut().extend_from_slice(part);
        }
        if !is_doubled {
            return (field, rest.get(end + 1..).unwrap_or_default());
        }
        rest = &rest[end + 2..];
    }
}

/// The record with the names of the columns.
pub(super) fn header(fields: &CsvFields, out: &mut Vec<u8>) {
    if fields.header {
        let names = fields.columns.iter().map(|name| Some(without_prefix(name).as_bytes()));
        write(fields, names, out);
    }
}

/// Writes a row as a CSV record of RFC 4180, which ends with `\n`.
pub(super) fn encode(fields: &CsvFields, batch: &Batch, row: usize, out: &mut Vec<u8>) {
    let time = batch.timestamps.as_ref().and_then(|times| times.get(row)).map(rfc3339);
    let columns = fields.columns.iter().map(|name| match &**name {
        "timestamp" => time.as_deref().map(str::as_bytes),
        "value" => batch.value.as_ref()?.get(row),
        "key" => batch.key.as_ref()?.get(row),
        name => batch.attribute(without_prefix(name))?.get(row),
    });
    write(fields, columns, out);
}

fn write<'f>(
    fields: &CsvFields,
    columns: impl Iterator<Item = Option<&'f [u8]>>,
    out: &mut Vec<u8>,
) {
    let is_alone = fields.columns.len() == 1;
    for (index, field) in columns.enumerate() {
        if index > 0 {
            out.push(fields.delimiter);
        }
        let field = field.unwrap_or_default();
        let special = |byte: &u8| *byte == fields.delimiter || b"\"\r\n".contains(byte);
        // An empty line would be no record.
        let needs_quotes = field.iter().any(special) || is_alone && field.is_empty();
        if !needs_quotes && !fields.quotes_all {
            out.extend_from_slice(field);
            continue;
        }
        out.push(b'"');
        for part in field.split_inclusive(|byte| *byte == b'"') {
            out.extend_from_slice(part);
            if part.ends_with(b"\"") {
                out.push(b'"');
            }
        }
        out.push(b'"');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs, and the records of each, in their order.
    const TABLE: &str = include_str!("../../../tests/tables/csv.jsonl");

    /// Splits an input that arrives in pieces: records and refused ones, with their lines.
    fn split(input: &[u8], piece: usize, max: usize) -> Vec<(u64, String, Option<String>)> {
        let mut splitter = CsvSplitter::new("test".into(), max, b',', 0, 0);
        let csv = Csv { delimiter: b',', columns: CsvColumns::None, key: None };
        let mut fields = Fields::new(&csv);
        let mut out = Decoded::default();
        for mut bytes in input.chunks(piece) {
            while !bytes.is_empty() {
                let taken =
                    splitter.split(bytes, &mut out, |out| out.batch.len() == 1, &mut fields);
                let taken = taken.unwrap();
                bytes = &bytes[taken..];
            }
        }
        splitter.end(&mut out, &mut fields).unwrap();
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
        let batch = out.batch.take();
        let good = (0..batch.len)
            .map(|row| (batch.origin(row).number, text(batch.record(row).value), None));
        let wrong = (out.take_undecodable().into_iter())
            .map(|wrong| (wrong.number, text(wrong.record.value), Some(wrong.reason)));
        let mut found: Vec<_> = good.chain(wrong).collect();
        found.sort();
        found
    }

    #[test]
    fn records_are_what_the_table_says_however_they_arrive() {
        for line in TABLE.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let input = case["input"].as_str().unwrap();
            let expected: Vec<_> = (case["records"].as_array().unwrap().iter())
                .map(|record| {
                    let text = |name: &str| record[name].as_str().map(str::to_owned);
                    (record["line"].as_u64().unwrap(), text("raw").unwrap(), text("refused"))
                })
                .collect();
            for piece in 1..=input.len().max(1) {
                assert_eq!(split(input.as_bytes(), piece, 100), expected, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_up_to_its_end() {
        let input = b"1,a\n2,\"b\nbbbbbbbbbb\nb\"\n3,c\n4,\"ddd\nddddddd";
        for piece in 1..input.len() {
            let found = split(input, piece, 10);
            let reasons: Vec<_> =
                found.iter().map(|(line, _, why)| (*line, why.as_deref())).collect();
            assert_eq!(
                reasons,
                [
                    (1, None),
                    (2, Some("the record has 18 bytes, and max_line allows 10")),
                    (5, None),
                    (
                        6,
                        Some(
                            "the record has 14 bytes, and max_line allows 10; a quote is not closed"
                        )
                    ),
                ],
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn the_fields_of_a_record_are_what_the_table_says() {
        for line in TABLE.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            for record in case["records"].as_array().unwrap() {
                let Some(expected) = record["fields"].as_array() else { continue };
                let raw = record["raw"].as_str().unwrap();
                let found: Vec<_> = split_fields(raw.as_bytes(), b',')
                    .map(|field| String::from_utf8(field.into_owned()).unwrap())
                    .collect();
                assert_eq!(
                    found,
                    expected.iter().map(|f| f.as_str().unwrap()).collect::<Vec<_>>(),
                    "{raw:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let texts = ["", "a", "a,b", "say \"hi\"", "\"", "two\nlines", "cr\r", " x ", "é"];
        let mut builder = pipehost_record::BatchBuilder::default();
        for first in texts {
            for second in texts {
                let attributes = [("a", first.as_bytes()), ("b", second.as_bytes())];
                builder.push(&"t".into(), 1, None, None, None, attributes.into_iter());
            }
        }
        let batch = builder.take();
        for quotes_all in [false, true] {
            let columns = vec!["a".to_owned(), "attribute:b".to_owned()];
            let fields = CsvFields { delimiter: b',', columns, header: true, quotes_all };
            let mut text = Vec::new();
            header(&fields, &mut text);
            (0..batch.len).for_each(|row| encode(&fields, &batch, row, &mut text));
            let csv = Csv { delimiter: b',', columns: CsvColumns::Header, key: None };
            let mut splitter = CsvSplitter::new("t".into(), 1000, b',', 0, 0);
            let (mut out, mut names) = (Decoded::default(), Fields::new(&csv));
            assert_eq!(splitter.split(&text, &mut out, |_| false, &mut names).unwrap(), text.len());
            let found = out.batch.take();
            assert_eq!(found.len, batch.len, "{:?}", out.undecodable());
            for row in 0..batch.len {
                assert_eq!(found.record(row).attributes, batch.record(row).attributes);
            }
        }
    }
}

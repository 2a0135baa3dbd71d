//! CSV (RFC 4180): each CSV record is a record.
//!
//! A field may be quoted, and may then hold delimiters, line breaks, and doubled quotes. A record
//! ends with a line end (`\n` or `\r\n`) outside of quotes; the last one may lack it. The value is
//! the record as written; the stage `parse-csv` splits it into fields. A malformed record is
//! refused whole: a quote inside an unquoted field, something other than a delimiter after a
//! closing quote, a quote that is never closed.

use std::sync::Arc;

use crate::begun::PartialRecord;
use crate::lines::without_return;
use crate::{Decoded, Undecodable};
use pipehost_record::Record;

/// Splits an input into records, and never holds more than `max_bytes` of one.
pub struct CsvSplitter {
    place: Arc<str>,
    delimiter: u8,
    /// Lines before the current record.
    lines: u64,
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
    /// `lines`: the lines of the input before this one.
    pub(super) fn new(place: Arc<str>, max_bytes: usize, delimiter: u8, lines: u64) -> Self {
        Self {
            place,
            delimiter,
            lines,
            within: 0,
            begun: PartialRecord::new(max_bytes),
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
    ) -> usize {
        // Where the current record starts or continues, and where the scan is.
        let (mut start, mut at) = (0, 0);
        while let Some(end) = self.end_of_record(bytes, start, at) {
            self.end_record(&bytes[start..end], out);
            (start, at) = (end + 1, end + 1);
            if full(out) {
                return start;
            }
        }
        self.extend(&bytes[start..]);
        bytes.len()
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

    pub(super) fn end(&mut self, out: &mut Decoded) {
        if !self.begun.is_empty() {
            if self.state == State::Quoted {
                self.state = State::Wrong(OPEN);
            }
            self.end_record(&[], out);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.begun.extend(bytes);
    }

    /// Ends the current record with these bytes.
    fn end_record(&mut self, bytes: &[u8], out: &mut Decoded) {
        let number = self.lines + 1;
        self.lines += 1 + std::mem::take(&mut self.within);
        let state = std::mem::replace(&mut self.state, State::Plain);
        let joined = !self.begun.is_empty();
        if joined {
            self.extend(bytes);
        }
        let record = without_return(if joined { self.begun.bytes() } else { bytes });
        let length = self.begun.passed().unwrap_or(record.len() as u64);
        let limit = self.begun.max_bytes();
        if length > limit as u64 {
            let mut reason = format!("the record has {length} bytes, and max_line allows {limit}");
            if let State::Wrong(why) = state {
                reason = format!("{reason}; {why}");
            }
            out.refuse(Undecodable { number, reason, record: Record::default() });
        } else if let State::Wrong(why) = state {
            let record = Record { value: Some(record.to_vec()), ..Record::default() };
            out.refuse(Undecodable { number, reason: why.to_owned(), record });
        } else if !record.is_empty() {
            out.batch.push_value(&self.place, number, record);
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs, and the records of each, in their order.
    const TABLE: &str = include_str!("../../../tests/tables/csv.jsonl");

    /// Splits an input that arrives in pieces: records and refused ones, with their lines.
    fn split(input: &[u8], piece: usize, max: usize) -> Vec<(u64, String, Option<String>)> {
        let mut splitter = CsvSplitter::new("test".into(), max, b',', 0);
        let mut out = Decoded::default();
        for mut bytes in input.chunks(piece) {
            while !bytes.is_empty() {
                let taken = splitter.split(bytes, &mut out, |out| out.batch.len() == 1);
                bytes = &bytes[taken..];
            }
        }
        splitter.end(&mut out);
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
}

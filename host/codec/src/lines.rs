//! Each line is a record.
//!
//! A line ends with `\n` or `\r\n`, which is not part of the record. The last one may lack it.

use std::sync::Arc;

use crate::begun::PartialRecord;
use crate::decoded::Place;
use crate::{Decoded, Undecodable};
use pipehost_config::TooLong;
use pipehost_record::template::Template;
use pipehost_record::{Batch, Record};

/// Splits an input into lines, and never holds more than `max_bytes` of one.
pub struct LineSplitter {
    input: Arc<str>,
    number: u64,
    /// Bytes of the input before the current line.
    pub(super) offset: u64,
    /// A line that has not ended yet.
    begun: PartialRecord,
}

/// Makes a record of a line: the line is its value.
pub(super) fn value(place: Place<'_>, line: &[u8], out: &mut Decoded) {
    out.push_value(place, line);
}

impl LineSplitter {
    /// `number` lines and `offset` bytes of the input come before this one.
    pub(super) fn new(
        input: Arc<str>,
        max_bytes: usize,
        too_long: TooLong,
        number: u64,
        offset: u64,
    ) -> Self {
        Self { input, number, offset, begun: PartialRecord::new(max_bytes, too_long) }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of a line that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.begun.len()
    }

    /// Gives each whole line to `record`, until `full`; returns how many bytes were taken.
    pub(super) fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
        record: impl Fn(Place<'_>, &[u8], &mut Decoded),
    ) -> usize {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if self.begun.is_empty() && line.len() <= self.begun.max_bytes() {
                self.number += 1;
                let place = Place { input: &self.input, number: self.number, offset: self.offset };
                record(place, without_return(line), out);
                self.offset += line.len() as u64 + 1;
            } else {
                self.begun.extend(line);
                self.end_line(out, &record);
                self.offset += 1;
            }
            if full(out) {
                return start;
            }
        }
        self.begun.extend(&bytes[start..]);
        bytes.len()
    }

    pub(super) fn end(
        &mut self,
        out: &mut Decoded,
        record: impl Fn(Place<'_>, &[u8], &mut Decoded),
    ) {
        if !self.begun.is_empty() {
            self.end_line(out, &record);
        }
    }

    fn end_line(&mut self, out: &mut Decoded, record: &impl Fn(Place<'_>, &[u8], &mut Decoded)) {
        self.number += 1;
        let place = Place { input: &self.input, number: self.number, offset: self.offset };
        if !give_too_long(place, "line", &self.begun, out) {
            record(place, without_return(self.begun.bytes()), out);
        }
        self.offset += self.begun.len();
        self.begun.clear();
    }
}

/// Truncates or refuses a record that is too long; false if it is not.
pub(super) fn give_too_long(
    place: Place<'_>,
    what: &str,
    begun: &PartialRecord,
    out: &mut Decoded,
) -> bool {
    let bytes = without_return(begun.bytes());
    let length = begun.passed().unwrap_or(bytes.len() as u64);
    let limit = begun.max_bytes();
    if length <= limit as u64 {
        return false;
    }
    if begun.truncates() {
        let value = without_half_character(&begun.bytes()[..limit]);
        let length = length.to_string();
        out.push(place, None, None, Some(value), [("truncated", length.as_bytes())].into_iter());
    } else {
        out.refuse(Undecodable {
            number: place.number,
            reason: format!("the {what} has {length} bytes, and max_line allows {limit}"),
            record: Record::default(),
        });
    }
    true
}

/// A text without the begin of a character of UTF-8 at its end, whose rest was cut off.
fn without_half_character(text: &[u8]) -> &[u8] {
    const LONGEST: usize = 4;
    let is_first = |byte: &u8| byte & 0xc0 != 0x80;
    let tail = &text[text.len().saturating_sub(LONGEST)..];
    let Some(first) = tail.iter().rposition(is_first) else { return text };
    let length = match tail[first] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let there = tail.len() - first;
    if there < length { &text[..text.len() - there] } else { text }
}

pub(super) fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(super) fn encode(template: Option<&Template>, batch: &Batch, row: usize, out: &mut Vec<u8>) {
    match template {
        Some(template) => template.render(batch, row, out),
        None => {
            let value = batch.value.as_ref().and_then(|column| column.get(row));
            out.extend_from_slice(value.unwrap_or_default());
        }
    }
    out.push(b'\n');
}

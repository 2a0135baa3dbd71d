//! Each line is a record.
//!
//! A line ends with `\n` or `\r\n`, which is not part of the record. The last one may lack it.

use std::sync::Arc;

use crate::begun::PartialRecord;
use crate::{Decoded, Undecodable};
use pipehost_record::template::Template;
use pipehost_record::{Batch, Record};

/// Splits an input into lines, and never holds more than `max_bytes` of one.
pub struct LineSplitter {
    place: Arc<str>,
    number: u64,
    /// A line that has not ended yet.
    begun: PartialRecord,
}

/// Makes a record of a line: the line is its value.
pub(super) fn value(place: &Arc<str>, number: u64, line: &[u8], out: &mut Decoded) {
    out.batch.push_value(place, number, line);
}

impl LineSplitter {
    /// `number`: the lines of the input before this one.
    pub(super) fn new(place: Arc<str>, max_bytes: usize, number: u64) -> Self {
        Self { place, number, begun: PartialRecord::new(max_bytes) }
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
        record: impl Fn(&Arc<str>, u64, &[u8], &mut Decoded),
    ) -> usize {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if self.begun.is_empty() && line.len() <= self.begun.max_bytes() {
                self.number += 1;
                record(&self.place, self.number, without_return(line), out);
            } else {
                self.begun.extend(line);
                self.end_line(out, &record);
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
        record: impl Fn(&Arc<str>, u64, &[u8], &mut Decoded),
    ) {
        if !self.begun.is_empty() {
            self.end_line(out, &record);
        }
    }

    fn end_line(
        &mut self,
        out: &mut Decoded,
        record: &impl Fn(&Arc<str>, u64, &[u8], &mut Decoded),
    ) {
        self.number += 1;
        let line = without_return(self.begun.bytes());
        let length = self.begun.passed().unwrap_or(line.len() as u64);
        let limit = self.begun.max_bytes();
        if length <= limit as u64 {
            record(&self.place, self.number, line, out);
        } else {
            out.refuse(Undecodable {
                number: self.number,
                reason: format!("the line has {length} bytes, and max_line allows {limit}"),
                record: Record::default(),
            });
        }
        self.begun.clear();
    }
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

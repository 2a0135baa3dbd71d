//! JSON values one behind the other (RFC 8259), each over any number of lines, or in an array: of
//! that, no more than one value is held.
//!
//! Where a value ends is found by its brackets and quotes alone. What is between values may be white
//! space, and commas in an array.

use std::sync::Arc;

use crate::begun::PartialRecord;
use crate::decoded::Place;
use crate::{Decoded, Undecodable};
use pipehost_config::TooLong;
use pipehost_record::Record;

/// Splits an input into values, and never holds more than `max_bytes` of one.
pub struct ValueSplitter {
    input: Arc<str>,
    /// Lines and bytes before the current value.
    lines: u64,
    pub(super) offset: u64,
    /// Line ends within the current value.
    within: u64,
    /// Whether one of them stands in a text.
    breaks_text: bool,
    begun: PartialRecord,
    state: State,
    array: Array,
}

/// Where the splitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two values.
    Between,
    /// In an object or an array.
    Nested { depth: u32 },
    /// In a text, in so many objects and arrays.
    Text { depth: u32 },
    /// Behind a backslash in a text.
    Escape { depth: u32 },
    /// In what has no brackets: a number, or what is no JSON.
    Bare,
}

/// Whether the values are those of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Array {
    No,
    Yes,
    /// The input did not begin here.
    Unknown,
}

impl ValueSplitter {
    /// `lines` and `offset` bytes of the input come before this; `begins` says whether it is the
    /// begin of the input.
    pub(super) fn new(
        input: Arc<str>,
        max_bytes: usize,
        begins: bool,
        lines: u64,
        offset: u64,
    ) -> Self {
        Self {
            input,
            lines,
            offset,
            within: 0,
            breaks_text: false,
            begun: PartialRecord::new(max_bytes, TooLong::Reject),
            state: State::Between,
            array: if begins { Array::No } else { Array::Unknown },
        }
    }

    /// Lines before the current value.
    pub(super) fn number(&self) -> u64 {
        self.lines
    }

    /// Bytes of a value that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.begun.len()
    }

    /// Takes values until `full`; returns how many bytes were taken.
    pub(super) fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
        record: impl Fn(Place<'_>, &[u8], &mut Decoded),
    ) -> usize {
        // Where the part of the current value begins, and where the scan is.
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            if self.state == State::Between {
                let skipped = self.skip(&bytes[at..]);
                at += skipped;
                start = at;
                let Some(&first) = bytes.get(at) else { break };
                self.state = match first {
                    b'{' | b'[' => State::Nested { depth: 0 },
                    b'"' => State::Text { depth: 0 },
                    _ => State::Bare,
                };
                if first == b'"' {
                    at += 1;
                }
                continue;
            }
            let (end, has_ended) = self.scan(bytes, at);
            at = end;
            if has_ended {
                self.give(&bytes[start..at], out, &record);
                start = at;
                if full(out) {
                    return at;
                }
            }
        }
        self.begun.extend(&bytes[start..at]);
        bytes.len()
    }

    /// How many bytes between two values are no value.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut skipped = 0;
        for &byte in bytes {
            match byte {
                b'\n' => self.lines += 1,
                b' ' | b'\t' | b'\r' => {}
                b',' if self.array != Array::No => self.array = Array::Yes,
                b']' if self.array != Array::No => self.array = Array::No,
                // An array of arrays has no object in it: the inner one is a value, which is refused.
                b'[' if self.array != Array::Yes => self.array = Array::Yes,
                _ => break,
            }
            skipped += 1;
        }
        self.offset += skipped as u64;
        skipped
    }

    /// Scans a value on; returns where the scan is then, and whether the value ends there.
    fn scan(&mut self, bytes: &[u8], mut at: usize) -> (usize, bool) {
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Text { depth } => {
                    let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', &bytes[at..]) else {
                        return (bytes.len(), false);
                    };
                    at += found + 1;
                    match bytes[at - 1] {
                        b'"' if depth == 0 => return (at, true),
                        b'"' => self.state = State::Nested { depth },
                        b'\\' => self.state = State::Escape { depth },
                        _ => {
                            self.within += 1;
                            self.breaks_text = true;
                        }
                    }
                    continue;
                }
                State::Escape { depth } => self.state = State::Text { depth },
                State::Nested { depth } => match byte {
                    b'"' => self.state = State::Text { depth },
                    b'{' | b'[' => self.state = State::Nested { depth: depth.saturating_add(1) },
                    b'}' | b']' if depth <= 1 => return (at + 1, true),
                    b'}' | b']' => self.state = State::Nested { depth: depth - 1 },
                    _ => {}
                },
                State::Bare if b" \t\r\n,]".contains(&byte) => return (at, true),
                State::Bare | State::Between => {}
            }
            if byte == b'\n' {
                self.within += 1;
            }
            at += 1;
        }
        (at, false)
    }

    /// Ends the current value with these bytes.
    fn give(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        record: &impl Fn(Place<'_>, &[u8], &mut Decoded),
    ) {
        let place = Place { input: &self.input, number: self.lines + 1, offset: self.offset };
        let mut value = bytes;
        let mut length = bytes.len() as u64;
        if !self.begun.is_empty() {
            self.begun.extend(bytes);
            (value, length) = (self.begun.bytes(), self.begun.len());
        }
        let limit = self.begun.max_bytes();
        if length > limit as u64 {
            let reason = format!("the value has {length} bytes, and max_line allows {limit}");
            out.refuse(Undecodable { number: place.number, reason, record: Record::default() });
        } else if std::mem::take(&mut self.breaks_text) {
            let reason = "not JSON: a line break stands in a text".to_owned();
            let record = Record { value: Some(value.to_vec()), ..Record::default() };
            out.refuse(Undecodable { number: place.number, reason, record });
        } else if self.within > 0 {
            // A line break in it is white space.
            let breaks = |byte: &u8| !b"\r\n".contains(byte);
            let line: Vec<u8> = value.iter().copied().filter(breaks).collect();
            record(place, &line, out);
        } else {
            record(place, value, out);
        }
        self.begun.clear();
        self.state = State::Between;
        self.lines += std::mem::take(&mut self.within);
        self.offset += length;
    }

    pub(super) fn end(
        &mut self,
        out: &mut Decoded,
        record: impl Fn(Place<'_>, &[u8], &mut Decoded),
    ) {
        let number = self.lines + 1;
        match self.state {
            State::Between => {}
            State::Bare => self.give(&[], out, &record),
            _ => {
                let reason = "the input ends within a value".to_owned();
                let value = Some(self.begun.bytes().to_vec());
                let record = Record { value, ..Record::default() };
                out.refuse(Undecodable { number, reason, record });
                self.begun.clear();
                self.state = State::Between;
            }
        }
        if self.array == Array::Yes {
            self.array = Array::No;
            let reason = "the input ends within an array: its `]` is missing".to_owned();
            out.refuse(Undecodable { number, reason, record: Record::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of an input, and what is refused, each with its line.
    fn split(input: &str, max: usize) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for piece in 1..=input.len().max(1) {
            let mut splitter = ValueSplitter::new("test".into(), max, true, 0, 0);
            let mut out = Decoded::default();
            let value = |place: Place<'_>, value: &[u8], out: &mut Decoded| {
                assert!(
                    input.as_bytes()[place.offset as usize..].starts_with(&value[..1]),
                    "{input:?}"
                );
                out.push_value(place, value);
            };
            for mut bytes in input.as_bytes().chunks(piece) {
                while !bytes.is_empty() {
                    let taken = splitter.split(bytes, &mut out, |out| out.batch.len() == 1, value);
                    bytes = &bytes[taken..];
                }
            }
            splitter.end(&mut out, value);
            let batch = out.batch.take();
            let text = |row| String::from_utf8(batch.record(row).value.unwrap()).unwrap();
            let mut these: Vec<_> =
                (0..batch.len).map(|row| (batch.origin(row).number, text(row))).collect();
            let wrong = out.take_undecodable();
            these.extend(wrong.into_iter().map(|wrong| (wrong.number, wrong.reason)));
            assert!(
                piece == 1 || these == found,
                "in pieces of {piece}: {these:?} and not {found:?}"
            );
            found = these;
        }
        found
    }

    #[track_caller]
    fn check(input: &str, expected: &[(u64, &str)]) {
        let found = split(input, 100);
        let found: Vec<_> = found.iter().map(|(line, text)| (*line, &**text)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn values_stand_behind_each_other_over_lines_or_in_an_array() {
        check("", &[]);
        check("{}{\"a\":1}\n\n{}", &[(1, "{}"), (1, "{\"a\":1}"), (3, "{}")]);
        check("{\n  \"a\": [1,\n2]\n}\n{}\n", &[(1, "{  \"a\": [1,2]}"), (5, "{}")]);
        check(
            "[\n{\"a\":\"]}\\\"\"},\n{\"b\":{\"c\":[]}}\n]\n",
            &[(2, "{\"a\":\"]}\\\"\"}"), (3, "{\"b\":{\"c\":[]}}")],
        );
        check("[]\n[{}]\n{}", &[(2, "{}"), (3, "{}")]);
        check("[[1,2],3]", &[(1, "[1,2]"), (1, "3")]);
        check("1 \"a b\" nonsense {}", &[(1, "1"), (1, "\"a b\""), (1, "nonsense"), (1, "{}")]);
    }

    #[test]
    fn what_does_not_end_is_told() {
        check("{} {\"a\":", &[(1, "{}"), (1, "the input ends within a value")]);
        check("[{},", &[(1, "{}"), (1, "the input ends within an array: its `]` is missing")]);
        check("{}}", &[(1, "{}"), (1, "}")]);
        check("{\"a\":\"x\ny\"} {}", &[(2, "{}"), (1, "not JSON: a line break stands in a text")]);
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_up_to_its_end() {
        let found = split("{\"a\":\"123456\"}\n{}", 10);
        let reason = "the value has 14 bytes, and max_line allows 10".to_owned();
        assert_eq!(found, [(2, "{}".to_owned()), (1, reason)]);
    }

    #[test]
    fn it_goes_on_in_the_middle_of_an_array() {
        let input = ",\n{\"b\":2}]\n{}";
        let mut splitter = ValueSplitter::new("test".into(), 100, false, 3, 50);
        let mut out = Decoded::default();
        splitter.split(
            input.as_bytes(),
            &mut out,
            |_| false,
            |place, value, out| {
                assert!(place.number >= 5 && place.offset >= 52);
                out.push_value(place, value);
            },
        );
        splitter.end(&mut out, |_, _, _| unreachable!());
        assert_eq!((out.batch.len(), out.undecodable().len()), (2, 0));
    }
}

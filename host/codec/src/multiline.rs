//! Several lines make a record, such as those of a stack trace. Its lines are divided by `\n`.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use crate::Decoded;
use crate::begun::PartialRecord;
use crate::decoded::Place;
use crate::lines::{give_too_long, without_return};
use pipehost_config::{LineRule, Multiline, TooLong};

/// Joins lines to records, and never holds more than `max_bytes` of one.
pub struct MultilineSplitter {
    input: Arc<str>,
    rule: Rule,
    timeout: Option<Duration>,
    most: u64,
    /// Lines and bytes before the held record.
    number: u64,
    pub(super) offset: u64,
    /// The lines of a record so far.
    held: PartialRecord,
    lines: u64,
    /// Bytes of these lines in the input, with their line ends.
    bytes: u64,
    /// A line that has not ended yet. Its begin is held even if it is too long: the rule is asked
    /// about that.
    line: PartialRecord,
}

enum Rule {
    Begins(Regex),
    Continues(Regex),
    Ends(Regex),
}

impl MultilineSplitter {
    pub(super) fn new(
        input: Arc<str>,
        multiline: &Multiline,
        max_bytes: usize,
        too_long: TooLong,
        number: u64,
        offset: u64,
    ) -> Self {
        let regex = |text: &str| Regex::new(text).expect("the configuration has only valid ones");
        let rule = match &multiline.rule {
            LineRule::Begins(text) => Rule::Begins(regex(text)),
            LineRule::Continues(text) => Rule::Continues(regex(text)),
            LineRule::Ends(text) => Rule::Ends(regex(text)),
        };
        Self {
            input,
            rule,
            timeout: multiline.timeout,
            most: multiline.most,
            number,
            offset,
            held: PartialRecord::new(max_bytes, too_long),
            lines: 0,
            bytes: 0,
            line: PartialRecord::new(max_bytes, TooLong::Truncate),
        }
    }

    /// Lines before the held record.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the held record, and of a line that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.bytes + self.line.len()
    }

    /// Bytes of a line that has not ended yet.
    pub(super) fn line_begun(&self) -> u64 {
        self.line.len()
    }

    /// How long whole lines may be held before they are given; `None` if there are none, or they
    /// wait for others.
    pub(super) fn waits(&self) -> Option<Duration> {
        self.timeout.filter(|_| self.lines > 0)
    }

    /// Takes lines until `full`; returns how many bytes were taken.
    pub(super) fn split(
        &mut self,
        bytes: &[u8],
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> usize {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if self.line.is_empty() {
                self.add(line, line.len() as u64, 1, out);
            } else {
                self.line.extend(line);
                self.add_begun(1, out);
            }
            if full(out) {
                return start;
            }
        }
        self.line.extend(&bytes[start..]);
        bytes.len()
    }

    /// Gives the lines that are held.
    pub(super) fn give(&mut self, out: &mut Decoded) {
        if self.lines == 0 {
            return;
        }
        let place = Place { input: &self.input, number: self.number + 1, offset: self.offset };
        if !give_too_long(place, "record", &self.held, out) {
            out.push_value(place, self.held.bytes());
        }
        self.number += std::mem::take(&mut self.lines);
        self.offset += std::mem::take(&mut self.bytes);
        self.held.clear();
    }

    pub(super) fn end(&mut self, out: &mut Decoded) {
        if !self.line.is_empty() {
            self.add_begun(0, out);
        }
        self.give(out);
    }

    /// Adds the line that had not ended.
    fn add_begun(&mut self, line_end: u64, out: &mut Decoded) {
        let max_bytes = self.line.max_bytes();
        let line =
            std::mem::replace(&mut self.line, PartialRecord::new(max_bytes, TooLong::Truncate));
        self.add(line.bytes(), line.len(), line_end, out);
    }

    /// Adds a line of so many bytes, which begins with these.
    fn add(&mut self, line: &[u8], length: u64, line_end: u64, out: &mut Decoded) {
        // Where a line was cut off, a return is none of its end.
        let is_whole = length == line.len() as u64;
        let text = if is_whole { without_return(line) } else { line };
        let joins = match &self.rule {
            Rule::Begins(regex) => !regex.is_match(text),
            Rule::Continues(regex) => regex.is_match(text),
            Rule::Ends(_) => true,
        };
        if !joins || self.lines >= self.most {
            self.give(out);
        }
        if self.lines > 0 {
            self.held.extend(b"\n");
        }
        self.held.extend(text);
        if !is_whole {
            // What is not there any more is counted.
            self.held.pass(length - line.len() as u64);
        }
        self.lines += 1;
        self.bytes += length + line_end;
        if matches!(&self.rule, Rule::Ends(regex) if regex.is_match(text)) {
            self.give(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rule: LineRule, most: u64, max: usize, too_long: TooLong, input: &str) -> Vec<String> {
        let mut found = Vec::new();
        for piece in 1..=input.len() {
            let multiline = Multiline { rule: rule.clone(), timeout: None, most };
            let mut splitter =
                MultilineSplitter::new("test".into(), &multiline, max, too_long, 0, 0);
            let mut out = Decoded::default();
            let mut taken = 0;
            for mut bytes in input.as_bytes().chunks(piece) {
                while !bytes.is_empty() {
                    let more = splitter.split(bytes, &mut out, |out| out.batch.len() == 1);
                    taken += more;
                    // What is not given is what is begun.
                    assert!(splitter.begun() <= taken as u64);
                    bytes = &bytes[more..];
                }
            }
            splitter.end(&mut out);
            assert_eq!(splitter.begun(), 0);
            let mut these: Vec<(u64, String)> = Vec::new();
            let batch = out.batch.take();
            for row in 0..batch.len {
                let record = batch.record(row);
                let mut text = String::from_utf8(record.value.unwrap()).unwrap();
                if let Some((_, length)) = record.attributes.first() {
                    text += &format!(" of {}", String::from_utf8_lossy(length));
                }
                these.push((batch.origin(row).number, text));
            }
            these.extend(
                out.take_undecodable().into_iter().map(|wrong| (wrong.number, wrong.reason)),
            );
            these.sort();
            let these: Vec<String> =
                these.into_iter().map(|(number, text)| format!("{number}: {text}")).collect();
            assert!(
                piece == 1 || these == found,
                "in pieces of {piece}: {these:?} and not {found:?}"
            );
            found = these;
        }
        found
    }

    fn begins(pattern: &str) -> LineRule {
        LineRule::Begins(pattern.to_owned())
    }

    #[test]
    fn a_line_begins_a_record_or_belongs_to_one_or_ends_one() {
        let input = "ERROR boom\r\n  at a\n  at b\nINFO fine\nERROR last\n  at c";
        let expected = ["1: ERROR boom\n  at a\n  at b", "4: INFO fine", "5: ERROR last\n  at c"];
        let all = |rule| split(rule, 100, 100, TooLong::Reject, input);
        assert_eq!(all(begins("^[A-Z]")), expected);
        assert_eq!(all(LineRule::Continues("^ ".into())), expected);
        let statements = "select 1\nfrom a;\nselect 2;\nselect\n";
        let ended = split(LineRule::Ends(";$".into()), 100, 100, TooLong::Reject, statements);
        assert_eq!(ended, ["1: select 1\nfrom a;", "3: select 2;", "4: select"]);
        // Lines before the first that begins a record are one, too.
        assert_eq!(split(begins("^x"), 9, 9, TooLong::Reject, "a\nb\nx\n"), ["1: a\nb", "3: x"]);
        assert_eq!(split(begins("^x"), 9, 9, TooLong::Reject, "\n\nx\n"), ["1: \n", "3: x"]);
    }

    #[test]
    fn a_record_has_at_most_so_many_lines_and_bytes() {
        let input = "x1\n 2\n 3\n 4\n 5\nx6\n";
        let some = |most, max, too_long| split(begins("^x"), most, max, too_long, input);
        assert_eq!(some(2, 100, TooLong::Reject), ["1: x1\n 2", "3:  3\n 4", "5:  5", "6: x6"]);
        assert_eq!(
            some(100, 5, TooLong::Reject),
            ["1: the record has 14 bytes, and max_line allows 5", "6: x6"]
        );
        assert_eq!(some(100, 5, TooLong::Truncate), ["1: x1\n 2 of 14", "6: x6"]);
        let long = format!("x{}\ny\n", "1".repeat(20));
        assert_eq!(split(begins("^x"), 9, 6, TooLong::Truncate, &long), ["1: x11111 of 23"]);
        let cut = split(begins("^x"), 9, 6, TooLong::Truncate, "x1111\r11\n");
        assert_eq!(cut, ["1: x1111\r of 8"]);
    }
}

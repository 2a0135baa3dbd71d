//! Finds what is to be redacted.

use std::borrow::Cow;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use regex::bytes::Regex;

use crate::{card, email, ip};

/// What is looked for.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
pub enum Kind {
    /// E-mail addresses.
    Email,
    /// Numbers of payment cards.
    Card,
    /// Addresses of IPv4 and IPv6.
    Ip,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ip => "ip",
        }
    }
}

/// What is found by hand takes a tenth of the fuel of a regular expression.
pub enum Finder {
    Pattern(Regex),
    Email,
    Card,
    Ip,
}

/// A place, and the index of the finder that found it.
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub by: usize,
}

impl Finder {
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Email => Self::Email,
            Kind::Card => Self::Card,
            Kind::Ip => Self::Ip,
        }
    }

    /// The form of what was found that all its ways to write it have in common.
    pub fn same<'t>(&self, found: &'t [u8]) -> Cow<'t, [u8]> {
        match self {
            Self::Card => card::same(found),
            Self::Email => email::same(found),
            Self::Ip => ip::same(found),
            Self::Pattern(_) => found.into(),
        }
    }

    fn find(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let mut in_parts =
            |escape: fn(&[u8]) -> usize, find: fn(&[u8], &mut dyn FnMut(usize, usize))| {
                parts(text, escape, |offset, part| {
                    find(part, &mut |start, end| found(offset + start, offset + end));
                });
            };
        match self {
            Self::Pattern(regex) => {
                for place in regex.find_iter(text) {
                    found(place.start(), place.end());
                }
            }
            Self::Email => in_parts(of_other_than_letters, |part, found| email::find(part, found)),
            Self::Card => in_parts(of_any, |part, found| card::find(part, found)),
            Self::Ip => in_parts(of_any, |part, found| ip::find(part, found)),
        }
    }
}

/// Divides a text at its escapes: none of their letters and digits is a part of what is found.
/// `escape` gives the bytes of one at the begin of a text, or 0.
fn parts(text: &[u8], escape: fn(&[u8]) -> usize, mut each: impl FnMut(usize, &[u8])) {
    let (mut start, mut at) = (0, 0);
    while let Some(step) = text[at..].iter().position(|byte| b"\\%#".contains(byte)) {
        at += step;
        let length = escape(&text[at..]);
        if length == 0 {
            at += 1;
            continue;
        }
        each(start, &text[start..at]);
        at += length;
        start = at;
    }
    each(start, &text[start..]);
}

fn are_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Those that are no letter, which would be a part of a name.
fn of_other_than_letters(text: &[u8]) -> usize {
    if email::begins_with_letter(text) { 0 } else { of_json(text) }
}

/// Those of JSON and of logs, such as `\n` and `\u003c`; and `#011` of rsyslog.
fn of_json(text: &[u8]) -> usize {
    let octal = |digits: Option<&[u8]>| {
        digits.is_some_and(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)))
    };
    if text[0] == b'#' {
        return if text.get(1) == Some(&b'0') && octal(text.get(1..4)) { 4 } else { 0 };
    }
    if text[0] != b'\\' {
        return 0;
    }
    // JSON in JSON has more of them.
    let slashes = text.iter().take_while(|byte| **byte == b'\\').count();
    let rest = &text[slashes..];
    slashes
        + match rest.first() {
            Some(b'u') if are_hex(rest.get(1..5)) => 5,
            Some(b'x') if are_hex(rest.get(1..3)) => 3,
            Some(b'0') if octal(rest.get(..3)) => 3,
            Some(letter) if b"nrtbf\"/'".contains(letter) => 1,
            _ => 0,
        }
}

/// Also `%20`, as in URLs. An address with `%40` is one all the same.
fn of_any(text: &[u8]) -> usize {
    match text[0] {
        b'%' if are_hex(text.get(1..3)) => 3,
        _ => of_json(text),
    }
}

/// All that the finders find in a text, in its order. Where two overlap, they are one.
pub fn all(finders: &[(String, Finder)], text: &[u8], found: &mut Vec<Found>) {
    found.clear();
    for (by, (_, finder)) in finders.iter().enumerate() {
        finder.find(text, |start, end| found.push(Found { start, end, by }));
    }
    found.sort_by_key(|found| (found.start, found.by));
    found.dedup_by(|next, one| {
        let overlap = next.start < one.end;
        if overlap {
            one.end = one.end.max(next.end);
        }
        overlap
    });
}

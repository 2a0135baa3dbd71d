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
        let mut in_parts = |find: fn(&[u8], &mut dyn FnMut(usize, usize))| {
            parts(text, |offset, part| {
                find(part, &mut |start, end| found(offset + start, offset + end));
            });
        };
        match self {
            Self::Pattern(regex) => {
                for place in regex.find_iter(text) {
                    found(place.start(), place.end());
                }
            }
            Self::Email => in_parts(|part, found| email::find(part, found)),
            Self::Card => in_parts(|part, found| card::find(part, found)),
            Self::Ip => in_parts(|part, found| ip::find(part, found)),
        }
    }
}

/// Divides a text at the escapes of JSON and of logs, such as `\n` and `\u003c`: none of their
/// letters and digits is a part of what is found.
fn parts(text: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let mut start = 0;
    while let Some(step) = text[start..].iter().position(|byte| *byte == b'\\') {
        each(start, &text[start..start + step]);
        start += step;
        // JSON in JSON has more of them.
        start += text[start..].iter().take_while(|byte| **byte == b'\\').count();
        let is_hex = |length: usize| {
            let digits = text.get(start + 1..start + 1 + length);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        start += match text.get(start) {
            Some(b'u') if is_hex(4) => 5,
            Some(b'x') if is_hex(2) => 3,
            Some(letter) if b"nrtbf\"/'".contains(letter) => 1,
            _ => 0,
        };
    }
    each(start, &text[start..]);
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

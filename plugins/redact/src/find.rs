//! Finds what is to be redacted.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use regex::bytes::Regex;

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

pub enum Finder {
    Pattern(Regex),
    /// Finds digits in groups.
    Card(Regex),
    /// Finds what may be an address.
    Ip(Regex),
}

/// A place, and the index of the finder that found it.
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub by: usize,
}

impl Finder {
    pub fn of(kind: Kind) -> Self {
        let regex = |pattern| Regex::new(pattern).expect("it is a regular expression");
        match kind {
            Kind::Email => Self::Pattern(regex(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]*\w)+")),
            Kind::Card => Self::Card(regex(r"(?-u)[0-9]+(?:[ -][0-9]+)*")),
            Kind::Ip => Self::Ip(regex(r"(?-u)[0-9A-Fa-f:.]+")),
        }
    }

    /// The form of what was found that all its ways to write it have in common.
    pub fn same<'t>(&self, found: &'t [u8]) -> Cow<'t, [u8]> {
        match self {
            Self::Card(_) => found.iter().copied().filter(u8::is_ascii_digit).collect(),
            Self::Pattern(_) | Self::Ip(_) => found.into(),
        }
    }

    fn find(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        match self {
            Self::Pattern(regex) => {
                for place in regex.find_iter(text) {
                    found(place.start(), place.end());
                }
            }
            Self::Card(regex) => {
                for place in regex.find_iter(text) {
                    cards(place.as_bytes(), |start, end| {
                        found(place.start() + start, place.start() + end);
                    });
                }
            }
            Self::Ip(regex) => {
                for place in regex.find_iter(text) {
                    let before = text[..place.start()].last();
                    let behind = text.get(place.end());
                    let is_word = |byte: Option<&u8>| {
                        byte.is_some_and(|&byte| {
                            byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
                        })
                    };
                    if !is_word(before) && !is_word(behind) {
                        address(place.as_bytes(), |start, end| {
                            found(place.start() + start, place.start() + end);
                        });
                    }
                }
            }
        }
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

/// Finds card numbers in groups of digits. One begins and ends where a group does.
fn cards(digits: &[u8], mut found: impl FnMut(usize, usize)) {
    const MOST: usize = 19;
    const FEWEST: usize = 12;
    let is_digit = |at: usize| digits.get(at).is_some_and(u8::is_ascii_digit);
    let mut start = 0;
    while start < digits.len() {
        // The longest that begins here.
        let (mut count, mut longest) = (0, None);
        for end in start + 1..=digits.len() {
            if !is_digit(end - 1) {
                continue;
            }
            count += 1;
            if count > MOST {
                break;
            }
            if count >= FEWEST && !is_digit(end) && is_card(&digits[start..end]) {
                longest = Some(end);
            }
        }
        if let Some(end) = longest {
            found(start, end);
            start = end;
        }
        // On to the next group.
        while is_digit(start) {
            start += 1;
        }
        start += 1;
    }
}

/// Whether a number begins as those of cards do (ISO/IEC 7812), and its check digit is right: the
/// algorithm of Luhn.
fn is_card(digits: &[u8]) -> bool {
    let digits = digits.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');
    let sum: u32 = (digits.clone().rev().enumerate())
        .map(|(place, digit)| match (place % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    let mut digits = digits;
    digits.next().is_some_and(|first| (2..=6).contains(&first)) && sum.is_multiple_of(10)
}

/// Finds the address that these characters are, without the punctuation behind it.
fn address(text: &[u8], mut found: impl FnMut(usize, usize)) {
    // The longest address of IPv6 has 45 characters.
    const LONGEST: usize = 45;
    const PORT: usize = 6;
    if text.len() > LONGEST + PORT {
        return;
    }
    let text = std::str::from_utf8(text).expect("it is ASCII");
    let trimmed = text.trim_end_matches('.');
    let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok_and(|_| text != "::");
    let is_v4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    for end in [trimmed, trimmed.trim_end_matches(':')] {
        if is_v6(end) || is_v4(end) {
            return found(0, end.len());
        }
    }
    // An address of IPv4 and a port.
    if let Some((address, port)) = trimmed.split_once(':')
        && is_v4(address)
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        found(0, address.len());
    }
}

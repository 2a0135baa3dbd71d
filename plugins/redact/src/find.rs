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
            Self::Card => found.iter().copied().filter(u8::is_ascii_digit).collect(),
            Self::Pattern(_) | Self::Email | Self::Ip => found.into(),
        }
    }

    fn find(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        match self {
            Self::Pattern(regex) => {
                for place in regex.find_iter(text) {
                    found(place.start(), place.end());
                }
            }
            Self::Email => emails(text, found),
            Self::Card => runs(text, is_of_card, |start, end| {
                cards(&text[start..end], |from, to| found(start + from, start + to));
            }),
            Self::Ip => runs(text, is_of_address, |start, end| {
                let is_word = |byte: Option<&u8>| {
                    byte.is_some_and(|&byte| {
                        byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
                    })
                };
                if !is_word(text[..start].last()) && !is_word(text.get(end)) {
                    address(&text[start..end], |from, to| found(start + from, start + to));
                }
            }),
        }
    }
}

/// Digits, which a space or a hyphen may divide.
fn is_of_card(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b' ' || byte == b'-'
}

fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':' || byte == b'.'
}

/// Finds the longest runs of such bytes.
fn runs(text: &[u8], is_of_run: impl Fn(u8) -> bool, mut found: impl FnMut(usize, usize)) {
    let mut at = 0;
    while let Some(start) = text[at..].iter().position(|byte| is_of_run(*byte)) {
        let start = at + start;
        let length = text[start..].iter().position(|byte| !is_of_run(*byte));
        at = length.map_or(text.len(), |length| start + length);
        found(start, at);
    }
}

/// Finds e-mail addresses: around each `@`, what may stand there, with a dot in the domain.
fn emails(text: &[u8], mut found: impl FnMut(usize, usize)) {
    let mut offset = 0;
    // An address is text: around what is not, there is none.
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let mut from = 0;
        for (at, _) in valid.match_indices('@') {
            if at < from {
                continue;
            }
            let is_local = |c: char| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
            let is_domain = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
            let local = valid[from..at].chars().rev().take_while(|c| is_local(*c));
            let start = at - local.map(char::len_utf8).sum::<usize>();
            let domain = valid[at + 1..].chars().take_while(|c| is_domain(*c));
            let end = at + 1 + domain.map(char::len_utf8).sum::<usize>();
            // What is behind it ends a sentence.
            let domain = valid[at + 1..end].trim_end_matches(['.', '-']);
            let labels: Vec<&str> = domain.split('.').collect();
            if start < at && labels.len() > 1 && labels.iter().all(|label| !label.is_empty()) {
                let end = at + 1 + domain.len();
                found(offset + start, offset + end);
                from = end;
            }
        }
        offset += valid.len() + chunk.invalid().len();
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
        if !is_digit(start) {
            start += 1;
            continue;
        }
        // The longest that begins here.
        let (mut count, mut longest) = (0, None);
        for end in start + 1..=digits.len() {
            if !is_digit(end - 1) {
                if !is_digit(end - 2) {
                    break; // One character alone divides two groups.
                }
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

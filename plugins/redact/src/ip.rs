//! Addresses of IPv4 and IPv6 in texts.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Finds addresses, whatever stands around them: better a version is redacted than an address is
/// not.
pub fn find(text: &[u8], mut found: impl FnMut(usize, usize)) {
    find_v4(text, &mut found);
    find_v6(text, &mut found);
}

/// The form that all ways to write an address have in common.
pub fn same(address: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(address);
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return address.to_canonical().to_string().into_bytes().into();
    }
    let numbers: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([a, b, c, d]) => format!("{a}.{b}.{c}.{d}").into_bytes().into(),
        _ => address.into(),
    }
}

/// Finds four numbers up to 255 with dots between them. A fifth may be a port, as tcpdump writes
/// it, or belong to an address that begins at the second; more of them are no address.
fn find_v4(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while let Some(step) = text[at..].iter().position(u8::is_ascii_digit) {
        let start = at + step;
        let (mut count, mut valid, mut address_end) = (0, true, 0);
        at = start;
        loop {
            let begin = at;
            while is_digit(at) {
                at += 1;
            }
            count += 1;
            let number = std::str::from_utf8(&text[begin..at]).expect("digits are ASCII");
            let is_byte = number.len() <= 3 && number.parse::<u8>().is_ok();
            if count <= 4 {
                valid &= is_byte;
            }
            if count <= 4 || (count == 5 && is_byte) {
                address_end = at;
            }
            if text.get(at) != Some(&b'.') || !is_digit(at + 1) {
                break;
            }
            at += 1;
        }
        if valid && (count == 4 || count == 5) {
            found(start, address_end);
        }
    }
}

/// Finds the longest addresses of which no group is a part of a word.
fn find_v6(text: &[u8], found: &mut impl FnMut(usize, usize)) {
    let is_of_address = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':' || *byte == b'.';
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut at = 0;
    while let Some(step) = text[at..].iter().position(|byte| *byte == b':') {
        // The characters around it of which addresses are.
        let colon = at + step;
        let before = text[at..colon].iter().rev().take_while(|byte| is_of_address(byte)).count();
        let run = colon - before;
        let length = text[colon..].iter().position(|byte| !is_of_address(byte));
        let run_end = length.map_or(text.len(), |length| colon + length);
        at = run_end;
        let mut start = run;
        while start < run_end {
            let is_begin = match start == run {
                true => !text[..start].last().is_some_and(u8::is_ascii_alphanumeric),
                false => text[start - 1] == b':',
            };
            // What begins with a colon begins with two, and never with three.
            let is_begin = is_begin
                && (text[start] != b':'
                    || text.get(start + 1) == Some(&b':') && text.get(start + 2) != Some(&b':'));
            let end = is_begin.then(|| longest_v6(&text[start..run_end])).flatten();
            let end = end.map(|length| start + length);
            match end.filter(|end| *end < run_end || !is_word(text.get(run_end))) {
                Some(end) => {
                    found(start, end);
                    start = end;
                }
                None => start += 1,
            }
        }
    }
}

/// The length of the longest address with which a text begins.
fn longest_v6(text: &[u8]) -> Option<usize> {
    const LONGEST: usize = 45;
    let mut text = &text[..text.len().min(LONGEST + 1)];
    // A shorter one has two colons side by side, and none has more than eight.
    const FEWEST: usize = 6;
    let mut colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let (count, ninth) = (colons.clone().count(), colons.nth(8));
    text = &text[..ninth.unwrap_or(text.len())];
    if count < FEWEST && !text.windows(2).any(|pair| pair == b"::") {
        return None;
    }
    // It ends before a colon or a dot, behind `::`, or with the text.
    let ends = (2..=text.len()).rev().filter(|end| {
        text.get(*end).is_none_or(|next| b":.".contains(next)) || text[..*end].ends_with(b"::")
    });
    let is_address = |text: &[u8]| {
        let text = std::str::from_utf8(text).expect("its characters are ASCII");
        text != "::" && text.parse::<Ipv6Addr>().is_ok()
    };
    ends.into_iter().find(|end| is_address(&text[..*end]))
}

//! E-mail addresses in texts, as they are and with `%40` in a URL.

use std::borrow::Cow;

/// Finds each `@` with a name before it and a domain with a dot behind it.
///
/// RFC 5321 allows more characters in a name. Those that are found here are what people have; `=`,
/// `/`, quotes and braces stand around addresses far more often than in them.
pub fn find(text: &[u8], mut found: impl FnMut(usize, usize)) {
    let (mut from, mut at) = (0, 0);
    while let Some(step) = text[at..].iter().position(|byte| b"@%".contains(byte)) {
        let sign = at + step;
        let domain = match text[sign] {
            b'@' => sign + 1,
            _ if encoded(&text[sign..]) == Some(b'@') => sign + 3,
            _ => {
                at = sign + 1;
                continue;
            }
        };
        at = domain;
        if let Some(end) = domain_end(text, domain)
            && let Some(start) = local_start(&text[from..sign]).map(|start| from + start)
        {
            found(start, end);
            (from, at) = (end, end);
        }
    }
}

/// The form that all ways to write an address have in common.
pub fn same(address: &[u8]) -> Cow<'_, [u8]> {
    let mut decoded = Vec::with_capacity(address.len());
    let mut rest = address;
    while let Some((&byte, behind)) = rest.split_first() {
        match (encoded(rest), escaped(rest)) {
            (Some(byte), _) => {
                decoded.push(byte);
                rest = &rest[3..];
            }
            (None, Some(c)) => {
                decoded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[6..];
            }
            (None, None) => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    match String::from_utf8(decoded) {
        Ok(text) => text.to_lowercase().into_bytes().into(),
        Err(error) => error.into_bytes().into(),
    }
}

/// The byte that `%40` is, at the begin of a text.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', digits @ ..] = text.get(..3)? else { return None };
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok())?
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._+-".contains(&byte)
}

/// Where the name of an address begins, of which the end is the end of the text.
fn local_start(text: &[u8]) -> Option<usize> {
    if let Some(quoted) = text.strip_suffix(b"\"") {
        // RFC 5321, section 4.5.3.1.1.
        const LONGEST: usize = 64;
        let first = quoted.len().saturating_sub(LONGEST);
        let open = first + quoted[first..].iter().rposition(|byte| *byte == b'"')?;
        let name = &quoted[open + 1..];
        return (!name.is_empty() && !name.contains(&b'\n')).then_some(open);
    }
    let mut start = text.len();
    while let Some(&last) = text[..start].last() {
        let escape = start.checked_sub(3).and_then(|at| encoded(&text[at..]));
        let unicode = start.checked_sub(6).and_then(|at| escaped(&text[at..]));
        start -= match (escape, last) {
            _ if unicode.is_some_and(|c| is_letter(c) || c == '\'') => 6,
            _ if unicode.is_some() => break,
            (Some(byte), _) if is_local(byte) || !byte.is_ascii() => 3,
            (Some(_), _) => break,
            (None, last) if is_local(last) => 1,
            // O'Neil, and no quote around an address.
            (None, b'\'') if start > 1 && text[start - 2].is_ascii_alphanumeric() => 1,
            (None, 0x80..) => match letter_before(&text[..start]) {
                Some(length) => length,
                None => break,
            },
            _ => break,
        };
    }
    start += text[start..].iter().take_while(|byte| b".-+".contains(byte)).count();
    (start < text.len()).then_some(start)
}

/// The bytes of the letter at the end of a text; a byte that is no UTF-8 is taken as one.
fn letter_before(text: &[u8]) -> Option<usize> {
    let last = &text[text.len().saturating_sub(4)..];
    let length = 1 + last.iter().rev().position(|byte| *byte & 0xc0 != 0x80).unwrap_or(0);
    match std::str::from_utf8(&last[last.len() - length..]) {
        Ok(letter) => letter.chars().all(is_letter).then_some(length),
        Err(_) => Some(1),
    }
}

/// Where a domain ends that begins here: labels, with dots between them.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let mut end = start;
    loop {
        let rest = &text[end..];
        end += match rest.first() {
            Some(b'-' | b'.' | b'_') => 1,
            _ => match letter(rest) {
                Some(length) => length,
                None => break,
            },
        };
    }
    // What is behind it ends a sentence.
    while text[start..end].last().is_some_and(|byte| b".-_".contains(byte)) {
        end -= 1;
    }
    let domain = &text[start..end];
    let mut labels = domain.split(|byte| *byte == b'.');
    let is_domain = domain.contains(&b'.') && labels.all(|label| !label.is_empty());
    is_domain.then_some(end)
}

/// The bytes of the letter or digit at the begin of a text: as it is, as `\u00fc`, or as `%C3`, a
/// byte of one. A byte that is no UTF-8 is taken as a letter of another set of characters.
fn letter(text: &[u8]) -> Option<usize> {
    match text {
        [first, ..] if first.is_ascii_alphanumeric() => Some(1),
        [b'%', ..] if encoded(text).is_some_and(|byte| !byte.is_ascii()) => Some(3),
        [b'\\', b'u', ..] => is_letter(escaped(text)?).then_some(6),
        [first, ..] if !first.is_ascii() => {
            let most = &text[..text.len().min(4)];
            let chunk = most.utf8_chunks().next()?;
            match chunk.valid().chars().next() {
                Some(c) => is_letter(c).then_some(c.len_utf8()),
                None => Some(1),
            }
        }
        _ => None,
    }
}

/// Whether a text begins with the escape of a letter, or of an apostrophe.
pub fn begins_with_letter(text: &[u8]) -> bool {
    escaped(text).is_some_and(|c| is_letter(c) || c == '\'')
}

/// Whether names have this character: also the marks that letters of some scripts carry.
fn is_letter(c: char) -> bool {
    // Spaces and punctuation between ASCII and the scripts, and the general ones.
    !c.is_ascii()
        && !c.is_whitespace()
        && !c.is_control()
        && !matches!(c, '\u{a0}'..='\u{bf}' | '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff0f}' | '\u{feff}')
}

/// The character that `\u00fc` is, at the begin of a text.
fn escaped(text: &[u8]) -> Option<char> {
    let digits = text.get(..6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| char::from_u32(u32::from_str_radix(digits, 16).ok()?))?
}

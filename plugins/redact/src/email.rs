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
        match encoded(rest) {
            Some(byte) => {
                decoded.push(byte);
                rest = &rest[3..];
            }
            None => {
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
        start -= match (escape, last) {
            (Some(byte), _) if is_local(byte) => 3,
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

/// The bytes of the letter at the end of a text.
fn letter_before(text: &[u8]) -> Option<usize> {
    let length = 1 + text.iter().rev().take(4).position(|byte| *byte & 0xc0 != 0x80)?;
    let letter = std::str::from_utf8(&text[text.len() - length..]).ok()?;
    letter.chars().all(char::is_alphanumeric).then_some(length)
}

/// Where a domain ends that begins here: labels, with dots between them.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let is_of_domain = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
    let chunk = text[start..].utf8_chunks().next()?;
    let valid = chunk.valid();
    let domain = &valid[..valid.find(|c| !is_of_domain(c)).unwrap_or(valid.len())];
    // What is behind it ends a sentence.
    let domain = domain.trim_end_matches(['.', '-']);
    let mut labels = domain.split('.');
    let is_domain = domain.contains('.') && labels.all(|label| !label.is_empty());
    is_domain.then_some(start + domain.len())
}

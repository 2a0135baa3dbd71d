//! Pairs of names and values in a text, as in logfmt.

use std::borrow::Cow;

use pipehost_plugin::Rejection;

/// What stands between names and values, and between pairs.
pub struct Pairs {
    pub between: u8,
    pub delimiter: u8,
}

pub struct Pair<'t> {
    pub name: &'t [u8],
    pub value: Cow<'t, [u8]>,
}

impl Pairs {
    /// Takes the next pair from the begin of a text.
    pub fn next<'t>(&self, text: &mut &'t [u8]) -> Option<Result<Pair<'t>, Rejection>> {
        let is_separator = |&byte: &u8| self.divides(byte) || byte == b' ';
        let begin = text.iter().position(|byte| !is_separator(byte))?;
        *text = &text[begin..];
        let ends = |&byte: &u8| byte == self.between || self.divides(byte);
        let end = text.iter().position(ends).unwrap_or(text.len());
        let name = text[..end].trim_ascii_end();
        *text = &text[end..];
        // `a = 1` is `a=1`; but `a= b=1` gives `a` an empty value.
        let spaced = text.trim_ascii_start();
        let is_spaced = spaced.len() < text.len() && spaced.first() == Some(&self.between);
        if is_spaced {
            *text = spaced;
        }
        let has_value = text.first() == Some(&self.between);
        *text = &text[usize::from(has_value)..];
        if is_spaced {
            *text = text.trim_ascii_start();
        }
        if name.is_empty() {
            return Some(Err("a value has no name".into()));
        }
        if !has_value {
            return Some(Ok(Pair { name, value: Cow::Borrowed(b"true") }));
        }
        Some(self.value(text).map(|value| Pair { name, value }))
    }

    /// Whether this is between pairs; with spaces, tabs and line ends are, too.
    fn divides(&self, byte: u8) -> bool {
        byte == self.delimiter || (self.delimiter == b' ' && byte.is_ascii_whitespace())
    }

    fn value<'t>(&self, text: &mut &'t [u8]) -> Result<Cow<'t, [u8]>, Rejection> {
        if self.delimiter != b' ' {
            *text = text.trim_ascii_start();
        }
        if let Some(quoted) = text.strip_prefix(b"\"") {
            let (value, rest) = unquoted(quoted)?;
            let rest = if self.delimiter == b' ' { rest } else { rest.trim_ascii_start() };
            if let Some(other) = rest.first().filter(|byte| !self.divides(**byte)) {
                let wanted = match self.delimiter {
                    b' ' => "a space".to_owned(),
                    other => format!("{:?}", char::from(other)),
                };
                let mut why = format!("a closing quote is not followed by {wanted}");
                if b",;|".contains(other) {
                    why += &format!(
                        "; if {0:?} is between pairs, set `delimiter` to {0:?}",
                        char::from(*other)
                    );
                }
                return Err(why.into());
            }
            *text = rest;
            return Ok(value);
        }
        // In single quotes, nothing is escaped, and an apostrophe alone is no quote.
        if let Some(quoted) = text.strip_prefix(b"'") {
            // The closing quote is among so many bytes. Without a bound, the rest of the record would be
            // read again for each quote that is not closed.
            const MOST: usize = 4096;
            let ends = |at: usize| {
                quoted[at] == b'\'' && quoted.get(at + 1).is_none_or(|next| self.divides(*next))
            };
            if let Some(end) = (0..quoted.len().min(MOST)).find(|at| ends(*at)) {
                *text = &quoted[end + 1..];
                return Ok(quoted[..end].into());
            }
        }
        let end = text.iter().position(|byte| self.divides(*byte)).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        *text = rest;
        Ok(value.trim_ascii_end().into())
    }
}

/// What stands before the closing quote, and what is behind it.
fn unquoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Rejection> {
    let special = |text: &[u8]| {
        text.iter().position(|byte| b"\"\\".contains(byte)).ok_or("a quote is not closed")
    };
    let first = special(text)?;
    if text[first] == b'"' {
        return Ok((text[..first].into(), &text[first + 1..]));
    }
    let (mut value, mut rest) = (Vec::new(), text);
    loop {
        let at = special(rest)?;
        value.extend_from_slice(&rest[..at]);
        if rest[at] == b'"' {
            return Ok((value.into(), &rest[at + 1..]));
        }
        rest = &rest[at + 1..];
        let (&kind, behind) = rest.split_first().ok_or("a quote is not closed")?;
        rest = behind;
        match kind {
            b'"' | b'\\' | b'/' | b'\'' => value.push(kind),
            b'a' => value.push(0x07),
            b'b' => value.push(0x08),
            b'v' => value.push(0x0b),
            b'f' => value.push(0x0c),
            b'x' => {
                value.push(hex(rest, 2).ok_or_else(|| no_escape(kind, rest, 2))? as u8);
                rest = &rest[2..];
            }
            b'U' => {
                let c = hex(rest, 8)
                    .and_then(char::from_u32)
                    .ok_or_else(|| no_escape(kind, rest, 8))?;
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[8..];
            }
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'u' => {
                let (c, behind) = character(rest)?;
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            other => return Err(no_escape(other, rest, 0)),
        }
    }
}

fn no_escape(kind: u8, rest: &[u8], digits: usize) -> Rejection {
    let digits = String::from_utf8_lossy(&rest[..rest.len().min(digits)]);
    format!("`\\{}{digits}` is no escape", char::from(kind)).into()
}

/// A number of so many hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..digits)?).ok()?;
    let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// A character in four hexadecimal digits; or in twice four, as UTF-16 has it.
fn character(text: &[u8]) -> Result<(char, &[u8]), Rejection> {
    let unit = |text: &[u8]| hex(text, 4).map(|unit| unit as u16);
    let none =
        || format!("`\\u{}` is no character", String::from_utf8_lossy(&text[..text.len().min(4)]));
    let first = unit(text).ok_or_else(none)?;
    if let Some(Ok(c)) = char::decode_utf16([first]).next() {
        return Ok((c, &text[4..]));
    }
    let second =
        text.get(4..).and_then(|rest| unit(rest.strip_prefix(b"\\u")?)).ok_or_else(none)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(c)) => Ok((c, &text[10..])),
        _ => Err(none().into()),
    }
}

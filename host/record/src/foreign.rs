//! Untrusted text (from a guest, a client, a peer, a file), made safe for a terminal, a log line
//! and a message.
//!
//! A terminal obeys control characters (C0, C1, DEL), and Unicode's bidirectional controls make it
//! show text in another order. Line ends make one line of a log look like two. All of these are
//! shown escaped: `\n`, `\u{1b}`, `\u{202e}`.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

/// Maximum characters of a text that are shown; the rest is left out.
const MOST: usize = 1024;

/// Untrusted text. Whatever is printed that came from outside goes through this.
#[derive(Debug, Clone)]
pub struct Foreign<'a> {
    text: Cow<'a, str>,
    most: usize,
    /// Whether line ends are kept.
    lines: bool,
    json: bool,
}

impl<'a> Foreign<'a> {
    /// On one line, and of limited length.
    pub fn new(text: &'a str) -> Self {
        Self { text: text.into(), most: MOST, lines: false, json: false }
    }

    /// As [`Foreign::new`], of bytes; those that are not UTF-8 become U+FFFD.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self { text: String::from_utf8_lossy(bytes), most: MOST, lines: false, json: false }
    }

    /// Without a limit of length.
    pub fn whole(self) -> Self {
        Self { most: usize::MAX, ..self }
    }

    /// Keeps line ends.
    pub fn lines(self) -> Self {
        Self { lines: true, ..self }
    }

    /// Keeps JSON valid, with the same meaning: harmful characters occur only in its strings.
    pub fn json(text: &'a str) -> Self {
        Self { json: true, ..Self::new(text).whole().lines() }
    }
}

/// Whether a terminal would obey the character instead of showing it.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

impl Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Counts what is shown, so that escaped text does not become longer than other text.
        let mut left = self.most;
        for c in self.text.chars() {
            if left == 0 {
                return f.write_char('…');
            }
            left = left.saturating_sub(if is_harmful(c) { c.escape_default().len() } else { 1 });
            match c {
                '\n' if self.lines => f.write_char(c)?,
                '\t' if self.lines => f.write_char(' ')?,
                c if is_harmful(c) && self.json => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
                c if is_harmful(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Replaces every character that a terminal would obey, except line ends, by one of the same
/// length: spans in the text stay valid.
pub fn in_place(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_harmful(c)) {
        return text.into();
    }
    let shown = |c: char| match c.len_utf8() {
        _ if c == '\n' || !is_harmful(c) => c,
        1 => ' ',
        2 => '\u{bf}',
        3 => char::REPLACEMENT_CHARACTER,
        _ => '\u{1f4a2}',
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_what_it_is() {
        let shown = |text| Foreign::new(text).to_string();
        assert_eq!(shown("plain, grün, 日本"), "plain, grün, 日本");
        assert_eq!(shown("\u{1b}]0;x\u{7}\r\n\t\u{7f}"), r"\u{1b}]0;x\u{7}\r\n\t\u{7f}");
        assert_eq!(shown("\u{9b}2J\u{202e}abc\u{2066}"), r"\u{9b}2J\u{202e}abc\u{2066}");
        assert_eq!(Foreign::bytes(b"\xff\x1b").to_string(), "\u{fffd}\\u{1b}");
        assert_eq!(Foreign::new("a\tb\n\u{1b}").lines().to_string(), "a b\n\\u{1b}");
        assert_eq!(Foreign::json("{\n\"\u{202e}\"}").to_string(), "{\n\"\\u202e\"}");
        let long = "x".repeat(MOST + 1);
        assert_eq!(shown(&long), "x".repeat(MOST) + "…");
        assert_eq!(Foreign::new(&long).whole().to_string(), long);
    }

    #[test]
    fn places_stay_where_they_are() {
        let text = "a\u{9b}b\u{202e}c\u{1b}d\u{e0041}\n";
        let shown = in_place(text);
        assert_eq!(shown.len(), text.len());
        assert!(!shown.contains(|c| c != '\n' && is_harmful(c)), "{shown:?}");
        assert!(matches!(in_place("plain"), Cow::Borrowed(_)));
    }
}

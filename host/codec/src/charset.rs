//! Texts in other characters than UTF-8's.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use pipehost_config::Charset;

/// Converts an input to UTF-8, line by line, and knows how many of its bytes a converted text was.
pub(super) struct Transcoder {
    encoding: &'static Encoding,
    /// A byte order mark may come.
    is_begin: bool,
    /// Whether the mark says the byte order.
    is_by_mark: bool,
    /// The begin of a character.
    carried: Vec<u8>,
    /// Bytes of the input that are begun: of the incomplete record, without what is carried.
    begun: u64,
    /// The same of the incomplete line.
    line: u64,
    /// Bytes of UTF-8 that are begun.
    text_begun: u64,
}

/// A piece of an input, up to the end of a line if there is one.
pub(super) struct Piece<'a> {
    pub text: Cow<'a, str>,
    /// Bytes of the input that it was, with those of the mark.
    pub taken: usize,
    bytes: u64,
}

impl Transcoder {
    /// `head` is how the input begins; `is_begin` says whether it begins here.
    pub(super) fn new(charset: Charset, is_begin: bool, head: &[u8]) -> Option<Self> {
        let (encoding, is_by_mark) = match charset {
            Charset::Utf8 => return None,
            Charset::Utf16 if head.starts_with(&[0xfe, 0xff]) => (UTF_16BE, true),
            Charset::Utf16 => (UTF_16LE, true),
            Charset::Other(encoding) => (encoding, false),
        };
        Some(Self {
            encoding,
            is_begin,
            is_by_mark,
            carried: Vec::new(),
            begun: 0,
            line: 0,
            text_begun: 0,
        })
    }

    /// Bytes of the input that belong to a record that has not ended yet.
    pub(super) fn begun(&self) -> u64 {
        self.begun + self.carried.len() as u64
    }

    /// Bytes of the input that belong to a line that has not ended yet.
    pub(super) fn line_begun(&self) -> u64 {
        self.line + self.carried.len() as u64
    }

    fn is_wide(&self) -> bool {
        !self.encoding.is_single_byte()
    }

    /// The next piece of these bytes, which are not empty.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Piece<'a> {
        let mut taken = 0;
        if self.carried.is_empty() && !self.is_begin {
            let end = self.end_of_piece(bytes);
            if end > 0 {
                let piece = &bytes[..end];
                let (text, _) = self.encoding.decode_without_bom_handling(piece);
                return Piece { text, taken: end, bytes: end as u64 };
            }
        }
        // Byte by byte, until there is a whole character.
        while let Some(&byte) = bytes.get(taken) {
            self.carried.push(byte);
            taken += 1;
            if std::mem::take(&mut self.is_begin) {
                if self.is_mark() {
                    self.carried.clear();
                    continue;
                }
                self.is_begin = self.is_wide() && self.carried.len() < 2;
            }
            if self.end_of_piece(&self.carried) == self.carried.len() {
                let piece = std::mem::take(&mut self.carried);
                let (text, _) = self.encoding.decode_without_bom_handling(&piece);
                let text = Cow::Owned(text.into_owned());
                return Piece { text, taken, bytes: piece.len() as u64 };
            }
        }
        Piece { text: "".into(), taken, bytes: 0 }
    }

    /// Whether what is carried is a byte order mark; takes the order that it says.
    fn is_mark(&mut self) -> bool {
        let order = match *self.carried {
            [0xff, 0xfe] => UTF_16LE,
            [0xfe, 0xff] => UTF_16BE,
            _ => return false,
        };
        if self.is_by_mark {
            self.encoding = order;
        }
        self.encoding == order
    }

    /// How many bytes are whole characters, up to the end of a line if there is one.
    fn end_of_piece(&self, bytes: &[u8]) -> usize {
        if !self.is_wide() {
            return memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        }
        let unit = |pair: &[u8]| match self.encoding == UTF_16LE {
            true => u16::from_le_bytes([pair[0], pair[1]]),
            false => u16::from_be_bytes([pair[0], pair[1]]),
        };
        let mut end = 0;
        for pair in bytes.chunks_exact(2) {
            // A high surrogate waits for the low one.
            if (0xd800..0xdc00).contains(&unit(pair)) && bytes.len() < end + 4 {
                break;
            }
            end += 2;
            if unit(pair) == u16::from(b'\n') {
                break;
            }
        }
        end
    }

    /// Notes how many bytes of UTF-8 are begun, after a piece was split.
    pub(super) fn note(&mut self, piece: &Piece<'_>, begun: u64) {
        let text = piece.text.as_bytes();
        let line = self.line + piece.bytes;
        let goes_on = begun == self.text_begun + text.len() as u64;
        self.text_begun = begun;
        self.line = if text.ends_with(b"\n") { 0 } else { self.line + piece.bytes };
        self.begun =
            match usize::try_from(begun).ok().and_then(|begun| text.len().checked_sub(begun)) {
                // All of it is begun, and what was before it: of the same record, or, if that was given,
                // of the line.
                None if goes_on => self.begun + piece.bytes,
                None => line,
                Some(start) => self.bytes_of(&piece.text[floor(&piece.text, start)..]),
            };
    }

    /// How many bytes of the input a text was.
    fn bytes_of(&self, text: &str) -> u64 {
        match self.is_wide() {
            true => text.chars().map(|c| 2 * c.len_utf16() as u64).sum(),
            false => text.chars().count() as u64,
        }
    }

    /// Notes that all whole lines were given.
    pub(super) fn give(&mut self, line_begun: u64) {
        (self.begun, self.text_begun) = (self.line, line_begun);
    }

    /// Bytes of half a character at the end of the input.
    pub(super) fn carried(&self) -> u64 {
        self.carried.len() as u64
    }

    /// What is carried at the end of the input: half a character.
    pub(super) fn end(&mut self) -> String {
        let carried = std::mem::take(&mut self.carried);
        self.begun = 0;
        self.encoding.decode_without_bom_handling(&carried).0.into_owned()
    }
}

/// The start of the character in which this byte is.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

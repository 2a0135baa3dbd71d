//! The byte order mark that may precede a text, and is not part of the first record.

use anyhow::{Result, bail};
use std::sync::Arc;

/// UTF-8's byte order mark.
const UTF8: [u8; 3] = [0xef, 0xbb, 0xbf];
/// UTF-16's, for its two byte orders. The first also starts UTF-32's (little-endian).
const UTF16: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];
/// How many bytes tell UTF-16 from bytes that are no text.
pub const HEAD: usize = 4;

/// Whether a text that starts like this is UTF-16 or UTF-32. The mark alone is not enough: lines
/// may hold any bytes. The lower byte of the first character is hardly ever zero.
pub fn is_utf16(head: &[u8]) -> bool {
    match head {
        [0xff, 0xfe, low, high, ..] => *low != 0 || *high == 0,
        [0xfe, 0xff, _, low, ..] => *low != 0,
        _ => false,
    }
}

/// What to tell the operator about UTF-16.
pub const CONVERT: &str =
    "it is UTF-16, and the codec reads UTF-8: set charset = \"utf-16\" in the codec";

/// Holds back the first bytes of an input until they show whether they are a mark.
pub(super) struct Prefix {
    place: Arc<str>,
    /// `None`, once that is known.
    held: Option<Vec<u8>>,
    /// Bytes of a mark that was there.
    removed: u64,
}

impl Prefix {
    pub(super) fn new(place: Arc<str>) -> Self {
        Self { place, held: None, removed: 0 }
    }

    /// Sets whether there may be a mark.
    pub(super) fn look(&mut self, looks: bool) {
        self.held = looks.then(Vec::new);
    }

    /// Bytes that are held back.
    pub(super) fn begun(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.len() as u64)
    }

    /// Returns how many of these bytes it took, and the held bytes that turned out to be text.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>)> {
        let Some(held) = &mut self.held else { return Ok((0, None)) };
        for (taken, &byte) in (1..).zip(bytes) {
            held.push(byte);
            if is_utf16(held) {
                bail!("{}: {CONVERT}", self.place);
            }
            if **held == UTF8 {
                self.held = None;
                self.removed = UTF8.len() as u64;
                return Ok((taken, None));
            }
            let has_mark = |mark: &[u8; 2]| held.starts_with(mark) && held.len() < HEAD;
            let may_come = UTF8.starts_with(held)
                || UTF16.iter().any(|mark| mark.starts_with(held) || has_mark(mark));
            if !may_come || byte == b'\n' {
                // The byte that decides may end a record: leave it to the splitter.
                held.pop();
                return Ok((taken - 1, self.end()));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Bytes of a mark that was there, once.
    pub(super) fn take_removed(&mut self) -> u64 {
        std::mem::take(&mut self.removed)
    }

    /// The held bytes, which are text.
    pub(super) fn end(&mut self) -> Option<Vec<u8>> {
        self.held.take().filter(|held| !held.is_empty())
    }
}

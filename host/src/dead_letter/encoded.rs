//! Letters that wait until they are written.

use std::io;

use crate::codec::frames::{self, Letter};

/// Letters as they are written, compressed while they wait: of many that were refused for one
/// reason, most is the same.
#[derive(Debug, Default)]
pub struct Encoded {
    /// With the bytes of each before it was compressed.
    parts: Vec<(Vec<u8>, usize)>,
    /// Behind the parts, and not compressed yet: alone, a letter would become little smaller.
    last: Vec<u8>,
    /// Bytes that they will have in the file.
    pub bytes: usize,
}

/// The level of Zstandard that costs least.
const LEVEL: i32 = 1;
/// Bytes that are compressed together.
const PART: usize = 256 << 10;

impl Encoded {
    pub fn new(letters: &[Letter]) -> Self {
        let mut last = Vec::new();
        for letter in letters {
            frames::write_letter(letter, &mut last);
        }
        let mut encoded = Self { parts: Vec::new(), bytes: last.len(), last };
        encoded.compress(PART);
        encoded
    }

    /// Puts others behind these.
    pub fn extend(&mut self, others: Self) {
        if !others.parts.is_empty() {
            self.compress(1);
        }
        self.bytes += others.bytes;
        self.parts.extend(others.parts);
        if self.last.is_empty() {
            self.last = others.last;
        } else {
            self.last.extend(others.last);
        }
        self.compress(PART);
    }

    /// Compresses what is not, if it has `least` bytes.
    fn compress(&mut self, least: usize) {
        if self.last.len() >= least {
            let bytes = std::mem::take(&mut self.last);
            let part = zstd::bulk::compress(&bytes, LEVEL).expect("a vector takes all");
            self.parts.push((part, bytes.len()));
        }
    }

    /// Bytes that they take while they wait.
    pub fn held_bytes(&self) -> usize {
        self.parts.iter().map(|(part, _)| part.len()).sum::<usize>() + self.last.len()
    }

    /// Gives all of them, as they are written, to a function: some at a time.
    ///
    /// # Errors
    /// Those of the function.
    pub fn write_to(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for (part, length) in &self.parts {
            write(&zstd::bulk::decompress(part, *length)?)?;
        }
        write(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::record::Record;

    #[test]
    fn letters_that_wait_take_little_and_stay_what_they_are() {
        let letter = |number| Letter {
            record: Record::default(),
            place: "in.txt".to_owned(),
            number,
            pipeline: "pipeline".to_owned(),
            stage: "stage".to_owned(),
            input: 0,
            reason: "no ".repeat(300),
            attempts: 1,
            time: 1_700_000_000_000_000_000,
            component: String::new(),
        };
        let letters: Vec<_> = (1..=10_000).map(letter).collect();
        let mut expected = Vec::new();
        for letter in &letters {
            frames::write_letter(letter, &mut expected);
        }
        // One at a time and many at once, in any mixture.
        for sizes in [vec![1], vec![10_000], vec![1, 700, 3]] {
            let mut waiting = Encoded::default();
            let mut rest = &letters[..];
            for size in sizes.into_iter().cycle() {
                let (some, others) = rest.split_at(rest.len().min(size));
                waiting.extend(Encoded::new(some));
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(waiting.bytes, expected.len());
            assert!(waiting.held_bytes() < expected.len() / 10, "{}", waiting.held_bytes());
            let mut written: Vec<u8> = Vec::new();
            waiting.write_to(|part| written.write_all(part)).unwrap();
            assert!(written == expected);
        }
    }
}

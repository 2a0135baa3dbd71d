//! Dead letters that wait to be written.

use anyhow::{Result, bail};
use std::collections::VecDeque;

use pipehost_codec::frames;
use pipehost_record::Letter;

/// Dead letters as written to the file, compressed while they wait: those rejected for the same
/// reason are mostly alike.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Complete frames at the front, not compressed.
    first: Vec<u8>,
    /// Compressed frames, each part with its uncompressed length.
    parts: VecDeque<(Vec<u8>, usize)>,
    /// Frames after the parts, not compressed yet: a single one would hardly become smaller.
    last: Vec<u8>,
    /// Bytes that they take in the file.
    pub bytes: usize,
}

/// The fastest standard level of Zstandard.
const LEVEL: i32 = 1;
/// Bytes that are compressed together.
const PART: usize = 256 << 10;

impl Encoded {
    pub fn new(letters: &[Letter]) -> Self {
        let mut last = Vec::new();
        for letter in letters {
            frames::write_letter(letter, &mut last);
        }
        let mut encoded = Self { bytes: last.len(), last, ..Self::default() };
        encoded.compress(PART);
        encoded
    }

    /// Appends `others`.
    pub fn extend(&mut self, mut others: Self) {
        self.bytes += others.bytes;
        if !others.first.is_empty() {
            others.parts.push_front(compressed(&others.first));
        }
        if !others.parts.is_empty() {
            self.compress(1);
        }
        self.parts.extend(others.parts);
        if self.last.is_empty() {
            self.last = others.last;
        } else {
            self.last.extend(others.last);
        }
        self.compress(PART);
    }

    /// Compresses `last` if it has at least `least` bytes.
    fn compress(&mut self, least: usize) {
        if self.last.len() >= least {
            self.parts.push_back(compressed(&std::mem::take(&mut self.last)));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of memory that they take while they wait.
    pub fn held_bytes(&self) -> usize {
        let parts = self.parts.iter().map(|(part, _)| part.len()).sum::<usize>();
        self.first.len() + parts + self.last.len()
    }

    /// Takes frames from the front, uncompressed.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let letters = if !self.first.is_empty() {
            std::mem::take(&mut self.first)
        } else if let Some(part) = self.parts.pop_front() {
            decompressed(&part)
        } else {
            std::mem::take(&mut self.last)
        };
        self.bytes -= letters.len();
        (!letters.is_empty()).then_some(letters)
    }

    /// Puts back the unwritten rest of what was last taken.
    pub fn push_front(&mut self, letters: Vec<u8>) {
        self.bytes += letters.len();
        self.first = letters;
    }

    /// The form stored in a checkpoint. For each part: its uncompressed and its compressed length,
    /// both little-endian u32, then the compressed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let loose = [&self.first, &self.last].map(|letters| compressed(letters));
        let [first, last] = &loose;
        for (part, length) in [first].into_iter().chain(&self.parts).chain([last]) {
            if *length > 0 {
                let lengths = [*length, part.len()];
                bytes.extend(lengths.iter().flat_map(|&length| (length as u32).to_le_bytes()));
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// Decodes what [`Encoded::to_bytes`] made.
    ///
    /// # Errors
    /// If the bytes do not have this form.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self> {
        let mut letters = Self::default();
        while !bytes.is_empty() {
            let mut length = || -> Option<usize> {
                let (length, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                usize::try_from(u32::from_le_bytes(*length)).ok()
            };
            let part = length().zip(length());
            let part = part.and_then(|(raw, length)| Some((bytes.split_at_checked(length)?, raw)));
            let Some(((part, rest), raw)) = part else {
                bail!("the dead letters that wait in it are damaged");
            };
            bytes = rest;
            letters.bytes += raw;
            letters.parts.push_back((part.to_vec(), raw));
        }
        Ok(letters)
    }
}

fn compressed(bytes: &[u8]) -> (Vec<u8>, usize) {
    let part = zstd::bulk::compress(bytes, LEVEL).expect("a vector takes all");
    (part, bytes.len())
}

fn decompressed((part, length): &(Vec<u8>, usize)) -> Vec<u8> {
    zstd::bulk::decompress(part, *length).expect("it was compressed here, or its checksum was seen")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_record::Record;

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
            // Some are taken and put back, then all are stored and loaded.
            let first = waiting.pop().unwrap();
            waiting.push_front(first);
            waiting = Encoded::from_bytes(&waiting.to_bytes()).unwrap();
            let mut written: Vec<u8> = Vec::new();
            while let Some(letters) = waiting.pop() {
                written.extend(letters);
            }
            assert!(written == expected);
            assert!(waiting.is_empty());
        }
    }
}

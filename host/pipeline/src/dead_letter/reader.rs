//! Reads dead letters.

use anyhow::{Context as _, Result, anyhow};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use pipehost_codec::frames::{self, Frame};
use pipehost_record::Letter;

/// Reads dead letters one by one.
pub struct LetterReader {
    file: File,
    begun: Vec<u8>,
    /// The offset in the file of the frame at the start of `begun`.
    pub(crate) offset: u64,
    number: u64,
    ended: bool,
}

impl LetterReader {
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_at(path, 0)
    }

    /// Starts after the letters that end at `offset`.
    pub(crate) fn open_at(path: &Path, offset: u64) -> Result<Self> {
        let opened = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        let file = opened.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { file, begun: Vec::new(), offset, number: 0, ended: false })
    }

    /// Bytes of an incomplete frame at the end of the file; known once the iterator has ended.
    pub fn torn(&self) -> usize {
        self.begun.len()
    }
}

impl Iterator for LetterReader {
    type Item = Result<Letter>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let at = |offset| anyhow!("letter {}, at byte {offset}", self.number + 1);
            match frames::read(&self.begun) {
                Err(why) => {
                    self.ended = true;
                    return Some(Err(anyhow!("{}: {why:#}", at(self.offset))));
                }
                Ok(Some((frame, length))) => {
                    self.begun.drain(..length);
                    self.offset += length as u64;
                    self.number += 1;
                    return Some(match frame {
                        Frame::Letter(letter) => Ok(letter),
                        Frame::Record(_) => {
                            self.ended = true;
                            Err(anyhow!("it holds records, not dead letters"))
                        }
                    });
                }
                Ok(None) => {
                    let mut more = vec![0; 64 << 10];
                    match self.file.read(&mut more) {
                        Ok(0) => self.ended = true,
                        Ok(read) => self.begun.extend_from_slice(&more[..read]),
                        Err(error) => {
                            self.ended = true;
                            return Some(Err(anyhow!("{}: {error:#}", at(self.offset))));
                        }
                    }
                }
            }
        }
        None
    }
}

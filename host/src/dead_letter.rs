//! The file of dead letters: frames, one behind the other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::codec::frames::{self, Frame, Letter};

/// Appends letters. Each batch of them is one write, so a crash tears the last at most.
pub struct DeadLetters {
    path: PathBuf,
    file: Mutex<File>,
}

impl DeadLetters {
    /// Opens a file to append to, and creates it if there is none. What an earlier run
    /// left torn at its end is cut off, or nothing behind it could be read.
    ///
    /// # Errors
    /// If the file cannot be opened, or holds something else than dead letters.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed =
            |error: io::Error| format!("cannot open the dead letters {}: {error}", path.display());
        let file =
            OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Ok(Self { path: path.to_owned(), file: Mutex::new(file) }); // A pipe, a device.
        }
        let mut reader = Reader::open(path)?;
        for letter in reader.by_ref() {
            letter.map_err(|why| format!("will not append to {}: {why}", path.display()))?;
        }
        if reader.torn() > 0 {
            tracing::warn!(
                "cut {} bytes off the end of {}: an earlier run was stopped while it wrote them",
                reader.torn(),
                path.display()
            );
            file.set_len(reader.offset).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Appends letters.
    ///
    /// # Errors
    /// If they cannot be written: the records would be lost.
    pub fn write(&self, letters: &[Letter]) -> Result<(), String> {
        let mut bytes = Vec::new();
        for letter in letters {
            frames::write_letter(letter, &mut bytes);
        }
        let mut file = self.file.lock().expect("nobody panics while writing");
        file.write_all(&bytes).map_err(|error| {
            format!("cannot write the dead letters {}: {error}", self.path.display())
        })
    }
}

/// Reads letters one by one.
pub struct Reader {
    file: File,
    begun: Vec<u8>,
    /// Where the frame at the start of `begun` stands in the file.
    offset: u64,
    number: u64,
    ended: bool,
}

impl Reader {
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file =
            File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Self { file, begun: Vec::new(), offset: 0, number: 0, ended: false })
    }

    /// Bytes at the end of the file that are the begin of a frame; known at the end.
    pub fn torn(&self) -> usize {
        self.begun.len()
    }
}

impl Iterator for Reader {
    type Item = Result<Letter, String>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let at = |offset| format!("letter {}, at byte {offset}", self.number + 1);
            match frames::read(&self.begun) {
                Err(why) => {
                    self.ended = true;
                    return Some(Err(format!("{}: {why}", at(self.offset))));
                }
                Ok(Some((frame, length))) => {
                    self.begun.drain(..length);
                    self.offset += length as u64;
                    self.number += 1;
                    return Some(match frame {
                        Frame::Letter(letter) => Ok(letter),
                        Frame::Record(_) => {
                            self.ended = true;
                            Err("it holds records, not dead letters".to_owned())
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
                            return Some(Err(format!("{}: {error}", at(self.offset))));
                        }
                    }
                }
            }
        }
        None
    }
}

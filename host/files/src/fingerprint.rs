//! Identifies files whatever their names: by device, inode, first bytes, and the bytes before a
//! known offset.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes at the start of a file that tell it from others.
const HEAD: u64 = 1024;
/// Bytes before an offset in a file that tell whether the content up to it is still the same.
pub const TAIL: usize = 1024;

/// Recognises a file after it was renamed, and does not mistake it for one that got its inode or
/// its name later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub device: u64,
    pub inode: u64,
    /// How many of the first bytes were there, 1024 at most, and their CRC-32.
    pub head: u64,
    pub crc: u32,
}

impl Fingerprint {
    /// The fingerprint of a file as it is now, from its first `known` bytes at most.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(file: &File, known: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let head = known.min(metadata.len()).min(HEAD);
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), head, crc: crc(file, 0, head)? })
    }

    /// Whether the file starts with the same bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn begins(&self, file: &File) -> io::Result<bool> {
        has(file, 0, self.head, self.crc)
    }

    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// A file up to an offset, identified by its content: a copy is the same, and another file that got
/// its name or its inode is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    pub file: Fingerprint,
    /// The offset, in bytes.
    pub length: u64,
    /// The CRC-32 of the bytes before it, [`TAIL`] at most.
    pub tail: u32,
}

impl FileMark {
    /// # Errors
    /// If the file cannot be read, or is shorter than `length`.
    pub fn of(file: &File, length: u64) -> io::Result<Self> {
        Ok(Self { file: Fingerprint::of(file, length)?, length, tail: tail(file, length)? })
    }

    /// Whether a file has the same content up to the offset.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_in(&self, file: &File) -> io::Result<bool> {
        Ok(self.file.begins(file)? && ends_before(file, self.length, self.tail)?)
    }

    /// Whether a file has the same content up to the offset, and ends there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_all_of(&self, file: &File) -> io::Result<bool> {
        Ok(file.metadata()?.len() == self.length && self.is_in(file)?)
    }
}

/// Device and inode of a file.
///
/// # Errors
/// If its metadata cannot be read.
pub fn inode(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether a path leads to this open file.
pub fn is_at(path: &Path, file: &File) -> bool {
    let there = fs::metadata(path).map(|there| (there.dev(), there.ino()));
    there.is_ok_and(|there| inode(file).is_ok_and(|here| here == there))
}

/// The CRC-32 of the bytes before an offset, [`TAIL`] at most.
///
/// # Errors
/// If they cannot be read, or the file is shorter.
pub fn tail(file: &File, place: u64) -> io::Result<u32> {
    let length = place.min(TAIL as u64);
    crc(file, place - length, length)
}

/// Whether the bytes before an offset have this CRC-32.
///
/// # Errors
/// If they cannot be read.
pub fn ends_before(file: &File, place: u64, tail: u32) -> io::Result<bool> {
    let length = place.min(TAIL as u64);
    has(file, place - length, length, tail)
}

/// Whether these bytes are there and have this CRC-32.
fn has(file: &File, offset: u64, length: u64, expected: u32) -> io::Result<bool> {
    match crc(file, offset, length) {
        Ok(crc) => Ok(crc == expected),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The CRC-32 (IEEE) of some bytes of a file.
fn crc(file: &File, offset: u64, length: u64) -> io::Result<u32> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(crc32fast::hash(&bytes))
}

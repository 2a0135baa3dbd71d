//! Which file is which, whatever its name: device, inode, how it begins, and what stands before
//! the place up to which it is known.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes at the begin of a file that tell it from others.
const HEAD: u64 = 1024;
/// Bytes before a place in a file that tell whether it is still the place.
pub const TAIL: usize = 1024;

/// A file, recognised after it was renamed, and not mistaken for one that got its inode
/// or its name later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub device: u64,
    pub inode: u64,
    /// Bytes of the head that were there, a kilobyte at most, and their CRC-32.
    pub head: u64,
    pub crc: u32,
}

impl Fingerprint {
    /// Of the file as it is now; of its first `known` bytes at most.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(file: &File, known: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let head = known.min(metadata.len()).min(HEAD);
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), head, crc: crc(file, 0, head)? })
    }

    /// Whether the file begins as this one did.
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

/// A file up to some place in it. It is known by what it holds: a copy is the same, and another
/// file that got its name or its inode is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    pub file: Fingerprint,
    /// Where the place is, in bytes.
    pub length: u64,
    /// The CRC-32 of the bytes before it, [`TAIL`] at most.
    pub tail: u32,
}

impl FileMark {
    /// # Errors
    /// If the file cannot be read, or is shorter.
    pub fn of(file: &File, length: u64) -> io::Result<Self> {
        Ok(Self { file: Fingerprint::of(file, length)?, length, tail: tail(file, length)? })
    }

    /// Whether a file is this one up to the place.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_in(&self, file: &File) -> io::Result<bool> {
        Ok(self.file.begins(file)? && ends_before(file, self.length, self.tail)?)
    }

    /// Whether a file is this one, and has nothing behind the place.
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
/// If it cannot be asked.
pub fn inode(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether a path leads to a file that is open.
pub fn is_at(path: &Path, file: &File) -> bool {
    let there = fs::metadata(path).map(|there| (there.dev(), there.ino()));
    there.is_ok_and(|there| inode(file).is_ok_and(|here| here == there))
}

/// The CRC-32 of the bytes before a place, [`TAIL`] at most.
///
/// # Errors
/// If they cannot be read, or are not there.
pub fn tail(file: &File, place: u64) -> io::Result<u32> {
    let length = place.min(TAIL as u64);
    crc(file, place - length, length)
}

/// Whether these bytes stand before a place.
///
/// # Errors
/// If they cannot be read.
pub fn ends_before(file: &File, place: u64, tail: u32) -> io::Result<bool> {
    let length = place.min(TAIL as u64);
    has(file, place - length, length, tail)
}

/// Whether bytes of this CRC-32 are there.
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

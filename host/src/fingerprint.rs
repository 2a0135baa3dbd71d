//! Which file is which, whatever its name: device, inode, and how it begins.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

/// Bytes at the begin of a file that tell it from others.
const HEAD: u64 = 1024;

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
        Ok(file.metadata()?.len() >= self.head && crc(file, 0, self.head)? == self.crc)
    }

    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.device, self.inode)
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

/// The CRC-32 (IEEE) of some bytes of a file.
///
/// # Errors
/// If they cannot be read, or are not there.
pub fn crc(file: &File, offset: u64, length: u64) -> io::Result<u32> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(crc32fast::hash(&bytes))
}

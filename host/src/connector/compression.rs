//! gzip and Zstandard, told by how a file begins.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878, section 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether there is too little of a file to tell whether it is compressed.
pub(super) fn is_too_short(file: &File) -> io::Result<bool> {
    let mut head = [0; 4];
    let read = file.read_at(&mut head, 0)?;
    let head = &head[..read];
    Ok(head.is_empty() || read < 4 && (GZIP.starts_with(head) || ZSTD.starts_with(head)))
}

/// What a file holds, uncompressed; none if it is not compressed. Several streams behind
/// each other are read as one.
///
/// # Errors
/// If it cannot be read.
pub(super) fn decompress(file: &File) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut head = [0; 4];
    let read = match file.read_at(&mut head, 0) {
        Ok(read) => read,
        // A pipe cannot be looked into without taking what is there.
        Err(error) if error.kind() == io::ErrorKind::NotSeekable => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = &head[..read];
    Ok(if head.starts_with(&GZIP) {
        Some(Box::new(MultiGzDecoder::new(file.try_clone()?)))
    } else if head.starts_with(&ZSTD) {
        Some(Box::new(zstd::Decoder::new(file.try_clone()?)?))
    } else {
        None
    })
}

//! gzip and Zstandard, detected by the first bytes of a file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::FileExt;

use crate::compressed::{Gzip, known_by, may_be_compressed};
use pipehost_config::Compression;
use pipehost_files::fingerprint::TAIL;

/// Whether a file is too short to tell whether it is compressed.
pub(crate) fn is_too_short(file: &File) -> io::Result<bool> {
    let mut head = [0; 4];
    let read = file.read_at(&mut head, 0)?;
    let head = &head[..read];
    Ok(head.is_empty() || read < 4 && may_be_compressed(head))
}

/// A reader of the decompressed content; `None` if the file is not compressed. Concatenated streams
/// are read as one.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn decompress(file: &File) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut head = [0; 4];
    let read = match file.read_at(&mut head, 0) {
        Ok(read) => read,
        // The first bytes of a pipe cannot be read without consuming them.
        Err(error) if error.kind() == io::ErrorKind::NotSeekable => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = &head[..read];
    let from_its_begin = || -> io::Result<File> {
        let mut file = file.try_clone()?; // It shares the file offset.
        file.rewind()?;
        Ok(file)
    };
    Ok(match known_by(head) {
        Some(Compression::Gzip) => {
            let file = BufReader::new(from_its_begin()?);
            Some(Box::new(Gzip::new(file)))
        }
        Some(Compression::Zstd) => Some(Box::new(zstd::Decoder::new(from_its_begin()?)?)),
        None => None,
    })
}

/// Skips bytes of decompressed content. Returns the last of them, [`TAIL`] at most; `None` if there
/// are fewer than `bytes`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let (passed, tail) = pass(&mut reader.take(bytes))?;
    Ok((passed == bytes).then_some(tail))
}

/// Reads decompressed content to its end. Returns how much it was, and the last bytes of it.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn pass(reader: &mut dyn Read) -> io::Result<(u64, Vec<u8>)> {
    let (mut tail, mut buffer, mut passed) = (Vec::new(), vec![0; 64 << 10], 0);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((passed, tail)),
            read => {
                passed += read as u64;
                keep_tail(&mut tail, &buffer[..read]);
            }
        }
    }
}

/// Appends bytes to a tail, and keeps the last [`TAIL`] of all.
pub(crate) fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
    let room = TAIL - bytes.len();
    tail.drain(..tail.len().saturating_sub(room));
    tail.extend_from_slice(bytes);
}

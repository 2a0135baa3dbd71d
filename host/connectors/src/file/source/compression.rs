//! gzip and Zstandard, told by how a file begins.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::os::unix::fs::FileExt;

use flate2::bufread::GzDecoder;

use pipehost_files::fingerprint::TAIL;

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878, section 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether there is too little of a file to tell whether it is compressed.
pub(crate) fn is_too_short(file: &File) -> io::Result<bool> {
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
pub(crate) fn decompress(file: &File) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut head = [0; 4];
    let read = match file.read_at(&mut head, 0) {
        Ok(read) => read,
        // A pipe cannot be looked into without taking what is there.
        Err(error) if error.kind() == io::ErrorKind::NotSeekable => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = &head[..read];
    let from_its_begin = || -> io::Result<File> {
        let mut file = file.try_clone()?; // It shares the place up to which it is read.
        file.rewind()?;
        Ok(file)
    };
    Ok(if head.starts_with(&GZIP) {
        let file = BufReader::new(from_its_begin()?);
        Some(Box::new(Gzip { member: Some(GzDecoder::new(file)) }))
    } else if head.starts_with(&ZSTD) {
        Some(Box::new(zstd::Decoder::new(from_its_begin()?)?))
    } else {
        None
    })
}

/// Passes over the begin of what a compressed file holds. Returns the last bytes of that,
/// [`TAIL`] at most; fewer than there should be, if it holds less.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut reader = reader.take(bytes);
    let (mut tail, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let mut passed = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((passed == bytes).then_some(tail)),
            read => {
                passed += read as u64;
                keep_tail(&mut tail, &buffer[..read]);
            }
        }
    }
}

/// Keeps the last bytes of all that went before, [`TAIL`] at most.
pub(crate) fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
    let room = TAIL - bytes.len();
    tail.drain(..tail.len().saturating_sub(room));
    tail.extend_from_slice(bytes);
}

/// Members of gzip behind each other; zero bytes behind the last one, with which tapes are
/// filled up, are no part of it.
struct Gzip {
    /// None at the end.
    member: Option<GzDecoder<BufReader<File>>>,
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let mut file = self.member.take().expect("it was just read").into_inner();
            if has_member(&mut file)? {
                self.member = Some(GzDecoder::new(file));
            }
        }
        Ok(0)
    }
}

/// Whether another member follows, rather than zero bytes or nothing.
fn has_member(file: &mut BufReader<File>) -> io::Result<bool> {
    let mut is_first = true;
    loop {
        let bytes = file.fill_buf()?;
        let Some(&byte) = bytes.first() else { return Ok(false) };
        if is_first && byte != 0 {
            return Ok(true);
        }
        is_first = false;
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something follows the zero bytes behind the last member of gzip",
            ));
        }
        let length = bytes.len();
        file.consume(length);
    }
}

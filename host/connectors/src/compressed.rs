//! gzip and Zstandard, written and read.

use std::io::{self, BufRead, Read, Write as _};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use pipehost_config::Compression;

/// Compresses what is written, into members or frames that can be read one behind the other.
pub(crate) struct Compressor {
    compression: Compression,
    /// `None` between two of them.
    member: Option<Member>,
}

enum Member {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, member: None }
    }

    /// Takes bytes; gives what can be written of them so far.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let member = match &mut self.member {
            Some(member) => member,
            None => self.member.insert(Member::new(self.compression)?),
        };
        match member {
            Member::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Member::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// Ends a member, if one has begun: what was written can be read from then on.
    pub(crate) fn end(&mut self) -> io::Result<Vec<u8>> {
        match self.member.take() {
            None => Ok(Vec::new()),
            Some(Member::Gzip(encoder)) => encoder.finish(),
            Some(Member::Zstd(encoder)) => encoder.finish(),
        }
    }
}

impl Member {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => {
                Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default()))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 0)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }
}

/// Compresses a whole text.
pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(compression);
    let mut out = compressor.write(bytes)?;
    out.extend(compressor.end()?);
    Ok(out)
}

/// A reader of what was compressed. `window_log` bounds the memory that whoever compressed it with
/// Zstandard may have it take, as a power of two; without it, 128 MiB.
pub(crate) fn decompress<'a>(
    compression: Compression,
    reader: impl BufRead + 'a,
    window_log: Option<u32>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(Gzip::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            if let Some(window_log) = window_log {
                decoder.window_log_max(window_log)?;
            }
            Box::new(decoder)
        }
    })
}

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878, section 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How bytes that begin like this are compressed.
pub(crate) fn known_by(head: &[u8]) -> Option<Compression> {
    if head.starts_with(&GZIP) {
        Some(Compression::Gzip)
    } else if head.starts_with(&ZSTD) {
        Some(Compression::Zstd)
    } else {
        None
    }
}

/// Whether more bytes are needed to tell.
pub(crate) fn may_be_compressed(head: &[u8]) -> bool {
    GZIP.starts_with(head) || ZSTD.starts_with(head)
}

/// Concatenated gzip members. Zero bytes after the last one, which pad tapes, are ignored.
pub(crate) struct Gzip<R> {
    /// None at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gzip<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Gzip<R> {
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
fn has_member(file: &mut impl BufRead) -> io::Result<bool> {
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
                "data follows the zero padding after the last gzip member",
            ));
        }
        let length = bytes.len();
        file.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_one_behind_the_other_are_read_as_one() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut compressor = Compressor::new(compression);
            let mut out = compressor.end().unwrap();
            assert!(out.is_empty());
            for part in ["one\n", "", "two\n", "three\n"] {
                out.extend(compressor.write(part.as_bytes()).unwrap());
                out.extend(compressor.end().unwrap());
            }
            assert_eq!(known_by(&out), Some(compression));
            let mut text = String::new();
            decompress(compression, &*out, None).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\ntwo\nthree\n");
        }
        assert_eq!(known_by(b"plain"), None);
    }
}

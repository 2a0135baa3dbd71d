//! gzip and Zstandard, written and read.

use std::io::{self, Read, Write as _};

use flate2::bufread::MultiGzDecoder;
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

/// A reader of what was compressed, with the memory that an untrusted sender may have it take.
pub(crate) fn decompress<'a>(
    compression: Compression,
    reader: impl io::BufRead + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    /// The window that every decoder of Zstandard supports: RFC 8878, section 3.1.1.1.2.
    const WINDOW_LOG: u32 = 23;
    Ok(match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(WINDOW_LOG)?;
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
            decompress(compression, &*out).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\ntwo\nthree\n");
        }
        assert_eq!(known_by(b"plain"), None);
    }
}

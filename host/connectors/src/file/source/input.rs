//! What reading a file once and following it have in common.

use anyhow::anyhow;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::compression;
use pipehost_codec::{BEGIN, HEAD, is_utf16, needs_head};
use pipehost_config::{Charset, DecodeFormat, Decoding};
use pipehost_files::fingerprint::TAIL;

/// The last bytes before an offset in a file, [`TAIL`] at most.
pub(crate) fn tail_of(file: &File, place: u64) -> io::Result<Vec<u8>> {
    let length = place.min(TAIL as u64);
    let mut tail = vec![0; length as usize];
    file.read_exact_at(&mut tail, place - length)?;
    Ok(tail)
}

pub(crate) fn is_text(decoding: &Decoding) -> bool {
    !matches!(decoding.format, DecodeFormat::Frames)
}

/// Whether UTF-16 would be read as what it is not.
pub(crate) fn is_utf8(decoding: &Decoding) -> bool {
    is_text(decoding) && decoding.charset == Charset::Utf8
}

/// How the content of a file begins, if a decoder that goes on in its middle needs that.
pub(crate) fn head_of(file: &File, offset: u64, decoding: &Decoding) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    if offset > 0 && needs_head(decoding) {
        match compression::decompress(file)? {
            Some(content) => drop(content.take(BEGIN as u64).read_to_end(&mut head)?),
            None => {
                head.resize(BEGIN, 0);
                let read = file.read_at(&mut head, 0)?;
                head.truncate(read);
            }
        }
    }
    Ok(head)
}

/// Whether a file that no run has read is left out because it was last changed too long ago.
pub(crate) fn is_too_old(metadata: &Metadata, most: Option<Duration>) -> bool {
    let age = metadata.modified().map(|changed| changed.elapsed().unwrap_or_default());
    most.is_some_and(|most| age.is_ok_and(|age| age > most))
}

/// Where the last line of a file ends.
pub(crate) fn end_of_lines(file: &File, decoding: &Decoding) -> io::Result<u64> {
    const LOOKED_AT: u64 = 1 << 20;
    if let Some(mut content) = compression::decompress(file)? {
        return Ok(compression::pass(&mut content)?.0);
    }
    let size = file.metadata()?.len();
    let from = size.saturating_sub(LOOKED_AT);
    let mut last = vec![0; (size - from) as usize];
    file.read_exact_at(&mut last, from)?;
    let Some(line_end) = line_end(file, decoding)? else {
        return Ok(memchr::memrchr(b'\n', &last).map_or(size, |at| from + at as u64 + 1));
    };
    // Both bytes of a character belong together.
    let skipped = (from % 2) as usize;
    let found =
        last.get(skipped..).unwrap_or_default().chunks_exact(2).rposition(|pair| pair == line_end);
    Ok(match found {
        Some(at) => from + skipped as u64 + 2 * at as u64 + 2,
        None => size - size % 2,
    })
}

/// The line end of UTF-16 in the byte order of a file; `None` if a byte alone is one.
fn line_end(file: &File, decoding: &Decoding) -> io::Result<Option<[u8; 2]>> {
    const LITTLE: [u8; 2] = [b'\n', 0];
    const BIG: [u8; 2] = [0, b'\n'];
    Ok(match decoding.charset {
        Charset::Utf8 => None,
        Charset::Other(encoding) if encoding.is_single_byte() => None,
        Charset::Other(encoding) if encoding.name() == "UTF-16BE" => Some(BIG),
        Charset::Other(_) => Some(LITTLE),
        Charset::Utf16 => {
            let mut head = [0; 2];
            let read = file.read_at(&mut head, 0)?;
            Some(if head[..read] == [0xfe, 0xff] { BIG } else { LITTLE })
        }
    })
}

pub(crate) fn begins_as_utf16(file: &File) -> io::Result<bool> {
    let mut head = [0; HEAD];
    let read = file.read_at(&mut head, 0)?;
    Ok(is_utf16(&head[..read]))
}

pub(crate) fn warn_rewritten(path: &Path, offset: u64) {
    tracing::warn!(
        "{} was truncated or written anew: it is read from its begin. {offset} bytes of what it \
         was were read; what was written to it behind them is lost",
        path.display()
    );
}

/// Warns if the last record lacked its line end: the rest of the line becomes another record.
pub(crate) fn warn_within_a_line(
    path: &Path,
    file: &File,
    offset: u64,
    decoding: &Decoding,
) -> io::Result<()> {
    let tail = tail_of(file, offset)?;
    let ends = match line_end(file, decoding)? {
        None => tail.ends_with(b"\n"),
        Some(line_end) => tail.ends_with(&line_end),
    };
    if !tail.is_empty() && !ends {
        tracing::warn!(
            "{} was read to its end, which was within a line, and has grown: what has come behind \
             byte {offset} is given as another line",
            path.display()
        );
    }
    Ok(())
}

pub(crate) fn is_written(path: &Path) -> anyhow::Error {
    anyhow!(
        "cannot read {}: this pipeline writes to it, and would read what it writes without end. \
         Read or write another file",
        path.display()
    )
}

pub(crate) fn was_cut(path: &Path, offset: u64) -> anyhow::Error {
    anyhow!(
        "cannot go on with {}: {offset} bytes of it were read, and it has less now. To read it \
         from its begin, take the source out of the state: pipehost state reset DIR --node NAME",
        path.display()
    )
}

//! What reading a file once and following it have in common.

use anyhow::anyhow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use pipehost_codec::{HEAD, is_utf16};
use pipehost_config::{DecodeFormat, Decoding};
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
pub(crate) fn warn_within_a_line(path: &Path, offset: u64, tail: &[u8]) {
    if tail.last().is_some_and(|&last| last != b'\n') {
        tracing::warn!(
            "{} was read to its end, which was within a line, and has grown: what has come behind \
             byte {offset} is given as another line",
            path.display()
        );
    }
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

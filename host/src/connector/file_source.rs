//! Files, one after the other; patterns are expanded in the order of their names.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;
use serde_json::Value;

use super::bytes_source::{AtStop, Begin, BytesSource, Gone, Piece, Pieces};
use super::file_positions::{FilePosition, FilePositions, Known};
use super::paths::{Found, Paths};
use super::{Progress, Written, compression, follow};
use crate::codec::{CONVERT, HEAD, is_utf16};
use crate::config::{DecodeFormat, Decoding, FileSource as Config};
use crate::fingerprint::{Fingerprint, TAIL, inode};
use crate::folder::kept;

/// Opens files; `position` is how far an earlier run came, and `keeps_state` whether a later one
/// will know how far this came.
pub(super) fn open(
    config: &Config,
    position: Option<&Value>,
    keeps_state: bool,
    progress: Arc<Progress>,
    written: Written,
) -> Result<BytesSource, String> {
    let mut paths = Paths::new(config.paths.iter().map(|path| path.value.clone()), config.links);
    let decoding = config.codec.clone();
    let known: Vec<FilePosition> = match position {
        None => Vec::new(),
        Some(position) => serde_json::from_value(position.clone())
            .map_err(|error| format!("the state does not know how far it was read: {error}"))?,
    };
    let mut known = FilePositions::from_iter(known);
    let failed = |error: io::Error| format!("cannot begin to read: {error}");
    if config.follow {
        // Without a state, the last line is given although it has no end: nobody else will.
        let at_stop = if keeps_state { AtStop::Leave } else { AtStop::Decode };
        let (config, first) = (config.clone(), known.clone());
        let read = move |pieces: &Pieces| {
            follow::follow(&config, paths, first, written, keeps_state, pieces)
        };
        return BytesSource::spawn(decoding, progress, Some(known), at_stop, read).map_err(failed);
    }
    let files = paths.files()?;
    // Looked at before anything runs: a missing file should not be found after an hour.
    let (mut left, mut inputs, mut total) = (known.clone(), Vec::new(), 0);
    let (mut seen, mut at_stop) = (HashSet::new(), AtStop::Leave);
    for found in files {
        let path = found.path.clone();
        let failed = |error: io::Error| cannot_read(&path, &error);
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.is_dir() {
            return Err(format!(
                "cannot read {}: it is a folder; use `{}/*`",
                path.display(),
                path.display()
            ));
        }
        if !metadata.is_file() {
            at_stop = AtStop::Decode;
            inputs.push((found, None)); // A pipe: somebody may write to it later.
            continue;
        }
        let file = found.open().map_err(failed)?;
        let inode = inode(&file).map_err(failed)?;
        if written.has(inode) {
            return Err(is_written(&path));
        }
        // By several patterns, or by a link: there is one place up to which it is read.
        if !seen.insert(inode) {
            tracing::warn!("{} is named a second time: it is read once", path.display());
            continue;
        }
        if is_text(&decoding) && begins_as_utf16(&file).map_err(failed)? {
            return Err(format!("{}: {CONVERT}", path.display()));
        }
        let is_compressed = compression::decompress(&file).map_err(failed)?.is_some();
        let begun = left.take(&kept(&config.base, &path), &file, is_compressed).map_err(failed)?;
        let begun = match begun {
            None => None,
            Some(Known::Same(position)) => {
                if is_text(&decoding) && !is_compressed && metadata.len() > position.offset {
                    let tail = tail_of(&file, position.offset).map_err(failed)?;
                    warn_within_a_line(&path, position.offset, &tail);
                }
                Some(position)
            }
            Some(Known::Rewritten(position)) if metadata.len() < position.offset => {
                return Err(was_cut(&path, position.offset));
            }
            Some(Known::Rewritten(position)) => {
                warn_rewritten(&path, position.offset);
                known.take_inode(position.file.inode());
                None
            }
        };
        total += metadata.len();
        inputs.push((found, begun));
    }
    known.note_gone(left.iter().map(|position| position.file.inode()));
    progress.total.store(total, Ordering::Relaxed);
    let base = config.base.clone();
    let read = move |pieces: &Pieces| {
        for (number, (found, begun)) in inputs.into_iter().enumerate() {
            if !read(number, &base, &found, begun, pieces)? {
                return Ok(());
            }
        }
        Ok(())
    };
    BytesSource::spawn(decoding, progress, Some(known), at_stop, read).map_err(failed)
}

/// Reads a file to its end; false if that was not reached.
fn read(
    number: usize,
    base: &Path,
    found: &Found,
    begun: Option<FilePosition>,
    pieces: &Pieces,
) -> Result<bool, Gone> {
    let place = found.path.display().to_string();
    let (begin, mut reader, file) = match begin(base, found, begun) {
        Ok(begun) => begun,
        Err(why) => return pieces.send(Err(why)).map(|()| false),
    };
    let is_regular = begin.file.is_some();
    pieces.send(Ok(Piece::Begin(number, begin.into())))?;
    let has_ended = match is_regular {
        true => pieces.read_to_end(number, &place, &mut reader)?,
        false => pieces.read_stream(number, &place, &file)?,
    };
    if !has_ended {
        return Ok(false);
    }
    // One that was empty when it was opened could be any.
    if is_regular && let Ok(fingerprint) = Fingerprint::of(&file, u64::MAX) {
        pieces.send(Ok(Piece::Known(number, fingerprint)))?;
    }
    pieces.send(Ok(Piece::End(number)))?;
    Ok(true)
}

/// Opens a file where it was left off.
fn begin(
    base: &Path,
    found: &Found,
    begun: Option<FilePosition>,
) -> Result<(Begin, Box<dyn Read + Send>, File), String> {
    let path = &*found.path;
    let failed = |error: io::Error| cannot_read(path, &error);
    let place = path.display().to_string().into();
    if !fs::metadata(path).map_err(failed)?.is_file() {
        // To open a pipe must not wait for somebody to write: nothing would end that.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file =
            fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let tail = Vec::new();
        let begin = Begin { place, file: None, offset: 0, records: 0, tail, known: begun };
        return Ok((begin, Box::new(io::empty()), file));
    }
    let mut file = found.open().map_err(failed)?;
    let (mut offset, mut records) =
        begun.as_ref().map_or((0, 0), |begun| (begun.offset, begun.records));
    let mut tail = Vec::new();
    let reader: Box<dyn Read + Send> = match compression::decompress(&file).map_err(failed)? {
        Some(mut reader) => {
            let skipped = compression::skip(&mut reader, offset).map_err(failed)?;
            let skipped = skipped.ok_or_else(|| was_cut(path, offset))?;
            if begun.as_ref().is_some_and(|begun| crc32fast::hash(&skipped) != begun.tail) {
                warn_rewritten(path, offset);
                (offset, records) = (0, 0);
                compression::decompress(&file).map_err(failed)?.expect("it was compressed")
            } else {
                tail = skipped;
                reader
            }
        }
        None => {
            tail = tail_of(&file, offset).map_err(failed)?;
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            Box::new(file.try_clone().map_err(failed)?)
        }
    };
    let fingerprint = Fingerprint::of(&file, u64::MAX).map_err(failed)?;
    let known: (PathBuf, _) = (kept(base, path), fingerprint);
    let begin = Begin { place, file: Some(known), offset, records, tail, known: begun };
    Ok((begin, reader, file))
}

/// The last bytes before a place in a file.
pub(super) fn tail_of(file: &File, place: u64) -> io::Result<Vec<u8>> {
    let length = place.min(TAIL as u64);
    let mut tail = vec![0; length as usize];
    file.read_exact_at(&mut tail, place - length)?;
    Ok(tail)
}

pub(super) fn is_text(decoding: &Decoding) -> bool {
    !matches!(decoding.format, DecodeFormat::Frames)
}

pub(super) fn begins_as_utf16(file: &File) -> io::Result<bool> {
    let mut head = [0; HEAD];
    let read = file.read_at(&mut head, 0)?;
    Ok(is_utf16(&head[..read]))
}

pub(super) fn warn_rewritten(path: &Path, offset: u64) {
    tracing::warn!(
        "{} was truncated or written anew: it is read from its begin. {offset} bytes of what it \
         was were read; what was written to it behind them is lost",
        path.display()
    );
}

/// The last line had no end when it was given: what has come to it since is no line of its own.
pub(super) fn warn_within_a_line(path: &Path, offset: u64, tail: &[u8]) {
    if tail.last().is_some_and(|&last| last != b'\n') {
        tracing::warn!(
            "{} was read to its end, which was within a line, and has grown: what has come behind \
             byte {offset} is given as another line",
            path.display()
        );
    }
}

pub(super) fn is_written(path: &Path) -> String {
    format!(
        "cannot read {}: this pipeline writes to it, and would read what it writes without end. \
         Read or write another file",
        path.display()
    )
}

fn was_cut(path: &Path, offset: u64) -> String {
    format!(
        "cannot go on with {}: {offset} bytes of it were read, and it has less now. To read it \
         from its begin, take the source out of the state: pipehost state reset DIR --node NAME",
        path.display()
    )
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

//! Files read once, one after the other; those of a pattern in the order of their names.

use anyhow::{Result, anyhow, bail};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::bytes::{AtStop, BytesSource, InputStart, Piece, Pieces, ReceiverGone};
use super::compression;
use super::input::{
    begins_as_utf16, head_of, is_text, is_too_old, is_utf8, is_written, tail_of, warn_rewritten,
    warn_within_a_line, was_cut,
};
use super::paths::{FoundFile, Paths};
use super::positions::{FilePosition, FilePositions, KnownFile};
use crate::file::WrittenFiles;
use pipehost_codec::CONVERT;
use pipehost_config::{Decoding, FileSource as Config};
use pipehost_files::fingerprint::{Fingerprint, inode};
use pipehost_files::folder::kept;
use pipehost_files::paths::cannot_read;
use pipehost_observe::progress::Progress;

/// Opens files; `known` are their saved positions.
pub(crate) fn open(
    config: &Config,
    mut paths: Paths,
    mut known: FilePositions,
    progress: Arc<Progress>,
    written: &WrittenFiles,
) -> Result<BytesSource> {
    let decoding = config.codec.clone();
    let failed = |error: io::Error| anyhow!("cannot start reading: {error}");
    let files = paths.files()?;
    // Checked before the run starts: a missing file must not be found only after an hour.
    let (mut left, mut inputs, mut total) = (known.clone(), Vec::new(), 0);
    let (mut seen, mut at_stop, mut left_out) = (HashSet::new(), AtStop::Leave, 0);
    let mut any_compressed = false;
    for found in files {
        let path = found.path.clone();
        let failed = |error: io::Error| cannot_read(&path, &error);
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.is_dir() {
            bail!("cannot read {}: it is a folder; use `{}/*`", path.display(), path.display());
        }
        if !metadata.is_file() {
            at_stop = AtStop::Decode;
            inputs.push((found, None)); // A pipe: a writer may open it later.
            continue;
        }
        let file = found.open().map_err(failed)?;
        let inode = inode(&file).map_err(failed)?;
        if written.has(inode) {
            return Err(is_written(&path));
        }
        let is_known = known.knows(inode, &kept(&config.base, &path));
        if !is_known && is_too_old(&metadata, config.ignore_older) {
            left_out += 1;
            continue;
        }
        // Several patterns or links name one file: it has one position, so it is read once.
        if !seen.insert(inode) {
            tracing::warn!("{} is named twice: it is read once", path.display());
            continue;
        }
        if is_utf8(&decoding) && begins_as_utf16(&file).map_err(failed)? {
            bail!("{}: {CONVERT}", path.display());
        }
        let is_compressed = compression::decompress(&file).map_err(failed)?.is_some();
        let begun = left.take(&kept(&config.base, &path), &file, is_compressed).map_err(failed)?;
        let begun = match begun {
            None => None,
            Some(KnownFile::Same(position)) => {
                if is_text(&decoding) && !is_compressed && metadata.len() > position.offset {
                    warn_within_a_line(&path, &file, position.offset, &decoding).map_err(failed)?;
                }
                Some(position)
            }
            Some(KnownFile::Rewritten(position)) if metadata.len() < position.offset => {
                return Err(was_cut(&path, position.offset));
            }
            Some(KnownFile::Rewritten(position)) => {
                warn_rewritten(&path, position.offset);
                known.take_inode(position.file.inode());
                None
            }
        };
        let begins_at = begun.as_ref().map_or(0, |begun| begun.offset);
        total += metadata.len().saturating_sub(begins_at);
        any_compressed |= is_compressed;
        inputs.push((found, begun));
    }
    if left_out > 0 {
        tracing::info!(
            "{left_out} files were last changed before `ignore_older`: they are left out"
        );
    }
    known.note_gone(left.iter().map(|position| position.file.inode()));
    progress.set_total(total);
    if !any_compressed && at_stop == AtStop::Leave {
        progress.set_goal_bytes(total); // Nobody knows how much is in the others.
    }
    let (base, codec) = (config.base.clone(), config.codec.clone());
    let read = move |pieces: &Pieces| {
        for (number, (found, begun)) in inputs.into_iter().enumerate() {
            if !read(number, &base, &codec, &found, begun, pieces)? {
                return Ok(());
            }
        }
        Ok(())
    };
    BytesSource::spawn(decoding, progress, Some(known), at_stop, read).map_err(failed)
}

/// Reads a file to its end; false if it stops earlier.
fn read(
    number: usize,
    base: &Path,
    codec: &Decoding,
    found: &FoundFile,
    begun: Option<FilePosition>,
    pieces: &Pieces,
) -> Result<bool, ReceiverGone> {
    let place = found.path.display().to_string();
    let (begin, mut reader, file) = match begin(base, codec, found, begun) {
        Ok(begun) => begun,
        Err(why) => return pieces.send(Err(why)).map(|()| false),
    };
    let is_regular = begin.file.is_some();
    pieces.send(Ok(Piece::Begin(number, begin.into())))?;
    let has_ended = match is_regular {
        true => pieces.read_to_end(number, &place, &mut reader)?,
        false => pieces.read_any_stream(number, &place, &file, || {})?,
    };
    if !has_ended {
        return Ok(false);
    }
    // The fingerprint of a file that was short when opened covers few bytes: renew it.
    if is_regular && let Ok(fingerprint) = Fingerprint::of(&file, u64::MAX) {
        pieces.send(Ok(Piece::Known(number, fingerprint)))?;
    }
    pieces.send(Ok(Piece::End(number)))?;
    Ok(true)
}

/// Opens a file at its saved position.
fn begin(
    base: &Path,
    codec: &Decoding,
    found: &FoundFile,
    begun: Option<FilePosition>,
) -> Result<(InputStart, Box<dyn Read + Send>, File)> {
    let path = &*found.path;
    let failed = |error: io::Error| cannot_read(path, &error);
    let place = path.display().to_string().into();
    if !fs::metadata(path).map_err(failed)?.is_file() {
        // Opening a pipe must not wait for a writer: a stop could not end that wait.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file =
            fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let tail = Vec::new();
        let head = Vec::new();
        let begin =
            InputStart { place, file: None, offset: 0, records: 0, tail, head, known: begun };
        return Ok((begin, Box::new(io::empty()), file));
    }
    let mut file = found.open().map_err(failed)?;
    let (mut offset, mut records) =
        begun.as_ref().map_or((0, 0), |begun| (begun.offset, begun.records));
    let head = head_of(&file, offset, codec).map_err(failed)?;
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
    let begin = InputStart { place, file: Some(known), offset, records, tail, head, known: begun };
    Ok((begin, reader, file))
}

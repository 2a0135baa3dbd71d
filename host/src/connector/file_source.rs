//! Files, one after the other; patterns are expanded in the order of their names.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::bytes_source::{Begin, BytesSource, Gone, Piece, Pieces};
use super::file_positions::{FilePosition, FilePositions};
use super::paths::{Found, Paths};
use super::{Progress, compression, follow};
use crate::config::Decoding;
use crate::fingerprint::{Fingerprint, inode};

/// Opens files; `position` is how far an earlier run came.
pub(super) fn open(
    mut paths: Paths,
    follow: bool,
    decoding: Decoding,
    position: Option<&Value>,
    progress: Arc<Progress>,
) -> Result<BytesSource, String> {
    let known: Vec<FilePosition> = match position {
        None => Vec::new(),
        Some(position) => serde_json::from_value(position.clone())
            .map_err(|error| format!("the state does not know how far it was read: {error}"))?,
    };
    let known = FilePositions::from_iter(known);
    if follow {
        return Ok(BytesSource::spawn(decoding, progress, Some(known.clone()), move |pieces| {
            follow::follow(paths, known, pieces)
        }));
    }
    let files = paths.files()?;
    // Looked at before anything runs: a missing file should not be found after an hour.
    let (mut left, mut inputs, mut total) = (known.clone(), Vec::new(), 0);
    let mut seen = HashSet::new();
    for found in files {
        let path = found.path.clone();
        let metadata = fs::metadata(&path).map_err(|error| cannot_read(&path, &error))?;
        if metadata.is_dir() {
            return Err(format!(
                "cannot read {}: it is a folder; use `{}/*`",
                path.display(),
                path.display()
            ));
        }
        if !metadata.is_file() {
            inputs.push((found, None)); // A pipe: to open it may take until somebody writes.
            continue;
        }
        let file = found.open().map_err(|error| cannot_read(&path, &error))?;
        // By several patterns, or by a link: there is one place up to which it is read.
        if !seen.insert(inode(&file).map_err(|error| cannot_read(&path, &error))?) {
            tracing::warn!("{} is named a second time: it is read once", path.display());
            continue;
        }
        let begun = left.take(&path, &file).map_err(|error| cannot_read(&path, &error))?;
        total += metadata.len();
        inputs.push((found, begun));
    }
    for gone in left.iter() {
        tracing::warn!(
            "{}, of which {} bytes were read, is not there any more",
            gone.path.display(),
            gone.offset
        );
    }
    progress.total.store(total, Ordering::Relaxed);
    Ok(BytesSource::spawn(decoding, progress, Some(known), move |pieces| {
        for (number, (found, begun)) in inputs.into_iter().enumerate() {
            read(number, &found, begun, pieces)?;
        }
        Ok(())
    }))
}

fn read(
    number: usize,
    found: &Found,
    begun: Option<FilePosition>,
    pieces: &Pieces,
) -> Result<(), Gone> {
    let place = found.path.display().to_string();
    let (begin, mut reader, file) = match begin(found, begun) {
        Ok(begun) => begun,
        Err(why) => return pieces.send(Err(why)),
    };
    let is_regular = begin.file.is_some();
    pieces.send(Ok(Piece::Begin(number, begin.into())))?;
    if !pieces.read_to_end(number, &place, &mut reader)? {
        return Ok(());
    }
    // One that was empty when it was opened could be any.
    if is_regular && let Ok(fingerprint) = Fingerprint::of(&file, u64::MAX) {
        pieces.send(Ok(Piece::Known(number, fingerprint)))?;
    }
    pieces.send(Ok(Piece::End(number)))
}

/// Opens a file where it was left off.
fn begin(
    found: &Found,
    begun: Option<FilePosition>,
) -> Result<(Begin, Box<dyn Read + Send>, File), String> {
    let path = &*found.path;
    let failed = |error: io::Error| cannot_read(path, &error);
    let mut file = found.open().map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let (offset, records) = begun.as_ref().map_or((0, 0), |begun| (begun.offset, begun.records));
    let place = path.display().to_string().into();
    let reader: Box<dyn Read + Send> = match compression::decompress(&file).map_err(failed)? {
        Some(mut reader) => {
            let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink());
            if skipped.map_err(failed)? < offset {
                return Err(was_cut(path, offset));
            }
            reader
        }
        None if !metadata.is_file() => {
            let begin = Begin { place, file: None, offset: 0, records: 0, known: begun };
            let reader = file.try_clone().map_err(failed)?;
            return Ok((begin, Box::new(reader), file));
        }
        None if metadata.len() < offset => return Err(was_cut(path, offset)),
        None => {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            Box::new(file.try_clone().map_err(failed)?)
        }
    };
    let fingerprint = Fingerprint::of(&file, u64::MAX).map_err(failed)?;
    let known = Some((path.to_owned(), fingerprint));
    let begin = Begin { place, file: known, offset, records, known: begun };
    Ok((begin, reader, file))
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

//! Files as a source: read once, or followed.

mod bytes;
mod compression;
mod follow;
mod input;
mod once;
mod paths;
mod positions;

use anyhow::{Context as _, Result, anyhow};
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::WrittenFiles;
use bytes::Pieces;
pub(crate) use bytes::{AtStop, BytesSource, InputStart, Piece};
use paths::Paths;
use pipehost_config::FileSource as Config;
use pipehost_observe::progress::Progress;
use positions::{FilePosition, FilePositions};

/// How many files a saved position has, and the records and bytes that were read of them.
///
/// # Errors
/// If it is no position of a file source.
pub(crate) fn read_extent(position: Value) -> Result<(usize, u64, u64)> {
    let files: Vec<FilePosition> = serde_json::from_value(position)?;
    let records = files.iter().map(|file| file.records).sum();
    Ok((files.len(), records, files.iter().map(|file| file.offset).sum()))
}

/// Opens files; `position` is what an earlier run saved, and `keeps_state` says whether this run
/// saves its own.
pub(crate) fn open(
    config: &Config,
    position: Option<&Value>,
    keeps_state: bool,
    progress: Arc<Progress>,
    written: WrittenFiles,
) -> Result<BytesSource> {
    let paths = Paths::new(config)?;
    let decoding = config.codec.clone();
    let known: Vec<FilePosition> = match position {
        None => Vec::new(),
        Some(position) => serde_json::from_value(position.clone())
            .context("the saved position is not valid for a file source")?,
    };
    let known = FilePositions::from_iter(known);
    let failed = |error: io::Error| anyhow!("cannot start reading: {error}");
    if config.follow {
        // Without a state, decode a last line that has no end: no later run will.
        let at_stop = if keeps_state { AtStop::Leave } else { AtStop::Decode };
        let earlier = follow::Earlier { known: known.clone(), is_none: position.is_none() };
        let (config, told) = (config.clone(), progress.clone());
        let read = move |pieces: &Pieces| {
            follow::follow(&config, paths, earlier, written, keeps_state, &told, pieces)
        };
        return BytesSource::spawn(decoding, progress, Some(known), at_stop, read).map_err(failed);
    }
    once::open(config, paths, known, progress, &written)
}

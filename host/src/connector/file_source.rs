//! Files, one after the other; patterns are expanded in the order of their names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Progress;
use super::bytes_source::{BytesSource, Named};
use crate::config::Decoding;

pub(super) fn open(
    paths: &[PathBuf],
    decoding: Decoding,
    progress: Arc<Progress>,
) -> Result<BytesSource, String> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(expand(path)?);
    }
    // Looked at before anything runs: a missing file should not be found after an hour.
    let mut total = 0;
    for file in &files {
        let metadata = fs::metadata(file).map_err(|error| cannot_read(file, &error))?;
        if metadata.is_dir() {
            return Err(format!(
                "cannot read {}: it is a folder; use `{}/*`",
                file.display(),
                file.display()
            ));
        }
        total += metadata.len();
    }
    progress.total.store(total, Ordering::Relaxed);
    let inputs = files.into_iter().map(|path| {
        let reader = File::open(&path).map_err(|error| cannot_read(&path, &error))?;
        Ok(Named { place: path.display().to_string().into(), reader })
    });
    Ok(BytesSource::spawn(inputs, decoding, progress))
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
    let Some(pattern) = pattern.filter(|_| !path.exists()) else {
        return Ok(vec![path.to_owned()]);
    };
    let found: Result<Vec<_>, _> = glob::glob(pattern)
        .map_err(|error| format!("{pattern:?} is not a pattern: {error}"))?
        .filter(|path| path.as_ref().map_or(true, |path| !path.is_dir()))
        .collect();
    let found = found.map_err(|error| format!("cannot look for {pattern}: {error}"))?;
    if found.is_empty() { Err(format!("no file matches {pattern}")) } else { Ok(found) }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

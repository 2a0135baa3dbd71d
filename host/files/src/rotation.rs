//! The names of rotated files: `NAME.1`, `NAME.2`; the higher, the newer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder;

/// The rotated files with their numbers, oldest first.
fn rotated(path: &Path) -> Vec<(u64, PathBuf)> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found: Vec<_> = (fs::read_dir(folder::of(path)).into_iter().flatten().flatten())
        .filter_map(|entry| {
            let name = entry.file_name();
            let number: u64 = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((number, path.with_file_name(&name)))
        })
        .collect();
    found.sort();
    found
}

/// All files, oldest first; the current one comes last.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = rotated(path).into_iter().map(|(_, path)| path).collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    files
}

/// Bytes in the rotated files.
pub fn bytes(path: &Path) -> u64 {
    let sizes = rotated(path).into_iter().filter_map(|(_, path)| fs::metadata(path).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// The highest number of a rotated file; 0 if there is none.
pub fn highest(path: &Path) -> u64 {
    rotated(path).last().map_or(0, |(number, _)| *number)
}

/// The path of the rotated file of this number.
pub fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    path.with_file_name(name)
}

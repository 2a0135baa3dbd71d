//! The saved positions of files, and which position belongs to which file.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use pipehost_files::fingerprint::{Fingerprint, ends_before, inode};

/// The most positions that are kept; beyond, the oldest are dropped.
const MOST: usize = 1_000_000;
/// How long the position of a missing file is kept: the file may come back.
const GONE: Duration = Duration::from_secs(24 * 3600);

/// How far a file was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePosition {
    /// Relative to the folder of the pipeline, if it lies below it.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    pub file: Fingerprint,
    /// In bytes; for a compressed file, of decompressed content.
    pub offset: u64,
    pub records: u64,
    /// CRC-32 of the content before that, [`pipehost_files::fingerprint::TAIL`] bytes at most.
    pub tail: u32,
    /// Since when the file is missing, in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<i64>,
}

impl FilePosition {
    fn warn_gone(&self) {
        tracing::warn!(
            "{}, of which {} bytes were read, is not there any more: what was written to it behind \
             them is not read",
            self.path.display(),
            self.offset
        );
    }
}

/// Lossy if the path is not UTF-8: such a file is found by its inode.
fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What became of a file that has a saved position.
pub(crate) enum KnownFile {
    /// It is the same, perhaps longer.
    Same(FilePosition),
    /// It was truncated, or rewritten from its start.
    Rewritten(FilePosition),
}

/// Positions of many files, one per inode. Indexed: no lookup scans them all.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilePositions {
    by_age: BTreeMap<u64, FilePosition>,
    by_inode: HashMap<(u64, u64), u64>,
    by_path: HashMap<PathBuf, Vec<u64>>,
    next: u64,
}

impl FilePositions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FilePosition> {
        self.by_age.values()
    }

    /// Adds a position, and drops another of the same inode.
    pub(crate) fn insert(&mut self, position: FilePosition) {
        let age = self.next;
        self.next += 1;
        self.by_path.entry(position.path.clone()).or_default().push(age);
        if let Some(before) = self.by_inode.insert(position.file.inode(), age) {
            self.remove(before);
        }
        self.by_age.insert(age, position);
        if self.by_age.len() > MOST
            && let Some((&oldest, _)) = self.by_age.first_key_value()
        {
            self.remove(oldest);
        }
    }

    /// The position of the file of an inode, if there is one.
    pub(crate) fn of_inode(&self, inode: (u64, u64)) -> Option<&FilePosition> {
        self.by_age.get(self.by_inode.get(&inode)?)
    }

    /// Whether there is a position that may be that of a file: by its inode, or by its path.
    pub(crate) fn knows(&self, inode: (u64, u64), path: &Path) -> bool {
        self.by_inode.contains_key(&inode) || self.by_path.contains_key(path)
    }

    /// Removes and returns the position of a file, found by inode (it may be renamed) or by path
    /// (its folder may be copied). For a compressed file the caller compares the tail: see
    /// [`crate::file::source::compression::skip`].
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn take(
        &mut self,
        path: &Path,
        file: &File,
        is_compressed: bool,
    ) -> io::Result<Option<KnownFile>> {
        let same_inode = self.by_inode.get(&inode(file)?).copied();
        let same_path: Vec<_> = self.by_path.get(path).into_iter().flatten().copied().collect();
        for age in same_inode.into_iter().chain(same_path) {
            let position = &self.by_age[&age];
            if position.file.begins(file)?
                && (is_compressed || ends_before(file, position.offset, position.tail)?)
            {
                return Ok(self.remove(age).map(KnownFile::Same));
            }
        }
        // If the first bytes differ too, another file reuses the inode.
        let Some(position) = same_inode.and_then(|age| self.remove(age)) else { return Ok(None) };
        if position.file.begins(file)? {
            return Ok(Some(KnownFile::Rewritten(position)));
        }
        position.warn_gone();
        Ok(None)
    }

    /// Removes and returns the position of an inode.
    pub(crate) fn take_inode(&mut self, inode: (u64, u64)) -> Option<FilePosition> {
        self.remove(*self.by_inode.get(&inode)?)
    }

    /// Drops the positions that a live input now reports: of `inode`, and `known` if unchanged.
    pub(crate) fn replace(&mut self, inode: Option<(u64, u64)>, known: Option<&FilePosition>) {
        let known = known.filter(|known| self.of_inode(known.file.inode()) == Some(*known));
        for inode in inode.into_iter().chain(known.map(|known| known.file.inode())) {
            self.take_inode(inode);
        }
    }

    /// Marks files as missing, warns once about each, and drops those missing for more than
    /// [`GONE`].
    pub(crate) fn note_gone(&mut self, gone: impl Iterator<Item = (u64, u64)>) {
        let now = pipehost_record::time::now();
        for inode in gone {
            let Some(mut position) = self.take_inode(inode) else { continue };
            match position.gone {
                Some(since) if u128::from(now.abs_diff(since)) > GONE.as_nanos() => continue,
                Some(_) => {}
                None => {
                    position.warn_gone();
                    position.gone = Some(now);
                }
            }
            self.insert(position);
        }
    }

    fn remove(&mut self, age: u64) -> Option<FilePosition> {
        let position = self.by_age.remove(&age)?;
        if self.by_inode.get(&position.file.inode()) == Some(&age) {
            self.by_inode.remove(&position.file.inode());
        }
        if let Some(ages) = self.by_path.get_mut(&position.path) {
            ages.retain(|other| *other != age);
            if ages.is_empty() {
                self.by_path.remove(&position.path);
            }
        }
        Some(position)
    }
}

impl FromIterator<FilePosition> for FilePositions {
    fn from_iter<I: IntoIterator<Item = FilePosition>>(positions: I) -> Self {
        let mut all = Self::default();
        positions.into_iter().for_each(|position| all.insert(position));
        all
    }
}

//! How far files were read, and which file is which.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use pipehost_files::fingerprint::{Fingerprint, ends_before, inode};

/// Files that are remembered; beyond, the oldest are forgotten.
const MOST: usize = 1_000_000;
/// How long a file that is gone is remembered: it may come back.
const GONE: Duration = Duration::from_secs(24 * 3600);

/// How far a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePosition {
    /// From the folder of the pipeline, if it lies below it.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    pub file: Fingerprint,
    /// Of a compressed file, what it holds counts.
    pub offset: u64,
    pub records: u64,
    /// The CRC-32 of what it holds before that, [`pipehost_files::fingerprint::TAIL`] bytes at most.
    pub tail: u32,
    /// Since when it is not there, in nanoseconds since the Unix epoch.
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

/// A name that is no text is known by its inode.
fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What a file that was known is now.
pub(crate) enum KnownFile {
    /// The same, and perhaps longer.
    Same(FilePosition),
    /// It was truncated, or written anew from its begin.
    Rewritten(FilePosition),
}

/// Positions of many files, one an inode. Each is found at once.
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

    /// Remembers one, instead of another of its inode.
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

    /// The file of an inode, if it is known.
    pub(crate) fn of_inode(&self, inode: (u64, u64)) -> Option<&FilePosition> {
        self.by_age.get(self.by_inode.get(&inode)?)
    }

    /// Takes the position of a file out. It may have been renamed; or copied, with the whole
    /// directory. What a compressed file holds is not compared: see
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
        // An inode whose begin is another, too, is used again by another file.
        let Some(position) = same_inode.and_then(|age| self.remove(age)) else { return Ok(None) };
        if position.file.begins(file)? {
            return Ok(Some(KnownFile::Rewritten(position)));
        }
        position.warn_gone();
        Ok(None)
    }

    /// Takes one out.
    pub(crate) fn take_inode(&mut self, inode: (u64, u64)) -> Option<FilePosition> {
        self.remove(*self.by_inode.get(&inode)?)
    }

    /// Forgets one that was said again: by its inode, or as it was.
    pub(crate) fn replace(&mut self, inode: Option<(u64, u64)>, known: Option<&FilePosition>) {
        let known = known.filter(|known| self.of_inode(known.file.inode()) == Some(*known));
        for inode in inode.into_iter().chain(known.map(|known| known.file.inode())) {
            self.take_inode(inode);
        }
    }

    /// Notes that these files are not there, says so once, and forgets those that have not been
    /// there for long.
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

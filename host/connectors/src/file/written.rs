//! The files that a run writes. It must not read them too: it would never end.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pipehost_files::fingerprint::inode;

/// Device and inode of each file, so that no other name or link hides it.
#[derive(Debug, Clone, Default)]
pub struct WrittenFiles(Arc<Mutex<HashSet<(u64, u64)>>>);

impl WrittenFiles {
    /// Registers a file; to be called before anything is written to it.
    pub fn note(&self, file: &File) {
        if let Ok(inode) = inode(file) {
            self.0.lock().expect("nobody panics here").insert(inode);
        }
    }

    /// Whether the file at a path is one of them.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|file| self.has((file.dev(), file.ino())))
    }

    pub(crate) fn has(&self, inode: (u64, u64)) -> bool {
        self.0.lock().expect("nobody panics here").contains(&inode)
    }
}

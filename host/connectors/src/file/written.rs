//! The files that a run writes. It must not read them too: it would never end.

use std::collections::HashSet;
use std::fs::File;
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

    pub(crate) fn has(&self, inode: (u64, u64)) -> bool {
        self.0.lock().expect("nobody panics here").contains(&inode)
    }
}

//! The files that a run writes, which it must not read: it would never come to an end.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Arc, Mutex};

use pipehost_files::fingerprint::inode;

/// By device and inode, whatever names or links lead to them.
#[derive(Debug, Clone, Default)]
pub struct WrittenFiles(Arc<Mutex<HashSet<(u64, u64)>>>);

impl WrittenFiles {
    /// Notes a file before something is written to it.
    pub fn note(&self, file: &File) {
        if let Ok(inode) = inode(file) {
            self.0.lock().expect("nobody panics here").insert(inode);
        }
    }

    pub(crate) fn has(&self, inode: (u64, u64)) -> bool {
        self.0.lock().expect("nobody panics here").contains(&inode)
    }
}

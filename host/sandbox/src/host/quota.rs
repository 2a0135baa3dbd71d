//! Limits the bytes and files in the folders that a stage may write.
//!
//! Existing contents are counted once, and every addition is subtracted before it is made. Removals
//! and overwrites are not tracked: once the quota is used up, the folders are counted again, as
//! something may have been removed. A file that is removed while it is open still takes space.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The pause between two counts is this many times the duration of a count, and at least
/// `LEAST_PAUSE`: counting must not keep the machine busy.
const PAUSE: u32 = 10;
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// How deep folders are counted. If there are deeper ones, the stage may not write anything.
const DEPTH: usize = 64;

/// The quota of all folders of one stage together, shared by its instances.
pub(crate) struct Quota {
    folders: Vec<PathBuf>,
    most: FreeSpace,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FreeSpace {
    bytes: u64,
    files: u64,
}

struct State {
    left: FreeSpace,
    /// When the folders were last counted, and how long that took.
    counted: Option<(Instant, Duration)>,
}

impl Quota {
    pub(crate) fn new(folders: Vec<PathBuf>, bytes: u64, files: u64) -> Self {
        let left = FreeSpace { bytes: 0, files: 0 };
        let state = State { left, counted: None };
        Self { folders, most: FreeSpace { bytes, files }, state: state.into() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// Reserves bytes, if the last count leaves room for them.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.state().take(FreeSpace { bytes, files: 0 })
    }

    /// Reserves bytes; counts again if there is no room.
    pub(crate) async fn bytes(&self, bytes: u64) -> bool {
        self.ask(FreeSpace { bytes, files: 0 }).await
    }

    /// Reserves files or folders; counts again if there is no room.
    pub(crate) async fn files(&self, files: u64) -> bool {
        self.ask(FreeSpace { bytes: 0, files }).await
    }

    /// Counts again if less than this many bytes are left.
    pub(crate) async fn renew(&self, bytes: u64) {
        let few = self.state().left.bytes < bytes;
        if few {
            self.count().await;
        }
    }

    async fn ask(&self, room: FreeSpace) -> bool {
        let unknown = self.state().counted.is_none();
        if unknown {
            self.count().await;
        }
        if self.state().take(room) {
            return true;
        }
        self.count().await;
        self.state().take(room)
    }

    async fn count(&self) {
        let counted = self.state().counted;
        if let Some((at, took)) = counted {
            let pause = (PAUSE * took).max(LEAST_PAUSE);
            tokio::time::sleep(pause.saturating_sub(at.elapsed())).await;
        }
        let start = Instant::now();
        let (folders, most) = (self.folders.clone(), self.most);
        let counted = tokio::task::spawn_blocking(move || {
            let mut used = FreeSpace { bytes: 0, files: 0 };
            for folder in &folders {
                count(folder, DEPTH, most, &mut used);
                count_nameless(folder, &mut used);
            }
            used
        });
        let Ok(used) = counted.await else { return };
        let mut state = self.state();
        state.left = FreeSpace {
            bytes: self.most.bytes.saturating_sub(used.bytes),
            files: self.most.files.saturating_sub(used.files),
        };
        state.counted = Some((Instant::now(), start.elapsed()));
    }
}

impl State {
    fn take(&mut self, room: FreeSpace) -> bool {
        let left =
            (self.left.bytes.checked_sub(room.bytes), self.left.files.checked_sub(room.files));
        let (Some(bytes), Some(files)) = left else { return false };
        self.left = FreeSpace { bytes, files };
        true
    }
}

/// Adds up the contents of a folder, until there is more than `most`. Does not follow links.
fn count(folder: &Path, depth: usize, most: FreeSpace, used: &mut FreeSpace) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        used.files = used.files.saturating_add(1);
        if metadata.is_file() {
            used.bytes = used.bytes.saturating_add(metadata.len());
        } else if metadata.is_dir() && depth > 0 {
            count(&entry.path(), depth - 1, most, used);
        } else if metadata.is_dir() {
            *used = FreeSpace { bytes: u64::MAX, files: u64::MAX };
        }
        if used.files > most.files || used.bytes > most.bytes {
            return;
        }
    }
}

/// Adds up files that were removed from a folder but are still open in this process: they take
/// space until they are closed. See proc(5).
fn count_nameless(folder: &Path, used: &mut FreeSpace) {
    let Ok(folder) = folder.canonicalize() else { return };
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let is_nameless = target.as_os_str().as_bytes().ends_with(b" (deleted)");
        if is_nameless
            && target.starts_with(&folder)
            && let Ok(metadata) = fs::metadata(entry.path())
        {
            used.files = used.files.saturating_add(1);
            used.bytes = used.bytes.saturating_add(metadata.len());
        }
    }
}

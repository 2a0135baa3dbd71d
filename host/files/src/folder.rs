//! The folder that a file lies in.

use std::fs::{self, File, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// A path as it is kept: from the folder of the pipeline, if it lies below it, since that may be
/// moved with its files. However either is written.
pub fn kept(base: &Path, path: &Path) -> PathBuf {
    let whole = |path: &Path| {
        let here = std::env::current_dir().unwrap_or_default();
        std::path::absolute(here.join(path)).unwrap_or_else(|_| path.to_owned())
    };
    let path = whole(path);
    path.strip_prefix(whole(base)).map(Path::to_owned).unwrap_or(path)
}

/// What the names of files begin with that are not complete.
pub const TEMPORARY: &str = ".pipehost-";
/// The same, of those that go with the process that made them.
const OF_PROCESS: &str = ".pipehost-new-";
/// Nobody leaves one so long without a lock.
const ABANDONED: Duration = Duration::from_secs(60);

/// The folder of a path; the working directory, if it names none.
pub fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is to take the place of another, once it is complete. Of the permissions, the
/// umask is taken away. It is locked for as long as it is open: what a process that was killed
/// has left is known by that, and removed.
///
/// # Errors
/// If it cannot be made in the folder of the other.
pub fn temporary(path: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    let folder = of(path);
    remove_abandoned(folder);
    let mut builder = tempfile::Builder::new();
    let file = builder.prefix(OF_PROCESS).permissions(permissions).tempfile_in(folder)?;
    let _ = file.as_file().try_lock(); // Nobody else knows it; some file systems have no locks.
    Ok(file)
}

fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_old = || {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > ABANDONED))
        };
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(OF_PROCESS.as_bytes());
        if is_ours
            && is_old()
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the name of a file outlive a crash, as what is in it does.
///
/// # Errors
/// If its folder cannot be synced.
pub fn keep_name(path: &Path) -> io::Result<()> {
    File::open(of(path))?.sync_all()
}

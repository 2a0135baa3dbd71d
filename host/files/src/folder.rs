//! The folder of a file, and temporary files in it.

use std::fs::{self, File, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// A path as the state keeps it: relative to the folder of the pipeline if it lies below it, since
/// that may be moved with its files. Both may be relative or absolute.
pub fn kept(base: &Path, path: &Path) -> PathBuf {
    let whole = |path: &Path| {
        let here = std::env::current_dir().unwrap_or_default();
        std::path::absolute(here.join(path)).unwrap_or_else(|_| path.to_owned())
    };
    let path = whole(path);
    path.strip_prefix(whole(base)).map(Path::to_owned).unwrap_or(path)
}

/// The prefix of the names of incomplete files.
pub const TEMPORARY: &str = ".pipehost-";
/// The same, for those that do not outlive their process.
const OF_PROCESS: &str = ".pipehost-new-";
/// A file of this age that nobody has locked is abandoned.
const ABANDONED: Duration = Duration::from_secs(60);

/// The folder of a path; the working directory, if it names none.
pub fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a file that replaces another once it is complete. The umask limits its permissions. It
/// is locked while it is open, so that what a killed process left is recognised and deleted.
///
/// # Errors
/// If it cannot be created in the folder of `path`.
pub fn temporary(path: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    let folder = of(path);
    remove_abandoned(folder);
    let mut builder = tempfile::Builder::new();
    let file = builder.prefix(OF_PROCESS).permissions(permissions).tempfile_in(folder)?;
    let _ = file.as_file().try_lock(); // Nobody else has it; some file systems have no locks.
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

/// Syncs the folder of a file, so that its name survives a crash as its content does.
///
/// # Errors
/// If the folder cannot be synced.
pub fn keep_name(path: &Path) -> io::Result<()> {
    File::open(of(path))?.sync_all()
}

//! The folder that a file lies in.

use std::fs::{File, Permissions};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// The folder of a path; the working directory, if it names none.
pub fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is to take the place of another, once it is complete. Of the permissions, the
/// umask is taken away.
///
/// # Errors
/// If it cannot be made in the folder of the other.
pub fn temporary(path: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".pipehost-").permissions(permissions).tempfile_in(of(path))
}

/// Makes the name of a file outlive a crash, as what is in it does.
///
/// # Errors
/// If its folder cannot be synced.
pub fn keep_name(path: &Path) -> io::Result<()> {
    File::open(of(path))?.sync_all()
}

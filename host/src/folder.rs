//! The folder that a file lies in.

use std::fs::File;
use std::io;
use std::path::Path;

/// The folder of a path; the working directory, if it names none.
pub fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the name of a file outlive a crash, as what is in it does.
///
/// # Errors
/// If its folder cannot be synced.
pub fn keep_name(path: &Path) -> io::Result<()> {
    File::open(of(path))?.sync_all()
}

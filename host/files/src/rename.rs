//! A rename that is planned first and done later, once a checkpoint records the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::folder;

/// A rename to do once a checkpoint records the file.
#[derive(Debug)]
pub struct Rename {
    pub from: PathBuf,
    pub to: PathBuf,
    /// Whether an existing file of that name is replaced.
    pub replaces: bool,
}

impl Rename {
    /// Renames the file, and syncs its folder.
    ///
    /// # Errors
    /// If another file has the name, or the rename or the sync fails.
    pub fn apply(&self) -> Result<()> {
        let failed = |error: io::Error| cannot_write(&self.to, &error);
        if self.replaces {
            fs::rename(&self.from, &self.to).map_err(failed)?;
        } else {
            let renamed = renameat_with(CWD, &self.from, CWD, &self.to, RenameFlags::NOREPLACE);
            match renamed.map_err(io::Error::from) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(in_the_way(&self.to));
                }
                // Not every file system supports NOREPLACE.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    if self.to.symlink_metadata().is_ok() {
                        return Err(in_the_way(&self.to));
                    }
                    fs::rename(&self.from, &self.to).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        folder::keep_name(&self.to).map_err(failed)
    }
}

/// The error of a name that another file has.
pub fn in_the_way(path: &Path) -> anyhow::Error {
    anyhow!(
        "cannot write {}: there is a file that no checkpoint of this pipeline knows. Move it away",
        path.display()
    )
}

/// The error of a file that cannot be written.
pub fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {error}", path.display())
}

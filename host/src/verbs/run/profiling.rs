//! `--profile`: writes a profile of guests to a file.

use anyhow::anyhow;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::Error;
use pipehost_files::folder;
use pipehost_observe::profile::GuestProfile;

/// A profile of guests, and the file that it is written to.
pub(super) struct Profiling {
    pub(super) profile: Arc<GuestProfile>,
    path: PathBuf,
    /// Created before anything runs: a missing folder must be reported at the start, not at the
    /// end.
    file: ProfileFile,
}

enum ProfileFile {
    /// Replaces an existing file only when it is complete.
    Complete(NamedTempFile),
    /// A pipe or a device is written directly.
    Stream(File),
}

impl Profiling {
    pub(super) fn begin(path: &Path) -> Result<Self, Error> {
        let failed = |error| cannot_write(path, &error);
        fs::metadata(folder::of(path)).map_err(failed)?;
        // Follow a link: the file is replaced, not the link.
        let path =
            &if path.exists() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let file = if path.exists() && !path.is_file() {
            ProfileFile::Stream(File::options().write(true).open(path).map_err(failed)?)
        } else {
            let file = folder::temporary(path, fs::Permissions::from_mode(0o666));
            ProfileFile::Complete(file.map_err(failed)?)
        };
        let name = path.file_stem().map_or("pipehost".into(), |stem| stem.to_string_lossy());
        let profile = Arc::new(GuestProfile::new(&name));
        Ok(Self { profile, path: path.to_owned(), file })
    }

    pub(super) fn end(self) -> Result<(), Error> {
        let written = match self.file {
            ProfileFile::Stream(file) => self.profile.write(BufWriter::new(file)),
            ProfileFile::Complete(file) => {
                let written = self.profile.write(BufWriter::new(file.as_file()));
                written.and_then(|()| Ok(file.persist(&self.path).map(drop)?))
            }
        };
        written.map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::Failed(anyhow!("cannot write the profile {}: {error}", path.display()))
}

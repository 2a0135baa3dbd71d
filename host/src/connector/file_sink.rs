//! A file that appears complete or not at all, or one that is appended to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::codec;
use crate::config::Encoding;
use crate::record::Batch;

pub struct FileSink {
    path: PathBuf,
    encoding: Encoding,
    /// None while a write is under way.
    target: Option<Target>,
}

enum Target {
    /// Written beside the path and renamed at the end; removed if that does not come.
    Complete(NamedTempFile),
    /// Written in place: because it is appended to, or because it is no regular file (a
    /// device, a pipe), which a rename would replace.
    InPlace(File),
}

impl Target {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Complete(file) => file.as_file_mut(),
            Self::InPlace(file) => file,
        }
    }
}

impl FileSink {
    pub(super) fn open(path: &Path, append: bool, encoding: Encoding) -> Result<Self, String> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let existing = fs::metadata(path).ok();
        // A link stays, and what it points to is replaced.
        let path =
            if existing.is_some() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let target = if append || existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            let file =
                OpenOptions::new().create(append).append(true).open(&path).map_err(failed)?;
            Target::InPlace(file)
        } else {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            if !folder.is_dir() {
                let folder = folder.display();
                return Err(format!(
                    "cannot write {}: the folder {folder} does not exist",
                    path.display()
                ));
            }
            // Those of the file that it replaces; else what any new file gets, less the umask.
            let new = || Permissions::from_mode(0o666);
            let permissions = existing.map_or_else(new, |metadata| metadata.permissions());
            let file = tempfile::Builder::new()
                .prefix(".pipehost-")
                .permissions(permissions)
                .tempfile_in(folder)
                .map_err(failed)?;
            Target::Complete(file)
        };
        Ok(Self { path, encoding, target: Some(target) })
    }

    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let mut bytes = Vec::new();
        codec::encode(&self.encoding, batch, &mut bytes);
        self.blocking(move |target| target.file().write_all(&bytes)).await
    }

    pub(super) async fn finish(mut self) -> Result<(), String> {
        self.blocking(|target| match target.file().sync_all() {
            // Pipes and terminals have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        })
        .await?;
        if let Some(Target::Complete(file)) = self.target {
            file.persist(&self.path).map_err(|error| cannot_write(&self.path, &error.error))?;
        }
        Ok(())
    }

    async fn blocking(
        &mut self,
        work: impl FnOnce(&mut Target) -> io::Result<()> + Send + 'static,
    ) -> Result<(), String> {
        let mut target = self.target.take().expect("one write at a time");
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&mut target);
            (target, result)
        });
        let (target, result) = work.await.expect("writing does not panic");
        self.target = Some(target);
        result.map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

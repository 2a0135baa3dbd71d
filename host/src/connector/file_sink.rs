//! A file: one that appears complete or not at all, one that is appended to, or one that a
//! state directory cuts back to where its last cut ended.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Resume;
use crate::codec;
use crate::config::Encoding;
use crate::fingerprint::crc;
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
    /// Written in place, and cut back after a crash.
    Kept { file: File, length: u64, dirty: bool },
}

/// Where a file ended.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    length: u64,
    /// The CRC-32 of its last bytes, [`TAIL`] at most: another file does not end like this.
    tail: u32,
}

const TAIL: u64 = 4096;

impl Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Complete(file) => file.as_file_mut().write_all(bytes),
            Self::InPlace(file) => file.write_all(bytes),
            Self::Kept { file, length, dirty } => {
                *dirty = true;
                file.write_all(bytes)?;
                *length += bytes.len() as u64;
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = match self {
            Self::Complete(file) => file.as_file().sync_all(),
            Self::InPlace(file) => file.sync_all(),
            Self::Kept { dirty: false, .. } => Ok(()),
            Self::Kept { file, dirty, .. } => {
                *dirty = false;
                file.sync_all()
            }
        };
        match synced {
            // Pipes and terminals have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    fn position(&self) -> io::Result<Option<Position>> {
        let Self::Kept { file, length, .. } = self else { return Ok(None) };
        let tail = TAIL.min(*length);
        Ok(Some(Position { length: *length, tail: crc(file, length - tail, tail)? }))
    }
}

impl FileSink {
    pub(super) fn open(
        path: &Path,
        append: bool,
        encoding: Encoding,
        resume: &Resume<'_>,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let existing = fs::metadata(path).ok();
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
        // A link stays, and what it points to is replaced.
        let path =
            if existing.is_some() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let is_regular = existing.as_ref().is_none_or(fs::Metadata::is_file);
        let target = match resume {
            Resume::FromPosition(position) if is_regular => go_on(&path, position)?,
            Resume::New if is_regular => {
                let mut options = OpenOptions::new();
                let file = options.create(true).read(true).write(true).truncate(!append);
                let mut file = file.open(&path).map_err(failed)?;
                let length = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(failed)?;
                // Its name is to outlive a crash, as what is in it does.
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
                Target::Kept { file, length, dirty: true }
            }
            _ if append || !is_regular => {
                let file =
                    OpenOptions::new().create(append).append(true).open(&path).map_err(failed)?;
                Target::InPlace(file)
            }
            _ => {
                // Those of the file that it replaces; else what any new file gets, less the
                // umask.
                let new = || Permissions::from_mode(0o666);
                let permissions = existing.map_or_else(new, |metadata| metadata.permissions());
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let file = tempfile::Builder::new()
                    .prefix(".pipehost-")
                    .permissions(permissions)
                    .tempfile_in(folder.unwrap_or(Path::new(".")))
                    .map_err(failed)?;
                Target::Complete(file)
            }
        };
        Ok(Self { path, encoding, target: Some(target) })
    }

    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let mut bytes = Vec::new();
        codec::encode(&self.encoding, batch, &mut bytes);
        self.blocking(move |target| target.write(&bytes)).await
    }

    /// Makes durable what was written, and says where it ends; none if it cannot be cut
    /// back.
    pub(super) async fn sync(&mut self) -> Result<Option<Value>, String> {
        let position = self
            .blocking(|target| {
                target.sync()?;
                target.position()
            })
            .await?;
        Ok(position.map(|position| serde_json::to_value(position).expect("its keys are texts")))
    }

    pub(super) async fn finish(mut self) -> Result<Option<Value>, String> {
        let position = self.sync().await?;
        if let Some(Target::Complete(file)) = self.target {
            file.persist(&self.path).map_err(|error| cannot_write(&self.path, &error.error))?;
        }
        Ok(position)
    }

    async fn blocking<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Target) -> io::Result<R> + Send + 'static,
    ) -> Result<R, String> {
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

/// Cuts a file back to where it ended, and goes on from there.
fn go_on(path: &Path, position: &Value) -> Result<Target, String> {
    let failed = |error: io::Error| cannot_write(path, &error);
    let Position { length, tail } = serde_json::from_value(position.clone())
        .map_err(|error| format!("the state does not know where it ended: {error}"))?;
    let differs = |what: &str| {
        format!(
            "cannot go on with {}: {what}. Bring it back as it was, or write it anew from here on: \
             pipehost state reset DIR --node NAME",
            path.display()
        )
    };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(differs(&format!("it had {length} bytes, and is gone")));
        }
        Err(error) => return Err(failed(error)),
    };
    let there = file.metadata().map_err(failed)?.len();
    if there < length {
        return Err(differs(&format!("it had {length} bytes, and has {there}")));
    }
    let end = TAIL.min(length);
    if crc(&file, length - end, end).map_err(failed)? != tail {
        return Err(differs("it is not the file that was written"));
    }
    file.set_len(length).map_err(failed)?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(failed)?;
    Ok(Target::Kept { file, length, dirty: true })
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

//! A file that a sink writes: one that appears complete or not at all, one that is appended to,
//! or one that a state directory truncates to where its last checkpoint ended.
//!
//! Of the last kind, nothing gets a name before a checkpoint knows it. A file that is begun between two
//! checkpoints, because the one before it is large or old enough, has a name of its own, which begins
//! with a dot. The names are given when the next checkpoint is written; if that does not come, what no
//! checkpoint knows is removed by the next run, and all else is as it was.

use anyhow::{Result, anyhow};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::WrittenFiles;
use pipehost_config::Rotate;
use pipehost_files::fingerprint::{FileMark, is_at};
use pipehost_files::folder;
use pipehost_files::rotation;

/// The file that is written now.
pub(crate) struct SinkFile {
    path: PathBuf,
    target: Target,
    /// Bytes in it.
    length: u64,
    begun: FileAge,
    /// WrittenFiles since it was synced.
    dirty: bool,
    rotate: Rotate,
    /// The highest number that a rotated file had.
    rotated: u64,
}

enum Target {
    /// WrittenFiles beside the path and renamed at the end; removed if that does not come.
    Complete(NamedTempFile),
    /// WrittenFiles in place, by appending.
    Appended(File),
    /// A device or a pipe, which a rename would replace.
    Stream(File),
    /// Truncated after a crash.
    Checkpointed(CheckpointedFile),
}

struct CheckpointedFile {
    file: File,
    /// Its own name, until a checkpoint knows it; none, once it has the path.
    own: Option<String>,
    /// Files that were rotated since the last checkpoint.
    rotated: Vec<Rotated>,
    /// The last checkpoint has given names.
    given: bool,
    temporaries: Temporaries,
}

/// Makes names for files that no checkpoint knows yet.
#[derive(Debug, Clone)]
pub(crate) struct Temporaries {
    /// What all of them begin with; of one sink alone.
    prefix: String,
}

impl Temporaries {
    pub(crate) fn new(tag: &str) -> Self {
        Self { prefix: format!(".pipehost-{tag}-") }
    }

    /// Makes a file beside a path.
    fn create(&self, path: &Path) -> io::Result<(File, String)> {
        loop {
            let name = format!("{}{:016x}", self.prefix, fastrand::u64(..));
            let new = path.with_file_name(&name);
            match OpenOptions::new().read(true).write(true).create_new(true).open(new) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok((file?, name)),
            }
        }
    }

    /// Removes those in a folder that no checkpoint knows. Names are compared: none is used twice, and
    /// one path may be written in several ways.
    pub(crate) fn remove_others(&self, folder: &Path, known: &[OsString]) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let is_ours = entry.file_name().to_str().is_some_and(|n| n.starts_with(&self.prefix));
            if is_ours && !known.contains(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// When a file was begun, by a clock that does not jump.
#[derive(Debug, Clone, Copy)]
struct FileAge {
    /// In nanoseconds since the Unix epoch.
    at: i64,
    opened: Instant,
    /// How old it was then.
    age: Duration,
}

impl FileAge {
    fn now() -> Self {
        Self { at: pipehost_record::time::now(), opened: Instant::now(), age: Duration::ZERO }
    }

    /// At a time of the clock on the wall, which may have been put back since.
    fn at(nanoseconds: i64) -> Self {
        let age = pipehost_record::time::now().saturating_sub(nanoseconds).max(0).unsigned_abs();
        Self { at: nanoseconds, opened: Instant::now(), age: Duration::from_nanos(age) }
    }

    fn age(self) -> Duration {
        self.age + self.opened.elapsed()
    }
}

/// Where a file ended at a checkpoint, and what it was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SinkPosition {
    /// The name of the file beside the path; none: it has the path.
    own: Option<String>,
    #[serde(flatten)]
    pub(crate) mark: FileMark,
    /// In nanoseconds since the Unix epoch.
    begun: i64,
    /// The highest number that a rotated file had.
    highest: u64,
    /// Files that get their numbers once the checkpoint is written.
    rotated: Vec<Rotated>,
}

/// A file that gets a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rotated {
    /// As in [`SinkPosition`].
    own: Option<String>,
    number: u64,
    mark: FileMark,
}

/// A name that a file gets once a checkpoint knows it.
#[derive(Debug)]
pub struct Rename {
    from: PathBuf,
    to: PathBuf,
    /// Whether a file that has the name is replaced.
    replaces: bool,
}

impl Rename {
    /// Gives the name.
    ///
    /// # Errors
    /// If another file has it, or it cannot be given.
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
                // Not every file system can promise it.
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

/// What is done to go on with a file. Until it is, nothing is changed.
#[derive(Debug)]
pub(crate) struct GoOn {
    path: PathBuf,
    position: SinkPosition,
    renames: Vec<Rename>,
}

impl GoOn {
    /// Looks whether a file and those that were rotated are as a checkpoint left them. `replaces`: what
    /// has the path may be replaced.
    ///
    /// # Errors
    /// What differs, and what to do.
    pub(crate) fn check(path: &Path, position: &SinkPosition, replaces: bool) -> Result<Self> {
        let failed = |error: io::Error| cannot_write(path, &error);
        // A link stays, and what it points to is written.
        let path =
            &if path.exists() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let named = |own: &Option<String>| match own {
            None => path.clone(),
            Some(own) => path.with_file_name(own),
        };
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_write(path, &error)),
        };
        let mut renames: Vec<Rename> = Vec::new();
        for Rotated { own, number, mark } in &position.rotated {
            let (from, to) = (named(own), rotation::numbered(path, *number));
            match (open(&to)?, open(&from)?) {
                // It has its name already.
                (Some(there), _) if mark.is_all_of(&there).map_err(failed)? => {}
                (Some(_), _) => return Err(in_the_way(&to)),
                (None, Some(file)) if mark.is_all_of(&file).map_err(failed)? => {
                    renames.push(Rename { from, to, replaces: false });
                }
                (None, _) => tracing::warn!("{} is not there any more", to.display()),
            }
        }
        let differs = |what: &str| {
            anyhow!(
                "cannot go on with {}: {what}. Bring it back as it was; or move it away, take the \
                 sink out of the state (pipehost state reset DIR --node NAME), and it is written \
                 anew from here on",
                path.display()
            )
        };
        let length = position.mark.length;
        let own = position.own.as_ref().map(|_| named(&position.own));
        if let Some(own) = own
            && let Some(file) = open(&own)?
        {
            if !position.mark.is_in(&file).map_err(failed)? {
                return Err(differs(&format!(
                    "{} is not the file that was written",
                    own.display()
                )));
            }
            let is_free = renames.iter().any(|rename| rename.from == *path)
                || path.symlink_metadata().is_err();
            if !is_free && !replaces {
                return Err(in_the_way(path));
            }
            renames.push(Rename { from: own, to: path.clone(), replaces });
        } else {
            let Some(file) = open(path)? else {
                return Err(differs(&format!("it had {length} bytes, and is gone")));
            };
            let there = file.metadata().map_err(failed)?.len();
            if there < length {
                return Err(differs(&format!("it had {length} bytes, and has {there}")));
            }
            if !position.mark.is_in(&file).map_err(failed)? {
                return Err(differs("it is not the file that was written"));
            }
        }
        Ok(Self { path: path.clone(), position: position.clone(), renames })
    }

    /// The names of files that are about to get others.
    pub(crate) fn temporaries(&self) -> impl Iterator<Item = OsString> {
        self.renames.iter().filter_map(|rename| rename.from.file_name().map(OsStr::to_owned))
    }

    /// Gives what is missing its name, truncates the file, and goes on.
    pub(crate) fn begin(
        self,
        rotate: &Rotate,
        temporaries: &Temporaries,
        written: &WrittenFiles,
    ) -> Result<SinkFile> {
        let Self { path, position, renames } = self;
        renames.iter().try_for_each(Rename::apply)?;
        let failed = |error: io::Error| cannot_write(&path, &error);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        written.note(&file);
        file.set_len(position.mark.length).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let temporaries = temporaries.clone();
        Ok(SinkFile {
            target: Target::Checkpointed(CheckpointedFile {
                file,
                own: None,
                rotated: Vec::new(),
                given: false,
                temporaries,
            }),
            length: position.mark.length,
            begun: FileAge::at(position.begun),
            dirty: true,
            rotate: rotate.clone(),
            rotated: position.highest,
            path,
        })
    }
}

/// How a file is begun that no checkpoint knows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum New<'a> {
    /// Complete or not at all.
    Complete,
    Append,
    /// Truncated after a crash; what is in a file that is there stays in it, or not.
    Checkpointed {
        temporaries: &'a Temporaries,
        appends: bool,
    },
    /// The same, and only a checkpoint gives it its name.
    KeptUnnamed {
        temporaries: &'a Temporaries,
    },
}

impl SinkFile {
    /// Begins a file.
    pub(crate) fn new(
        path: &Path,
        new: New<'_>,
        rotate: &Rotate,
        written: &WrittenFiles,
    ) -> Result<Self> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let existing = fs::metadata(path).ok();
        // A link stays, and what it points to is replaced.
        let path =
            if existing.is_some() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let is_regular = existing.as_ref().is_none_or(fs::Metadata::is_file);
        let mut rotated = 0;
        let mut length = 0;
        let mut kept = |file, own, temporaries: &Temporaries| {
            rotated = rotation::highest(&path);
            let temporaries = temporaries.clone();
            Target::Checkpointed(CheckpointedFile {
                file,
                own,
                rotated: Vec::new(),
                given: false,
                temporaries,
            })
        };
        let target = match new {
            _ if !is_regular => {
                Target::Stream(OpenOptions::new().append(true).open(&path).map_err(failed)?)
            }
            New::Complete => {
                // Those of the file that it replaces; else what any new file gets, less the
                // umask.
                let new = || Permissions::from_mode(0o666);
                let permissions = existing.map_or_else(new, |metadata| metadata.permissions());
                Target::Complete(folder::temporary(&path, permissions).map_err(failed)?)
            }
            New::Append => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.map_err(failed)?;
                folder::keep_name(&path).map_err(failed)?;
                length = file.metadata().map_err(failed)?.len();
                Target::Appended(file)
            }
            New::Checkpointed { temporaries, appends } => {
                let mut options = OpenOptions::new();
                options.create(true).read(true).write(true).truncate(!appends);
                let mut file = options.open(&path).map_err(failed)?;
                length = file.seek(SeekFrom::End(0)).map_err(failed)?;
                folder::keep_name(&path).map_err(failed)?;
                kept(file, None, temporaries)
            }
            New::KeptUnnamed { temporaries } => {
                let (file, own) = temporaries.create(&path).map_err(failed)?;
                kept(file, Some(own), temporaries)
            }
        };
        let begun = FileAge::now();
        let rotate = rotate.clone();
        let file = Self { target, length, begun, dirty: true, rotate, rotated, path };
        written.note(file.file());
        Ok(file)
    }

    pub(crate) fn write(&mut self, bytes: &[u8], written: &WrittenFiles) -> io::Result<()> {
        if self.is_due() {
            self.rotate()?;
            written.note(self.file());
        }
        self.dirty = true;
        self.file_mut().write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn file(&self) -> &File {
        match &self.target {
            Target::Complete(file) => file.as_file(),
            Target::Appended(file) | Target::Stream(file) => file,
            Target::Checkpointed(kept) => &kept.file,
        }
    }

    fn file_mut(&mut self) -> &mut File {
        match &mut self.target {
            Target::Complete(file) => file.as_file_mut(),
            Target::Appended(file) | Target::Stream(file) => file,
            Target::Checkpointed(kept) => &mut kept.file,
        }
    }

    fn is_due(&self) -> bool {
        !matches!(self.target, Target::Stream(_))
            && self.length > 0
            && (self.rotate.bytes.is_some_and(|bytes| self.length >= bytes)
                || self.rotate.every.is_some_and(|every| self.begun.age() >= every))
    }

    /// Gives the file a number, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        // Numbers are not used again, also if somebody has taken files away.
        let number = self.rotated.max(rotation::highest(&self.path)) + 1;
        let next = rotation::numbered(&self.path, number);
        match &mut self.target {
            Target::Stream(_) => unreachable!("a stream is never due"),
            Target::Complete(file) => {
                let new = folder::temporary(&self.path, file.as_file().metadata()?.permissions())?;
                let whole = std::mem::replace(file, new);
                whole.persist_noclobber(next).map_err(|error| error.error)?;
            }
            Target::Appended(file) => {
                fs::rename(&self.path, next)?;
                *file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            }
            Target::Checkpointed(kept) => {
                let mark = FileMark::of(&kept.file, self.length)?;
                let (file, own) = kept.temporaries.create(&self.path)?;
                file.set_permissions(kept.file.metadata()?.permissions())?;
                let own = kept.own.replace(own);
                kept.rotated.push(Rotated { own, number, mark });
                kept.file = file;
            }
        }
        self.rotated = number;
        (self.length, self.begun, self.dirty) = (0, FileAge::now(), true);
        folder::keep_name(&self.path)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        match self.file().sync_all() {
            // Pipes and terminals have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    /// Where it ends, and the names that are to be given once a checkpoint knows that. From then on,
    /// they are taken to be given. None if it cannot be truncated. `last`: nothing more comes, and
    /// the checkpoint before may not be written yet.
    pub(crate) fn checkpoint(
        &mut self,
        replaces: bool,
        last: bool,
    ) -> io::Result<Option<(SinkPosition, Vec<Rename>)>> {
        let Target::Checkpointed(kept) = &mut self.target else { return Ok(None) };
        let is_named = kept.own.is_none() && kept.rotated.is_empty() && !(last && kept.given);
        if is_named && !is_at(&self.path, &kept.file) {
            return Err(io::Error::other("it was taken away or replaced while it was written"));
        }
        let mark = FileMark::of(&kept.file, self.length)?;
        let named = |own: &Option<String>| match own {
            None => self.path.clone(),
            Some(own) => self.path.with_file_name(own),
        };
        let rotated = std::mem::take(&mut kept.rotated);
        let mut renames: Vec<_> = (rotated.iter())
            .map(|Rotated { own, number, .. }| Rename {
                from: named(own),
                to: rotation::numbered(&self.path, *number),
                replaces: false,
            })
            .collect();
        let own = kept.own.take();
        if own.is_some() {
            folder::keep_name(&self.path)?; // The checkpoint says that it is there.
            renames.push(Rename { from: named(&own), to: self.path.clone(), replaces });
        }
        kept.given = !renames.is_empty();
        let begun = self.begun.at;
        let position = SinkPosition { own, mark, begun, highest: self.rotated, rotated };
        Ok(Some((position, renames)))
    }

    /// The last of it was written and synced.
    pub(crate) fn finish(self) -> Result<()> {
        let Target::Complete(file) = self.target else { return Ok(()) };
        let persisted = file.persist(&self.path);
        persisted.map_err(|error| cannot_write(&self.path, &error.error))?;
        folder::keep_name(&self.path).map_err(|error| cannot_write(&self.path, &error))
    }
}

impl SinkPosition {
    /// Whether it is there, with a name of its own.
    pub(crate) fn own_in(&self, folder: &Path) -> bool {
        self.own.as_ref().is_some_and(|own| folder.join(own).exists())
    }

    /// The same, once all names were given.
    pub(crate) fn settled(self) -> Self {
        Self { own: None, rotated: Vec::new(), ..self }
    }
}

pub(crate) fn in_the_way(path: &Path) -> anyhow::Error {
    anyhow!(
        "cannot write {}: there is a file that no checkpoint of this pipeline knows. Move it away",
        path.display()
    )
}

pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {error}", path.display())
}

//! A file that a sink writes: one that appears complete or not at all, one that is appended to, or,
//! with a state directory, one that is truncated to the last checkpoint after a crash.
//!
//! The last kind gets a final name only after a checkpoint records it. A file that rotation begins
//! between two checkpoints has a temporary name, which starts with a dot, and is renamed once the
//! next checkpoint is written. If that one is never written, the next run deletes the files that no
//! checkpoint records, and everything else is as it was.

use anyhow::{Result, anyhow};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::compressed::{Compressor, decompress, known_by};
use crate::file::WrittenFiles;
use pipehost_config::{Compression, FileSink, Rotate};
use pipehost_files::fingerprint::{FileMark, is_at};
use pipehost_files::folder;
use pipehost_files::rename::{Rename, cannot_write, in_the_way};
use pipehost_files::rotation;

/// The file that is written now.
pub(crate) struct SinkFile {
    path: PathBuf,
    target: Target,
    /// Its length in bytes.
    length: u64,
    /// Whether what stands before the first record is written.
    has_head: bool,
    /// Whether its last line has no end.
    is_open: bool,
    compressor: Option<Compressor>,
    begun: FileAge,
    /// Whether it was written to since the last sync.
    dirty: bool,
    layout: Layout,
    /// The highest number of a rotated file.
    rotated: u64,
}

/// How files are written.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub rotate: Rotate,
    pub compression: Option<Compression>,
    /// What stands before the first record of a file.
    pub head: Vec<u8>,
    /// Whether each record ends with a line end.
    pub ends_lines: bool,
}

impl Layout {
    pub(crate) fn new(config: &FileSink) -> Self {
        let mut head = Vec::new();
        pipehost_codec::begin(&config.encoding, &mut head);
        let ends_lines = pipehost_codec::ends_lines(&config.encoding);
        Self { rotate: config.rotate.clone(), compression: config.compression, head, ends_lines }
    }

    /// Whether a file that no checkpoint records can be added to: what is in it must be written as
    /// what will be. Of a file that is not compressed, only the head is compared: any bytes may
    /// stand in it. Whether a line end must come first, as the last line has none.
    fn check_addition(&self, path: &Path) -> Result<bool> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let refused = |why: &str| {
            anyhow!(
                "will not add to {}: {why}. Move it away, or write another file",
                path.display()
            )
        };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        if file.fill_buf().map_err(failed)?.is_empty() {
            return Ok(false);
        }
        let is_open = |last: Option<u8>| {
            let is_open = self.ends_lines && last.is_some_and(|last| last != b'\n');
            if is_open {
                tracing::warn!("the last line of {} has no end: one is added", path.display());
            }
            is_open
        };
        let Some(compression) = self.compression else {
            if !begins_with(&mut file, &self.head).map_err(failed)? {
                return Err(refused(OTHER_COLUMNS));
            }
            let mut last = [0];
            file.seek(SeekFrom::End(-1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(failed)?;
            return Ok(is_open(Some(last[0])));
        };
        let found = known_by(file.buffer());
        if found != Some(compression) {
            return Err(refused(&other_compression(found, self.compression)));
        }
        // What follows a member that was cut off could not be read.
        let mut text = decompress(compression, file, None).map_err(failed)?;
        let has_head = begins_with(&mut text, &self.head);
        let mut last = LastByte(None);
        match has_head.and_then(|has_head| io::copy(&mut text, &mut last).map(|_| has_head)) {
            Ok(true) => Ok(is_open(last.0)),
            Ok(false) => Err(refused(OTHER_COLUMNS)),
            Err(error) => {
                Err(refused(&format!("it does not end as {} ends: {error}", named(found))))
            }
        }
    }
}

/// Keeps the last byte that is written to it.
struct LastByte(Option<u8>);

impl io::Write for LastByte {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = bytes.last().copied().or(self.0);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const OTHER_COLUMNS: &str = "it begins with other columns than those of `codec`";

fn other_compression(was: Option<Compression>, is: Option<Compression>) -> String {
    format!("what is in it is {}, and `compression` says {}", named(was), named(is))
}

fn named(compression: Option<Compression>) -> &'static str {
    match compression {
        None => "not compressed",
        Some(Compression::Gzip) => "gzip",
        Some(Compression::Zstd) => "zstd",
    }
}

/// Whether these are the next bytes of a reader.
fn begins_with(reader: &mut impl io::Read, head: &[u8]) -> io::Result<bool> {
    let mut read = Vec::with_capacity(head.len());
    reader.take(head.len() as u64).read_to_end(&mut read)?;
    Ok(read == head)
}

enum Target {
    /// Written next to the path and renamed to it at the end; deleted if the run fails.
    Complete(NamedTempFile),
    /// Written in place, by appending.
    Appended(File),
    /// A device or a pipe, which a rename would replace.
    Stream(File),
    /// Truncated to the last checkpoint after a crash.
    Checkpointed(CheckpointedFile),
}

struct CheckpointedFile {
    file: File,
    /// Its temporary name, until a checkpoint records the file; `None` once it has the path.
    own: Option<String>,
    /// Files rotated since the last checkpoint.
    rotated: Vec<Rotated>,
    /// Whether the last checkpoint came with renames.
    given: bool,
    temporaries: Temporaries,
}

/// Makes temporary names, for files that no checkpoint records yet.
#[derive(Debug, Clone)]
pub(crate) struct Temporaries {
    /// The start of these names; unique to one sink.
    prefix: String,
}

impl Temporaries {
    pub(crate) fn new(tag: &str) -> Self {
        Self { prefix: format!(".pipehost-{tag}-") }
    }

    /// Creates a file in the folder of `path`.
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

    /// Deletes the temporary files of a folder that are not in `known`. Compares file names, which
    /// are unique: one path can be spelled in several ways.
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

/// When a file was begun. Its age does not jump when the system clock is set.
#[derive(Debug, Clone, Copy)]
struct FileAge {
    /// In nanoseconds since the Unix epoch.
    at: i64,
    opened: Instant,
    /// Its age at `opened`.
    age: Duration,
}

impl FileAge {
    fn now() -> Self {
        Self { at: pipehost_record::time::now(), opened: Instant::now(), age: Duration::ZERO }
    }

    /// For a wall-clock time, which lies in the future if the clock was set back since.
    fn at(nanoseconds: i64) -> Self {
        let age = pipehost_record::time::now().saturating_sub(nanoseconds).max(0).unsigned_abs();
        Self { at: nanoseconds, opened: Instant::now(), age: Duration::from_nanos(age) }
    }

    fn age(self) -> Duration {
        self.age + self.opened.elapsed()
    }
}

/// Where a file ended at a checkpoint, and its name then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SinkPosition {
    /// The temporary name in the folder of the path; `None` if the file has the path.
    own: Option<String>,
    #[serde(flatten)]
    pub(crate) mark: FileMark,
    /// In nanoseconds since the Unix epoch.
    begun: i64,
    /// The highest number of a rotated file.
    highest: u64,
    #[serde(default)]
    compression: Option<Compression>,
    /// A checksum of what stands before the first record.
    #[serde(default)]
    head: u32,
    /// Files that are renamed to their numbers once the checkpoint is written.
    rotated: Vec<Rotated>,
}

/// A rotated file, and the number that it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rotated {
    /// As in [`SinkPosition`].
    own: Option<String>,
    number: u64,
    mark: FileMark,
}

/// The checked plan to resume a file. Nothing is changed until [`GoOn::begin`].
#[derive(Debug)]
pub(crate) struct GoOn {
    path: PathBuf,
    position: SinkPosition,
    renames: Vec<Rename>,
}

impl GoOn {
    /// Checks that a file and its rotated files are as the checkpoint left them, and that the file
    /// is written as before. `replaces`: another file at the path may be replaced.
    ///
    /// # Errors
    /// If they differ: says how, and what to do.
    pub(crate) fn check(
        path: &Path,
        position: &SinkPosition,
        replaces: bool,
        layout: &Layout,
    ) -> Result<Self> {
        let failed = |error: io::Error| cannot_write(path, &error);
        // Keep a symbolic link, and write its target.
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
                // It is renamed already.
                (Some(there), _) if mark.is_all_of(&there).map_err(failed)? => {}
                (Some(_), _) => return Err(in_the_way(&to)),
                (None, Some(file)) if mark.is_all_of(&file).map_err(failed)? => {
                    renames.push(Rename { from, to, replaces: false });
                }
                (None, _) => tracing::warn!("{} is not there any more", to.display()),
            }
        }
        let cannot = |what: &str, remedy: &str| {
            anyhow!(
                "cannot go on with {}: {what}. {remedy}; or move it away, take the sink out of the \
                 state (pipehost state reset DIR --node NAME), and it is written anew from here on",
                path.display()
            )
        };
        let differs = |what: &str| cannot(what, "Bring it back as it was");
        let configured = |what: &str| cannot(what, "Write it as before");
        let length = position.mark.length;
        if length > 0 && position.compression != layout.compression {
            let what = other_compression(position.compression, layout.compression);
            return Err(configured(&what));
        }
        if length > 0 && position.head != crc32fast::hash(&layout.head) {
            return Err(configured(OTHER_COLUMNS));
        }
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

    /// The current names of the files to rename.
    pub(crate) fn temporaries(&self) -> impl Iterator<Item = OsString> {
        self.renames.iter().filter_map(|rename| rename.from.file_name().map(OsStr::to_owned))
    }

    /// Does the missing renames, truncates the file, and resumes writing.
    pub(crate) fn begin(
        self,
        layout: &Layout,
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
            has_head: position.mark.length > 0,
            is_open: false,
            compressor: layout.compression.map(Compressor::new),
            layout: layout.clone(),
            rotated: position.highest,
            path,
        })
    }
}

/// How to begin a file that no checkpoint records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum New<'a> {
    /// Appears complete or not at all.
    Complete,
    Append,
    /// Truncated to the last checkpoint after a crash; `appends` keeps the existing content.
    Checkpointed {
        temporaries: &'a Temporaries,
        appends: bool,
    },
    /// The same, but under a temporary name until a checkpoint records it.
    KeptUnnamed {
        temporaries: &'a Temporaries,
    },
}

impl SinkFile {
    /// Begins a file.
    pub(crate) fn new(
        path: &Path,
        new: New<'_>,
        layout: &Layout,
        written: &WrittenFiles,
    ) -> Result<Self> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let existing = fs::metadata(path).ok();
        // Keep a symbolic link, and replace its target.
        let path =
            if existing.is_some() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let is_regular = existing.as_ref().is_none_or(fs::Metadata::is_file);
        let mut rotated = 0;
        let mut length = 0;
        let mut is_open = false;
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
                // The permissions of a replaced file; else 0666, less the umask.
                let new = || Permissions::from_mode(0o666);
                let permissions = existing.map_or_else(new, |metadata| metadata.permissions());
                Target::Complete(folder::temporary(&path, permissions).map_err(failed)?)
            }
            New::Append => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.map_err(failed)?;
                is_open = layout.check_addition(&path)?;
                folder::keep_name(&path).map_err(failed)?;
                length = file.metadata().map_err(failed)?.len();
                Target::Appended(file)
            }
            New::Checkpointed { temporaries, appends } => {
                let mut options = OpenOptions::new();
                options.create(true).read(true).write(true).truncate(!appends);
                if appends && path.exists() {
                    is_open = layout.check_addition(&path)?;
                }
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
        let compressor = layout.compression.map(Compressor::new);
        let layout = layout.clone();
        let has_head = length > 0;
        let file = Self {
            target,
            length,
            has_head,
            is_open,
            compressor,
            begun,
            dirty: true,
            layout,
            rotated,
            path,
        };
        written.note(file.file());
        Ok(file)
    }

    pub(crate) fn write(&mut self, bytes: &[u8], written: &WrittenFiles) -> io::Result<()> {
        if self.is_due() {
            self.rotate()?;
            written.note(self.file());
        }
        self.dirty = true;
        if std::mem::take(&mut self.is_open) {
            self.encode(b"\n")?;
        }
        if !std::mem::replace(&mut self.has_head, true) {
            let head = self.layout.head.clone();
            self.encode(&head)?;
        }
        self.encode(bytes)
    }

    /// Writes bytes, compressed if they should be.
    fn encode(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.compressor {
            None => self.append(bytes),
            Some(compressor) => {
                let compressed = compressor.write(bytes)?;
                self.append(&compressed)
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file_mut().write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Ends what is compressed, so that a file can be cut here and read.
    fn end_member(&mut self) -> io::Result<()> {
        if let Some(compressor) = &mut self.compressor {
            let rest = compressor.end()?;
            self.append(&rest)?;
        }
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
            && self.has_head
            && (self.layout.rotate.bytes.is_some_and(|bytes| self.length >= bytes)
                || self.layout.rotate.every.is_some_and(|every| self.begun.age() >= every))
    }

    /// Gives the file a number, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        // Never reuse a number, even if rotated files were taken away.
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
        (self.has_head, self.is_open) = (false, false);
        folder::keep_name(&self.path)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        self.end_member()?;
        match self.file().sync_all() {
            // Pipes and terminals have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    /// The end of the file, and the renames to do once a checkpoint records it; the file assumes
    /// from now on that they are done. `None` if it cannot be truncated. `last`: nothing more is
    /// written, and the checkpoint before may not be written yet.
    pub(crate) fn checkpoint(
        &mut self,
        replaces: bool,
        last: bool,
    ) -> io::Result<Option<(SinkPosition, Vec<Rename>)>> {
        let Target::Checkpointed(kept) = &mut self.target else { return Ok(None) };
        let is_named = kept.own.is_none() && kept.rotated.is_empty() && !(last && kept.given);
        if is_named && !is_at(&self.path, &kept.file) {
            return Err(io::Error::other(
                "it was moved, deleted or replaced while the pipeline wrote it",
            ));
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
            folder::keep_name(&self.path)?; // The checkpoint records this name.
            renames.push(Rename { from: named(&own), to: self.path.clone(), replaces });
        }
        kept.given = !renames.is_empty();
        let begun = self.begun.at;
        let position = SinkPosition {
            own,
            mark,
            begun,
            highest: self.rotated,
            compression: self.layout.compression,
            head: crc32fast::hash(&self.layout.head),
            rotated,
        };
        Ok(Some((position, renames)))
    }

    /// Renames a complete file to its path, after the last write and sync.
    pub(crate) fn finish(self) -> Result<()> {
        let Target::Complete(file) = self.target else { return Ok(()) };
        let persisted = file.persist(&self.path);
        persisted.map_err(|error| cannot_write(&self.path, &error.error))?;
        folder::keep_name(&self.path).map_err(|error| cannot_write(&self.path, &error))
    }
}

impl SinkPosition {
    /// Whether the file exists in `folder` under its temporary name.
    pub(crate) fn own_in(&self, folder: &Path) -> bool {
        self.own.as_ref().is_some_and(|own| folder.join(own).exists())
    }

    /// The same position, after all renames.
    pub(crate) fn settled(self) -> Self {
        Self { own: None, rotated: Vec::new(), ..self }
    }
}

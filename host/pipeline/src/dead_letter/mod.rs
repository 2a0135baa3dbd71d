//! The files of dead letters: frames, one behind the other, in files that rotate.

mod encoded;
mod reader;

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use encoded::Encoded;
use pipehost_codec::frames;
use pipehost_config::WhenLettersFull;
use pipehost_connectors::WrittenFiles;
use pipehost_files::fingerprint::{FileMark, inode, is_at};
use pipehost_files::folder;
use pipehost_files::paths::resolve;
use pipehost_files::rotation;
pub use reader::LetterReader;

/// Appends letters. A crash tears the last at most.
pub struct DeadLetters {
    config: pipehost_config::DeadLetters,
    current: Mutex<Current>,
}

struct Current {
    file: File,
    /// Bytes in it.
    length: u64,
    /// Bytes in those that were rotated away, as far as is known.
    rotated: u64,
    /// The highest number that a rotated file had: none is used again.
    highest: u64,
    /// Bytes that were asked room for and are not written yet.
    expected: u64,
    /// WrittenFiles since it was synced.
    dirty: bool,
    /// When something was written last, or it was opened.
    written: i64,
    /// A pipe or a device: there is nothing to lock, rotate or truncate.
    is_stream: bool,
    /// What is done before the first write.
    begin: Option<OpenMode>,
}

/// What is done before the first write.
enum OpenMode {
    /// Nothing was written behind the last checkpoint that anybody knows: only what is torn is removed.
    AsItIs,
    /// Removes what was written behind the checkpoint.
    Truncated(u64),
    /// The file was rotated since the checkpoint: it gets its name back, too.
    CutRotated(PathBuf, u64),
}

/// Where the letters of a checkpoint end.
#[derive(Debug, Serialize, Deserialize)]
struct LettersPosition {
    #[serde(flatten)]
    mark: FileMark,
    /// The highest number that a rotated file had.
    highest: u64,
    /// When something was written last before: nanoseconds since the Unix epoch.
    time: i64,
}

impl DeadLetters {
    /// Opens a file to append to, and creates it if there is none. Looks at what an earlier run
    /// left, and changes nothing of it before [`DeadLetters::begin`].
    ///
    /// # Errors
    /// If the file cannot be opened, is in use by another run, or holds something else than
    /// dead letters, or if another pipeline has written behind the checkpoint that ends at `position`.
    pub fn open(
        config: &pipehost_config::DeadLetters,
        pipeline: &str,
        position: Option<&Value>,
    ) -> Result<Self> {
        let mut config = config.clone();
        let is_device = config.path.exists() && !config.path.is_file();
        if config.path.is_symlink() && !is_device {
            config.path = resolve(&config.path); // The link stays, and what it leads to rotates.
        }
        let path = &config.path;
        let failed =
            |error: io::Error| anyhow!("cannot open the dead letters {}: {error}", path.display());
        let file = open_locked(path)?;
        let is_stream = !file.metadata().map_err(failed)?.is_file();
        let mut highest = rotation::highest(path);
        let mut begin = OpenMode::AsItIs;
        if let Some(position) = position {
            let position: LettersPosition = serde_json::from_value(position.clone())
                .context("the state does not know where its dead letters end")?;
            begin = since_cut(path, pipeline, &position)?;
            highest = match begin {
                // Its number is free again.
                OpenMode::CutRotated(..) => position.highest,
                OpenMode::AsItIs | OpenMode::Truncated(_) => highest.max(position.highest),
            };
        }
        if matches!(begin, OpenMode::AsItIs) && !is_stream {
            for letter in LetterReader::open(path)? {
                letter.with_context(|| format!("will not append to {}", path.display()))?;
            }
        }
        let current = Current {
            file,
            length: 0,
            rotated: 0,
            highest,
            expected: 0,
            dirty: false,
            written: pipehost_record::time::now(),
            is_stream,
            begin: Some(begin),
        };
        Ok(Self { config, current: Mutex::new(current) })
    }

    /// Removes what an earlier run wrote behind the last checkpoint, and what it left torn at the end:
    /// nothing behind that could be read.
    ///
    /// # Errors
    /// If that failed.
    pub fn begin(&self) -> Result<()> {
        let path = &self.config.path;
        let failed = |error: io::Error| {
            anyhow!("cannot truncate the dead letters {}: {error}", path.display())
        };
        let mut current = self.current();
        let Some(begin) = current.begin.take() else { return Ok(()) };
        if current.is_stream {
            return Ok(());
        }
        match begin {
            OpenMode::AsItIs => {
                let mut reader = LetterReader::open(path)?;
                reader.by_ref().try_for_each(|letter| letter.map(drop))?;
                if reader.torn() > 0 {
                    tracing::warn!(
                        "cut {} bytes off the end of {}: an earlier run was stopped while it wrote \
                         them",
                        reader.torn(),
                        path.display()
                    );
                    current.file.set_len(reader.offset).map_err(failed)?;
                }
            }
            OpenMode::Truncated(length) => current.file.set_len(length).map_err(failed)?,
            OpenMode::CutRotated(rotated, length) => {
                let file = OpenOptions::new().write(true).open(&rotated).map_err(failed)?;
                file.set_len(length).map_err(failed)?;
                fs::rename(&rotated, path).map_err(failed)?;
                current.file = open_locked(path)?;
            }
        }
        current.length = current.file.metadata().map_err(failed)?.len();
        current.rotated = rotation::bytes(path);
        Ok(())
    }

    /// The file that is written, not to be read meanwhile.
    pub fn note(&self, written: &WrittenFiles) {
        let current = self.current();
        if !current.is_stream {
            written.note(&current.file);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("nobody panics while writing")
    }

    /// Asks for room for letters that will be written, where the pipeline does not wait for it.
    ///
    /// # Errors
    /// If there is none.
    pub fn expect(&self, bytes: usize) -> Result<()> {
        let mut current = self.current();
        let expected = current.expected;
        if !self.waits() && !self.has_room(&mut current, expected, bytes as u64) {
            return Err(anyhow!(self.full()));
        }
        current.expected += bytes as u64;
        Ok(())
    }

    /// Whether the pipeline waits where there is no room.
    pub fn waits(&self) -> bool {
        self.config.when_full == WhenLettersFull::Wait
    }

    /// What is said where there is no room.
    pub fn full(&self) -> String {
        let limit = bytesize::ByteSize::b(self.config.max_bytes);
        format!(
            "the dead letters {} are full: dead_letters.max_size allows {limit}; replay them \
             (pipehost dead-letter replay) or move away those that were rotated",
            self.config.path.display()
        )
    }

    /// Appends letters, as long as there is room, and no longer than until the second file has
    /// been begun: the first is to be in a checkpoint by then. What is not written stays.
    ///
    /// # Errors
    /// If they cannot be written: the records would be lost.
    pub fn write(&self, letters: &mut Encoded) -> Result<()> {
        let path = &self.config.path;
        let failed =
            |error: io::Error| anyhow!("cannot write the dead letters {}: {error}", path.display());
        let mut current = self.current();
        let mut has_rotated = false;
        while let Some(part) = letters.pop() {
            let (mut start, mut end) = (0, 0);
            let mut stop = false;
            while end < part.len() && !stop {
                let length = frames::length(&part[end..]) as u64;
                let written = current.length + (end - start) as u64;
                let is_due = written >= self.config.rotate_bytes && written > 0;
                let is_full = !self.has_room(&mut current, (end - start) as u64, length);
                if current.is_stream || !(is_due || is_full) {
                    end += length as usize;
                    continue;
                }
                current.append(&part[start..end]).map_err(failed)?;
                start = end;
                // The one that is written cannot be replayed.
                let rotates = is_due || (is_full && self.waits() && current.length > 0);
                if rotates && !has_rotated {
                    self.rotate(&mut current)?;
                    has_rotated = true;
                }
                stop = is_full || (is_due && current.length > 0);
            }
            current.append(&part[start..end]).map_err(failed)?;
            if end < part.len() {
                letters.push_front(part[end..].to_vec());
                break;
            }
        }
        Ok(())
    }

    /// Whether so many bytes fit in behind what is written, and `more` that is about to be.
    fn has_room(&self, current: &mut Current, more: u64, bytes: u64) -> bool {
        let fits = |current: &Current| {
            let used = current.length + current.rotated + more;
            used == 0 || used + bytes <= self.config.max_bytes
        };
        if !fits(current) {
            // Somebody may have taken some away.
            current.rotated = rotation::bytes(&self.config.path);
        }
        fits(current)
    }

    /// Gives the file a number, and begins a new one.
    fn rotate(&self, current: &mut Current) -> Result<()> {
        let path = &self.config.path;
        let failed = |error: io::Error| {
            anyhow!("cannot rotate the dead letters {}: {error}", path.display())
        };
        current.file.sync_all().map_err(failed)?;
        current.highest = current.highest.max(rotation::highest(path)) + 1;
        fs::rename(path, rotation::numbered(path, current.highest)).map_err(failed)?;
        current.file = open_locked(path)?;
        current.rotated += std::mem::take(&mut current.length);
        Ok(())
    }

    /// Makes durable what was written, and says where it ends.
    ///
    /// # Errors
    /// If that failed.
    pub fn sync(&self) -> Result<Option<Value>> {
        let mut current = self.current();
        if current.is_stream {
            return Ok(None);
        }
        let failed = |error: io::Error| {
            anyhow!("cannot write the dead letters {}: {error}", self.config.path.display())
        };
        if std::mem::take(&mut current.dirty) {
            current.file.sync_all().map_err(failed)?;
        }
        // Opened to append, it can be read all the same.
        let mark = FileMark::of(&current.file, current.length).map_err(failed)?;
        // The same, as long as nothing is written: an unchanged checkpoint is not written again.
        let position = LettersPosition { mark, highest: current.highest, time: current.written };
        Ok(Some(serde_json::to_value(position).expect("its keys are texts")))
    }
}

impl Current {
    fn append(&mut self, letters: &[u8]) -> io::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        (self.dirty, self.written) = (true, pipehost_record::time::now());
        self.expected = self.expected.saturating_sub(letters.len() as u64);
        self.file.write_all(letters)?;
        self.length += letters.len() as u64;
        Ok(())
    }
}

/// Holds a file so that nobody else writes it, until what this returns goes.
///
/// # Errors
/// If there is no such file, or another run of pipehost writes it.
pub fn lock(path: &Path) -> Result<File> {
    if !path.exists() {
        bail!("there are no dead letters {}", path.display());
    }
    open_locked(path)
}

/// Opens a file that nobody else writes.
fn open_locked(path: &Path) -> Result<File> {
    let failed =
        |error: io::Error| anyhow!("cannot open the dead letters {}: {error}", path.display());
    loop {
        let file =
            OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                bail!("another run of pipehost uses the dead letters {}", path.display());
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // A replay may have put another file in its place before it let go of this one.
        if is_at(path, &file) {
            if file.metadata().map_err(failed)?.is_file() {
                folder::keep_name(path).map_err(failed)?;
            }
            return Ok(file);
        }
    }
}

/// What was written after a checkpoint. Files that the checkpoint does not know are left as they are: somebody
/// has replayed or moved letters since.
fn since_cut(path: &Path, pipeline: &str, position: &LettersPosition) -> Result<OpenMode> {
    let LettersPosition { mark, highest, time } = position;
    let is_it = |path: &Path| match File::open(path) {
        // Nothing is in every file: one that was empty is known by its inode alone.
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => {
            let is_it = inode(&file).and_then(|inode| {
                Ok((mark.length > 0 || inode == mark.file.inode()) && mark.is_in(&file)?)
            });
            is_it.with_context(|| format!("cannot read {}", path.display()))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(anyhow!("cannot read {}: {error}", path.display())),
    };
    if is_it(path)? {
        only_of(pipeline, *time, path, mark.length)?;
        return Ok(OpenMode::Truncated(mark.length));
    }
    // No more than one file is begun between two checkpoints.
    let rotated = rotation::numbered(path, highest + 1);
    if is_it(&rotated)? {
        only_of(pipeline, *time, path, 0)?;
        only_of(pipeline, *time, &rotated, mark.length)?;
        return Ok(OpenMode::CutRotated(rotated, mark.length));
    }
    Ok(OpenMode::AsItIs)
}

/// Sees that all letters behind an offset are those of one pipeline, and not older than a checkpoint.
fn only_of(pipeline: &str, checkpoint: i64, path: &Path, offset: u64) -> Result<()> {
    // Letters wait for a checkpoint, and clocks are put back a little.
    const SLACK: i64 = 60 * 1_000_000_000;
    for letter in LetterReader::open_at(path, offset)? {
        // What is damaged is removed.
        let Ok(letter) = letter else { break };
        if letter.pipeline != pipeline {
            bail!(
                "will not cut {} back to the last checkpoint of `{pipeline}`: the pipeline `{}` has \
                 written to it since. Move the file away, and give each pipeline its own",
                path.display(),
                letter.pipeline
            );
        }
        if letter.time < checkpoint.saturating_sub(SLACK) {
            bail!(
                "will not cut {} back to the last checkpoint of `{pipeline}`: letters that are older \
                 were put behind it. Move the file away, and replay it there",
                path.display()
            );
        }
    }
    Ok(())
}

//! The dead-letter files: a sequence of frames, in files that rotate.

mod encoded;
mod reader;

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

pub use encoded::Encoded;
use pipehost_codec::frames;
use pipehost_config::WhenLettersFull;
use pipehost_connectors::WrittenFiles;
use pipehost_files::fingerprint::{FileMark, inode, is_at};
use pipehost_files::folder;
use pipehost_files::paths::resolve;
use pipehost_files::rotation;
pub use reader::LetterReader;

/// Appends dead letters to a file. A crash leaves at most the last one incomplete.
pub struct DeadLetters {
    config: pipehost_config::DeadLetters,
    current: Mutex<Current>,
    rotations: Mutex<Rotations>,
}

/// Who waits for the file to be closed and renamed.
#[derive(Default)]
struct Rotations {
    asked: Vec<RotationAnswer>,
    /// Done, but in no checkpoint yet.
    done: Vec<(RotationAnswer, Option<PathBuf>)>,
}

/// Gets the new name of the file; none if there was nothing in it.
pub type RotationAnswer = oneshot::Sender<Result<Option<PathBuf>>>;

struct Current {
    file: File,
    /// Length of `file` in bytes.
    length: u64,
    /// Bytes in the rotated files, when last measured.
    rotated: u64,
    /// The highest number that a rotated file had: numbers are not reused.
    highest: u64,
    /// Bytes for which room was reserved, and which are not written yet.
    expected: u64,
    /// Whether it was written to since the last sync.
    dirty: bool,
    /// The time of the last write, or of opening.
    written: i64,
    /// A pipe or a device: there is nothing to lock, rotate or truncate.
    is_stream: bool,
    /// What to do before the first write; none once it is done.
    begin: Option<OpenMode>,
}

/// What to do with an existing file before the first write.
enum OpenMode {
    /// No known data follows the last checkpoint: only an incomplete frame at the end is removed.
    AsItIs,
    /// Removes what was written after the checkpoint, from this length on.
    Truncated(u64),
    /// The same for a file that was rotated since the checkpoint; it gets its old name back.
    CutRotated(PathBuf, u64),
}

/// Where the dead letters of a checkpoint end.
#[derive(Debug, Serialize, Deserialize)]
struct LettersPosition {
    #[serde(flatten)]
    mark: FileMark,
    /// The highest number that a rotated file had.
    highest: u64,
    /// The time of the last write before it, in nanoseconds since the Unix epoch.
    time: i64,
}

impl DeadLetters {
    /// Opens a file to append to, or creates it. Checks what an earlier run left, but changes
    /// nothing before [`DeadLetters::begin`].
    ///
    /// # Errors
    /// If the file cannot be opened, is in use by another run, or holds something other than dead
    /// letters, or if letters of another pipeline, or older ones, follow `position`.
    pub fn open(
        config: &pipehost_config::DeadLetters,
        pipeline: &str,
        position: Option<&Value>,
    ) -> Result<Self> {
        let mut config = config.clone();
        let is_device = config.path.exists() && !config.path.is_file();
        if config.path.is_symlink() && !is_device {
            config.path = resolve(&config.path); // Keep the link, and rotate its target.
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
                // The rotated file gets its old name back, so its number is free again.
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
        Ok(Self { config, current: Mutex::new(current), rotations: Mutex::default() })
    }

    /// Removes what an earlier run wrote after the last checkpoint, and an incomplete frame at the
    /// end: nothing appended after that could be read.
    ///
    /// # Errors
    /// If the file cannot be read, truncated or renamed.
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

    /// Notes the current file in `written`, so that no source reads it.
    pub fn note(&self, written: &WrittenFiles) {
        let current = self.current();
        if !current.is_stream {
            written.note(&current.file);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("nobody panics while writing")
    }

    /// Reserves room for letters; checked only if the pipeline does not wait for room.
    ///
    /// # Errors
    /// If there is no room, and the pipeline does not wait for it.
    pub fn expect(&self, bytes: usize) -> Result<()> {
        let mut current = self.current();
        let expected = current.expected;
        if !self.waits() && !self.has_room(&mut current, expected, bytes as u64) {
            return Err(anyhow!(self.full()));
        }
        current.expected += bytes as u64;
        Ok(())
    }

    /// Whether the pipeline waits when there is no room.
    pub fn waits(&self) -> bool {
        self.config.when_full == WhenLettersFull::Wait
    }

    /// The message when there is no room.
    pub fn full(&self) -> String {
        let limit = bytesize::ByteSize::b(self.config.max_bytes);
        format!(
            "the dead letters {} are full: dead_letters.max_size allows {limit}; replay them \
             (pipehost dead-letter replay) or move away those that were rotated",
            self.config.path.display()
        )
    }

    /// Appends letters while there is room, with at most one rotation: a checkpoint must be written
    /// before the next, as `since_cut` looks one file back. Unwritten letters stay.
    ///
    /// # Errors
    /// If they cannot be written: the records would be lost.
    pub fn write(&self, letters: &mut Encoded) -> Result<()> {
        let path = &self.config.path;
        let failed =
            |error: io::Error| anyhow!("cannot write the dead letters {}: {error}", path.display());
        let mut current = self.current();
        let mut has_rotated = self.rotate_if_asked(&mut current);
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
                // Only rotated files can be replayed, which makes room.
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

    /// Whether `bytes` fit after the bytes written so far and `more` that are about to be.
    fn has_room(&self, current: &mut Current, more: u64, bytes: u64) -> bool {
        let fits = |current: &Current| {
            let used = current.length + current.rotated + more;
            used == 0 || used + bytes <= self.config.max_bytes
        };
        if !fits(current) {
            // Rotated files may have been removed: measure again.
            current.rotated = rotation::bytes(&self.config.path);
        }
        fits(current)
    }

    /// Has the next write rotate the file; the answer comes with the next checkpoint, which names
    /// the new one.
    pub fn ask_rotation(&self, answer: RotationAnswer) {
        self.rotations().asked.push(answer);
    }

    /// Rotates the file now, in a run without checkpoints.
    pub fn rotate_now(&self, answer: RotationAnswer) {
        self.ask_rotation(answer);
        self.rotate_if_asked(&mut self.current());
        self.answer_rotations();
    }

    /// A checkpoint is complete that names the file as it is now.
    pub fn answer_rotations(&self) {
        for (answer, file) in std::mem::take(&mut self.rotations().done) {
            let _ = answer.send(Ok(file)); // Nobody may wait for it.
        }
    }

    fn rotations(&self) -> MutexGuard<'_, Rotations> {
        self.rotations.lock().expect("nobody panics with it in hand")
    }

    /// Rotates the file if somebody has asked for it and there is something in it. Whether it did. If
    /// it cannot be, who asked is told, and the run goes on.
    fn rotate_if_asked(&self, current: &mut Current) -> bool {
        let asked = std::mem::take(&mut self.rotations().asked);
        if asked.is_empty() {
            return false;
        }
        let is_due = current.length > 0 && !current.is_stream;
        let path = &self.config.path;
        let rotated = match is_due {
            // Its name may lead to another file by now, which is not ours to rename.
            true if !is_at(path, &current.file) => Err(anyhow!(
                "{} was moved or replaced while the pipeline writes it",
                path.display()
            )),
            true => self.rotate(current),
            false => Ok(()),
        };
        if let Err(why) = rotated {
            for answer in asked {
                let _ = answer.send(Err(anyhow!("{why:#}"))); // Nobody may wait for it.
            }
            return false;
        }
        let file = is_due.then(|| rotation::numbered(path, current.highest));
        let done = asked.into_iter().map(|answer| (answer, file.clone()));
        self.rotations().done.extend(done);
        is_due
    }

    /// Renames the file to the next number, and starts a new one.
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

    /// Makes what was written durable, and returns the position of its end; none for a stream.
    ///
    /// # Errors
    /// If the file cannot be synced or read.
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
        // The file was opened for reading too, which the mark needs.
        let mark = FileMark::of(&current.file, current.length).map_err(failed)?;
        // Unchanged if nothing was written: an unchanged checkpoint is not saved again.
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

/// Locks a file against other writers, until the returned file is dropped.
///
/// # Errors
/// If there is no such file, or another run of pipehost writes it.
pub fn lock(path: &Path) -> Result<File> {
    if !path.exists() {
        bail!("there are no dead letters {}", path.display());
    }
    open_locked(path)
}

/// Opens a file, or creates it, and locks it against other writers.
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
        // A replay may have replaced the file before it released the lock: then open the new one.
        if is_at(path, &file) {
            if file.metadata().map_err(failed)?.is_file() {
                folder::keep_name(path).map_err(failed)?;
            }
            return Ok(file);
        }
    }
}

/// Finds what was written after a checkpoint. Files that are not in the checkpoint stay as they
/// are: somebody has replayed or moved letters since.
fn since_cut(path: &Path, pipeline: &str, position: &LettersPosition) -> Result<OpenMode> {
    let LettersPosition { mark, highest, time } = position;
    let is_it = |path: &Path| match File::open(path) {
        // An empty file has no content to compare: it is recognised by its inode alone.
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
    // `write` starts at most one new file between two checkpoints.
    let rotated = rotation::numbered(path, highest + 1);
    if is_it(&rotated)? {
        only_of(pipeline, *time, path, 0)?;
        only_of(pipeline, *time, &rotated, mark.length)?;
        return Ok(OpenMode::CutRotated(rotated, mark.length));
    }
    Ok(OpenMode::AsItIs)
}

/// Checks that letters after an offset are of one pipeline, and not older than a checkpoint.
fn only_of(pipeline: &str, checkpoint: i64, path: &Path, offset: u64) -> Result<()> {
    // Letters wait for a checkpoint before they are written, and clocks may be set back a little.
    const SLACK: i64 = 60 * 1_000_000_000;
    for letter in LetterReader::open_at(path, offset)? {
        // A damaged letter is removed, with everything after it.
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

//! The files of dead letters: frames, one behind the other, in files that rotate.

mod encoded;
mod reader;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{self, WhenLettersFull};
use crate::fingerprint::{Fingerprint, inode};
use crate::folder;
use crate::rotation::{self, files};
pub use encoded::Encoded;
pub use reader::Reader;

/// How often it is looked whether there is room again.
const LOOK: Duration = Duration::from_millis(500);

/// Appends letters. Each batch of them is one write, so a crash tears the last at most.
pub struct DeadLetters {
    config: config::DeadLetters,
    current: Mutex<Current>,
}

struct Current {
    file: File,
    /// Bytes in it.
    length: u64,
    /// Bytes in those that were rotated away, as far as is known.
    rotated: u64,
    /// Bytes that were asked room for and are not written yet.
    expected: u64,
    /// Written since it was synced.
    dirty: bool,
    /// A pipe or a device: there is nothing to lock, rotate or cut.
    is_stream: bool,
}

/// Where the letters of a cut end.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    file: Fingerprint,
    length: u64,
}

impl DeadLetters {
    /// Opens a file to append to, and creates it if there is none. What an earlier run
    /// left torn at its end is cut off, or nothing behind it could be read; as is what it
    /// wrote after the cut that ends at `position`.
    ///
    /// # Errors
    /// If the file cannot be opened, is in use by another run, or holds something else than
    /// dead letters, or if another pipeline has written behind the cut.
    pub fn open(
        config: &config::DeadLetters,
        pipeline: &str,
        position: Option<&Value>,
    ) -> Result<Self, String> {
        let path = &config.path;
        let failed =
            |error: io::Error| format!("cannot open the dead letters {}: {error}", path.display());
        let mut file = open_locked(path)?;
        if let Some(position) = position {
            cut_back(path, pipeline, position)?;
            drop(file); // It may have been renamed.
            file = open_locked(path)?;
        }
        let is_stream = !file.metadata().map_err(failed)?.is_file();
        if !is_stream {
            let mut reader = Reader::open(path)?;
            for letter in reader.by_ref() {
                letter.map_err(|why| format!("will not append to {}: {why}", path.display()))?;
            }
            if reader.torn() > 0 {
                tracing::warn!(
                    "cut {} bytes off the end of {}: an earlier run was stopped while it wrote them",
                    reader.torn(),
                    path.display()
                );
                file.set_len(reader.offset).map_err(failed)?;
            }
        }
        let length = if is_stream { 0 } else { file.metadata().map_err(failed)?.len() };
        let rotated = rotation::bytes(path);
        let current = Current { file, length, rotated, expected: 0, dirty: false, is_stream };
        Ok(Self { config: config.clone(), current: Mutex::new(current) })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("nobody panics while writing")
    }

    /// Asks for room for letters that will be written. If there is none, waits until
    /// somebody has taken letters away, or fails, as the pipeline says.
    ///
    /// # Errors
    /// If there is no room, and the pipeline does not wait.
    pub async fn room(&self, bytes: usize) -> Result<(), String> {
        let mut said = false;
        loop {
            {
                let mut current = self.current();
                // Who waits must wait for what can be taken away: letters that are not written
                // yet wait for a cut, which waits for this.
                let waits = self.config.when_full == WhenLettersFull::Wait;
                let expected = if waits { 0 } else { current.expected };
                let used = current.length + current.rotated + expected;
                if used == 0 || used + bytes as u64 <= self.config.max_bytes {
                    current.expected += bytes as u64;
                    return Ok(());
                }
                // Somebody may have taken some away.
                current.rotated = rotation::bytes(&self.config.path);
                if current.length + current.rotated + expected < used {
                    continue;
                }
                if waits && current.length > 0 && !current.is_stream {
                    self.rotate(&mut current)?; // The one that is written cannot be replayed.
                }
            }
            let (path, limit) =
                (self.config.path.display(), bytesize::ByteSize::b(self.config.max_bytes));
            let full = format!(
                "the dead letters {path} are full: dead_letters.max_size allows {limit}; replay \
                 them (pipehost dead-letter replay) or move away those that were rotated"
            );
            if self.config.when_full == WhenLettersFull::Fail {
                return Err(full);
            }
            if !std::mem::replace(&mut said, true) {
                tracing::warn!("{full}. The pipeline waits");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Appends letters, for which room was asked. Begins a new file if this one has grown
    /// past the size at which it rotates.
    ///
    /// # Errors
    /// If they cannot be written: the records would be lost.
    pub fn write(&self, letters: &Encoded) -> Result<(), String> {
        if letters.bytes == 0 {
            return Ok(());
        }
        let path = &self.config.path;
        let failed =
            |error: io::Error| format!("cannot write the dead letters {}: {error}", path.display());
        let mut current = self.current();
        if !current.is_stream && current.length >= self.config.rotate_bytes {
            self.rotate(&mut current)?;
        }
        current.dirty = true;
        current.expected = current.expected.saturating_sub(letters.bytes as u64);
        letters
            .write_to(|bytes| {
                current.length += bytes.len() as u64;
                current.file.write_all(bytes)
            })
            .map_err(failed)
    }

    /// Gives the file a number, and begins a new one.
    fn rotate(&self, current: &mut Current) -> Result<(), String> {
        let path = &self.config.path;
        let failed = |error: io::Error| {
            format!("cannot rotate the dead letters {}: {error}", path.display())
        };
        current.file.sync_all().map_err(failed)?;
        let next = rotation::numbered(path, rotation::highest(path) + 1);
        fs::rename(path, next).map_err(failed)?;
        current.file = open_locked(path)?;
        current.rotated += std::mem::take(&mut current.length);
        Ok(())
    }

    /// Makes durable what was written, and says where it ends.
    ///
    /// # Errors
    /// If that failed.
    pub fn sync(&self) -> Result<Option<Value>, String> {
        let mut current = self.current();
        if current.is_stream {
            return Ok(None);
        }
        let failed = |error: io::Error| {
            format!("cannot write the dead letters {}: {error}", self.config.path.display())
        };
        if std::mem::take(&mut current.dirty) {
            current.file.sync_all().map_err(failed)?;
        }
        // Opened to append, it can be read all the same.
        let file = Fingerprint::of(&current.file, current.length).map_err(failed)?;
        let position = Position { file, length: current.length };
        Ok(Some(serde_json::to_value(position).expect("its keys are texts")))
    }
}

/// Holds a file so that nobody else writes it, until what this returns goes.
///
/// # Errors
/// If there is no such file, or another run of pipehost writes it.
pub fn lock(path: &Path) -> Result<File, String> {
    if !path.exists() {
        return Err(format!("there are no dead letters {}", path.display()));
    }
    open_locked(path)
}

/// Opens a file that nobody else writes.
fn open_locked(path: &Path) -> Result<File, String> {
    let failed =
        |error: io::Error| format!("cannot open the dead letters {}: {error}", path.display());
    loop {
        let file =
            OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(format!(
                    "another run of pipehost uses the dead letters {}",
                    path.display()
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // A replay may have put another file in its place before it let go of this one.
        let (ours, theirs) = (file.metadata().map_err(failed)?, fs::metadata(path));
        if theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())) {
            if ours.is_file() {
                folder::keep_name(path).map_err(failed)?;
            }
            return Ok(file);
        }
    }
}

/// Takes away what was written after a cut. Files that the cut does not know are left as
/// they are: somebody has replayed or moved letters since.
fn cut_back(path: &Path, pipeline: &str, position: &Value) -> Result<(), String> {
    let failed =
        |error: io::Error| format!("cannot cut the dead letters {} back: {error}", path.display());
    let position: Position = serde_json::from_value(position.clone())
        .map_err(|error| format!("the state does not know where its dead letters end: {error}"))?;
    let is_it = |path: &Path| -> io::Result<bool> {
        let file = File::open(path)?;
        Ok(position.file.inode() == inode(&file)? && position.file.begins(&file)?)
    };
    // Newest first: if the file was rotated since, what is newer came after the cut.
    let mut newer: Vec<PathBuf> = Vec::new();
    for file in files(path).into_iter().rev() {
        if is_it(&file).map_err(failed)? {
            let open = OpenOptions::new().write(true).open(&file).map_err(failed)?;
            if open.metadata().map_err(failed)?.len() < position.length {
                return Ok(());
            }
            only_of(pipeline, &file, position.length)?;
            for later in &newer {
                only_of(pipeline, later, 0)?;
            }
            for later in newer {
                fs::remove_file(later).map_err(failed)?;
            }
            open.set_len(position.length).map_err(failed)?;
            if file != path {
                fs::rename(&file, path).map_err(failed)?;
            }
            return Ok(());
        }
        newer.push(file);
    }
    Ok(())
}

/// Sees that all letters behind an offset are those of one pipeline.
fn only_of(pipeline: &str, path: &Path, offset: u64) -> Result<(), String> {
    for letter in Reader::open_at(path, offset)? {
        // What is damaged is cut off.
        let Ok(letter) = letter else { break };
        if letter.pipeline != pipeline {
            return Err(format!(
                "will not cut {} back to the last checkpoint of `{pipeline}`: the pipeline `{}` has \
                 written to it since. Move the file away, and give each pipeline its own",
                path.display(),
                letter.pipeline
            ));
        }
    }
    Ok(())
}

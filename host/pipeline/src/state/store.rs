//! The directory of a pipeline's state: one file, an embedded database.

use anyhow::{Context as _, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::state::Checkpoint;
use pipehost_files::folder;
use pipehost_record::foreign::Foreign;

/// The checkpoint, as JSON, under [`CHECKPOINT`]; the version of the format under [`FORMAT`].
const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
/// The state of stages, by stage name and number of the worker or key group.
const STAGES: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("stages");

const CHECKPOINT: &str = "checkpoint";
/// Its name in formats 1 and 2.
const OLD_CHECKPOINT: &str = "cut";
const FORMAT: &str = "format";
/// Dead letters that wait for room in their file.
const LETTERS: &str = "letters";
const VERSION: &[u8] = b"3";

/// The states of workers and key groups that have changed, by stage and number; `None` for those
/// that are gone.
pub type Changed = BTreeMap<(String, u32), Option<Bytes>>;

/// An open state directory, locked against other runs.
pub struct Store {
    file: PathBuf,
    database: Database,
}

fn file_in(directory: &Path) -> PathBuf {
    directory.join("state.redb")
}

/// Whether there is a state in this directory.
pub fn exists(directory: &Path) -> bool {
    file_in(directory).exists()
}

/// Removes the state in a directory, whatever its condition, and the directory if nothing
/// else is in it.
///
/// # Errors
/// If another run uses it, or it cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    let (file, at) = (file_in(directory), directory.display());
    let failed = |error| anyhow!("cannot remove the state in {at}: {error}");
    // A run that has it open holds a lock on it.
    let open = fs::OpenOptions::new().read(true).write(true).open(&file).map_err(failed)?;
    match open.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(in_use(directory)),
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    fs::remove_file(&file).map_err(failed)?;
    let _ = fs::remove_dir(directory); // Fails if something else is in it.
    Ok(())
}

fn in_use(directory: &Path) -> anyhow::Error {
    anyhow!("another run of pipehost uses the state in {}", directory.display())
}

impl Store {
    /// Opens a state directory, or creates it, and returns its last checkpoint if there is one.
    ///
    /// # Errors
    /// If it cannot be made or read, is damaged, has another format, or another run has it open.
    pub fn open(directory: &Path) -> Result<(Self, Option<Checkpoint>)> {
        let at = directory.display();
        make_folder(directory).with_context(|| format!("cannot make the state directory {at}"))?;
        let damaged = |why: String| {
            anyhow!(
                "the state in {at} is damaged: {why}; its contents cannot be trusted. Restore a backup \
                 of the directory, or start over: pipehost state reset {at}"
            )
        };
        let file = file_in(directory);
        let failed = |error| anyhow!("cannot create the state in {at}: {error}");
        match fs::metadata(&file) {
            Ok(metadata) if metadata.len() == 0 => return Err(damaged("it is empty".to_owned())),
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&file, Permissions::from_mode(PRIVATE)).map_err(failed)?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make(&file).map_err(|error| failed(std::io::Error::other(error)))?;
            }
            Err(error) => return Err(anyhow!("cannot read the state in {at}: {error}")),
        }
        // redb trusts a file that was closed cleanly, and may panic if it was changed since;
        // `check_integrity` finds the damage in any case.
        let opened = quietly(|| -> Result<_, redb::Error> {
            let mut database = Database::create(&file)?;
            if !database.check_integrity()? {
                tracing::warn!("the state in {at} was not closed cleanly; it is intact");
            }
            fs::File::open(directory)?.sync_all()?; // Makes the file's name durable.
            let checkpoint = load(&database)?;
            Ok((database, checkpoint))
        });
        match opened {
            Ok(Ok((database, checkpoint))) => {
                let Some(stored) = checkpoint else { return Ok((Self { file, database }, None)) };
                if stored.format.as_deref() != Some(VERSION) {
                    return Err(another_version(directory, stored.format.as_deref()));
                }
                let checkpoint = decode(stored).map_err(|why| damaged(format!("{why:#}")))?;
                Ok((Self { file, database }, Some(checkpoint)))
            }
            Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Err(in_use(directory)),
            Ok(Err(redb::Error::Io(error))) if error.kind() != std::io::ErrorKind::InvalidData => {
                Err(anyhow!("cannot read the state in {at}: {error}"))
            }
            Ok(Err(error)) => Err(damaged(error.to_string())),
            Err(()) => Err(damaged("its database is inconsistent".to_owned())),
        }
    }

    /// Removes one source, stage or sink from the last checkpoint.
    ///
    /// # Errors
    /// If there is no node of this name, or the state cannot be written.
    pub fn forget(&mut self, checkpoint: &mut Checkpoint, node: &str) -> Result<()> {
        let found = checkpoint.sources.remove(node).is_some()
            | checkpoint.stages.remove(node).is_some()
            | checkpoint.sinks.remove(node).is_some();
        if !found {
            let names: Vec<_> = checkpoint.names().map(|name| format!("`{name}`")).collect();
            bail!("the state has no node `{node}`; it has {}", names.join(", "));
        }
        self.commit(checkpoint, &BTreeMap::new())
    }

    /// Writes a checkpoint atomically. `changed` holds the states of stages that changed since the
    /// last one.
    ///
    /// # Errors
    /// If it could not be written; the last checkpoint then stays valid.
    pub fn commit(&mut self, checkpoint: &Checkpoint, changed: &Changed) -> Result<()> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut head = transaction.open_table(HEAD)?;
                head.insert(FORMAT, VERSION)?;
                head.insert(CHECKPOINT, encode(checkpoint).as_slice())?;
                if checkpoint.letters.is_empty() {
                    head.remove(LETTERS)?;
                } else {
                    head.insert(LETTERS, checkpoint.letters.as_slice())?;
                }
                let mut stages = transaction.open_table(STAGES)?;
                for ((stage, worker), saved) in changed {
                    match saved {
                        Some(saved) => stages.insert((&**stage, *worker), &**saved)?,
                        None => stages.remove((&**stage, *worker))?,
                    };
                }
                stages.retain(|(stage, worker), _| {
                    checkpoint
                        .stages
                        .get(stage)
                        .is_some_and(|s| s.saved_bytes.contains_key(&worker))
                })?;
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| match error {
            redb::Error::Io(error) => anyhow!("cannot write {}: {error}", self.file.display()),
            error => anyhow!("cannot write {}: {error}", self.file.display()),
        })
    }
}

/// Only the owner may read what stages have saved.
const PRIVATE: u32 = 0o600;

/// Makes a directory, and makes its name durable.
fn make_folder(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = folder::of(directory);
    make_folder(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    folder::keep_name(directory)
}

/// Makes an empty database atomically, so that a file of length zero always means damage.
fn make(file: &Path) -> Result<(), redb::Error> {
    let new = tempfile::Builder::new().prefix(".new-").tempfile_in(folder::of(file))?;
    drop(Database::create(new.path())?);
    fs::set_permissions(new.path(), Permissions::from_mode(PRIVATE))?;
    new.as_file().sync_all()?;
    match new.persist_noclobber(file) {
        // If it exists, another run was faster.
        Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error.error.into())
        }
        _ => Ok(()),
    }
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    serde_json::to_vec(checkpoint).expect("its keys are texts")
}

/// The parts of a checkpoint as they are stored.
struct Stored {
    format: Option<Vec<u8>>,
    checkpoint: Vec<u8>,
    letters: Vec<u8>,
    stages: Vec<(String, u32, Vec<u8>)>,
}

fn load(database: &Database) -> Result<Option<Stored>, redb::Error> {
    let transaction = database.begin_read()?;
    let head = match transaction.open_table(HEAD) {
        Ok(head) => head,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let get = |key| -> Result<_, redb::Error> { Ok(head.get(key)?.map(|v| v.value().to_vec())) };
    let checkpoint = match get(CHECKPOINT)? {
        Some(checkpoint) => checkpoint,
        None => match get(OLD_CHECKPOINT)? {
            Some(checkpoint) => checkpoint,
            None => return Ok(None),
        },
    };
    let mut stages = Vec::new();
    for entry in transaction.open_table(STAGES)?.iter()? {
        let (key, saved) = entry?;
        let (stage, worker) = key.value();
        stages.push((stage.to_owned(), worker, saved.value().to_vec()));
    }
    let letters = get(LETTERS)?.unwrap_or_default();
    Ok(Some(Stored { format: get(FORMAT)?, checkpoint, letters, stages }))
}

fn decode(stored: Stored) -> Result<Checkpoint> {
    let mut checkpoint: Checkpoint = serde_json::from_slice(&stored.checkpoint)?;
    checkpoint.letters = stored.letters;
    for (stage, worker, saved) in stored.stages {
        let known = checkpoint.stages.get_mut(&stage);
        let known = known
            .with_context(|| format!("it holds a state of `{stage}` that no checkpoint knows"))?;
        known.saved.insert(worker, saved.into());
    }
    for (name, stage) in &checkpoint.stages {
        let bytes = stage.saved.iter().map(|(number, saved)| (*number, saved.len()));
        if !bytes.eq(stage.saved_bytes.iter().map(|(number, bytes)| (*number, *bytes))) {
            bail!("what the stage `{name}` saved is not all there");
        }
    }
    Ok(checkpoint)
}

/// The error for a state of another format. Format 1 did not store its number.
fn another_version(directory: &Path, format: Option<&[u8]>) -> anyhow::Error {
    let (at, ours) = (directory.display(), String::from_utf8_lossy(VERSION));
    let theirs = format.map_or("1".into(), String::from_utf8_lossy);
    let theirs = Foreign::new(&theirs);
    anyhow!(
        "the state in {at} has format {theirs}, and this pipehost reads format {ours}. Run the \
         pipeline to its end with the pipehost that wrote it, or start over: pipehost state reset \
         {at}"
    )
}

/// Runs `work`, which may panic on a damaged file, without printing the panic message.
fn quietly<R>(work: impl FnOnce() -> R) -> Result<R, ()> {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work)).map_err(drop);
    std::panic::set_hook(loud);
    result
}

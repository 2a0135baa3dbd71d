//! A file of dead letters that nobody else writes, while it is changed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Selection, live};
use crate::error::Error;
use pipehost_codec::frames::write_letter;
use pipehost_files::folder;
use pipehost_observe::log::stderr;
use pipehost_pipeline::dead_letter::{self, LetterReader};
use pipehost_record::Letter;

/// A file of dead letters that is locked.
pub(super) struct Claim {
    pub(super) file: PathBuf,
    _lock: File,
}

/// Letters, divided into those that are selected and the others, each with its number in the file.
pub(super) struct Divided {
    pub(super) selected: Vec<(u64, Letter)>,
    pub(super) others: Vec<(u64, Letter)>,
}

impl Claim {
    /// Locks a file. If a pipeline that runs writes it, has that close it first: it has another name
    /// then. `None` if there are no letters in it that are selected.
    ///
    /// # Errors
    /// If there is no such file, or somebody uses it who cannot be asked.
    pub(super) fn of(
        file: &Path,
        selection: &Selection,
        live: &super::Live,
    ) -> Result<Option<Self>, Error> {
        if let Some(run) = live::writing(file, live)? {
            if !selection.number.is_empty() {
                return Err(Error::Usage(anyhow!(
                    "a pipeline writes {0} now, so that a number may soon mean another letter: choose \
                     with --stage or --reason, or in a file that it has closed ({0}.1 and so on)",
                    file.display()
                )));
            }
            // Nothing is closed for letters that are not there.
            let mut reader = LetterReader::open(file).map_err(Error::Usage)?;
            if !reader.any(|letter| letter.is_ok_and(|letter| selection.has(1, &letter))) {
                return Ok(None);
            }
            let Some(rotated) = run.rotate(file)? else { return Ok(None) };
            stderr::say(&format!(
                "the pipeline runs: it goes on with a new {}, and its letters are in {}",
                file.display(),
                rotated.display()
            ));
            return Self::locked(rotated).map(Some);
        }
        Self::locked(file.to_owned()).map(Some)
    }

    /// Locks a file that no pipeline writes.
    ///
    /// # Errors
    /// If there is no such file, or somebody uses it.
    pub(super) fn locked(file: PathBuf) -> Result<Self, Error> {
        let lock = dead_letter::lock(&file).map_err(Error::Failed)?;
        Ok(Self { file, _lock: lock })
    }

    /// Reads the letters.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn letters(&self, selection: &Selection) -> Result<Divided, Error> {
        let (mut selected, mut others) = (Vec::new(), Vec::new());
        for (number, letter) in (1..).zip(LetterReader::open(&self.file).map_err(Error::Usage)?) {
            let at = |why| Error::Failed(anyhow!("{}: {why:#}", self.file.display()));
            let letter = letter.map_err(at)?;
            let is_selected = selection.has(number, &letter);
            if is_selected { &mut selected } else { &mut others }.push((number, letter));
        }
        Ok(Divided { selected, others })
    }

    /// Replaces the letters in the file.
    ///
    /// # Errors
    /// If the file cannot be written: then it is as it was.
    pub(super) fn rewrite<'l>(
        &self,
        letters: impl IntoIterator<Item = &'l Letter>,
    ) -> Result<(), Error> {
        let written = self.write(letters);
        written.map_err(|error| {
            let file = self.file.display();
            Error::Failed(anyhow!("cannot write {file}: {error}; it is as it was"))
        })
    }

    fn write<'l>(&self, letters: impl IntoIterator<Item = &'l Letter>) -> io::Result<()> {
        let file = &self.file.canonicalize()?; // The file, not a link to it.
        let permissions = fs::metadata(file)?.permissions();
        let mut new = folder::temporary(file, permissions)?;
        let mut bytes = Vec::new();
        for letter in letters {
            bytes.clear();
            write_letter(letter, &mut bytes);
            new.write_all(&bytes)?;
        }
        new.as_file().sync_all()?;
        new.persist(file)?;
        folder::keep_name(file)
    }
}

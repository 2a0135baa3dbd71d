//! The files that paths and patterns name.
//!
//! A path that the operator names is read, whatever it is: a file, a pipe, a link. What a pattern
//! matches was named by whoever writes to the folder: only regular files are read then, and no link
//! that leads out of the folder of the pattern, unless the operator allows it. This is checked on
//! the opened file: its name may lead to another file by then.

use anyhow::{Context as _, Result, anyhow};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use pipehost_config::FileSource;
use pipehost_files::{folder, paths};
use pipehost_record::foreign::Foreign;

/// A file, and how it was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundFile {
    pub path: PathBuf,
    /// The pattern that matched it, if any.
    pattern: Option<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// The folder before its first wildcard.
    folder: Arc<Path>,
    /// Whether links may lead out of the folder.
    links: bool,
}

impl FoundFile {
    /// Opens the path, which may lead to something else by now.
    ///
    /// # Errors
    /// If it cannot be read; for a pattern, also if it is not a regular file or out of the folder.
    pub(crate) fn open(&self) -> io::Result<File> {
        let Some(Pattern { folder, links }) = &self.pattern else { return File::open(&self.path) };
        // A pipe may have replaced the file: opening it must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = if *links {
            let nonblocking = OFlags::NONBLOCK.bits() as i32;
            fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(&self.path)?
        } else {
            let path_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let within = openat(CWD, &**folder, path_flags, Mode::empty())?;
            let path = self.path.strip_prefix(folder).unwrap_or(&self.path);
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            openat2(within, path, flags, Mode::empty(), beneath)?.into()
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(
                "it is not a regular file, and a pattern matches only those",
            ));
        }
        Ok(file)
    }

    pub(crate) fn is_of_pattern(&self) -> bool {
        self.pattern.is_some()
    }
}

/// The configured paths and patterns, in their order.
pub(crate) struct Paths {
    paths: Vec<PathBuf>,
    /// What these find is left out.
    exclude: Vec<glob::Pattern>,
    /// Whether links may lead out of the folder of a pattern.
    links: bool,
    /// Skipped files that were warned about.
    told: HashSet<PathBuf>,
}

impl Paths {
    /// # Errors
    /// If what is to be excluded is no pattern.
    pub(crate) fn new(config: &FileSource) -> Result<Self> {
        let exclude = config.exclude.iter().map(|path| {
            let text = path.value.to_string_lossy();
            glob::Pattern::new(&text)
                .with_context(|| format!("`exclude`: {text:?} is not a pattern"))
        });
        Ok(Self {
            paths: config.paths.iter().map(|path| path.value.clone()).collect(),
            exclude: exclude.collect::<Result<_>>()?,
            links: config.links,
            told: HashSet::new(),
        })
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let options =
            glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        self.exclude.iter().any(|pattern| pattern.matches_path_with(path, options))
    }

    /// All files, in the order of the paths; those of a pattern in the order of their names.
    ///
    /// # Errors
    /// If a pattern is malformed, cannot be searched for, or matches no file.
    pub(crate) fn files(&mut self) -> Result<Vec<FoundFile>> {
        let mut files = Vec::new();
        for path in self.paths.clone() {
            files.extend(self.expand(&path)?);
        }
        Ok(files)
    }

    /// The same, without the patterns that fail or match nothing yet.
    pub(crate) fn files_so_far(&mut self) -> Vec<FoundFile> {
        let paths = self.paths.clone();
        paths.iter().flat_map(|path| self.expand(path).unwrap_or_default()).collect()
    }

    /// The files that a pattern matches; a plain path stands for itself. A file whose name is the
    /// pattern itself is matched too.
    fn expand(&mut self, path: &Path) -> Result<Vec<FoundFile>> {
        let (folder, is_pattern) = paths::fixed(path);
        let Some(pattern) = path.to_str().filter(|_| is_pattern) else {
            return Ok(vec![FoundFile { path: path.to_owned(), pattern: None }]);
        };
        let found: Result<Vec<_>, _> =
            glob::glob(pattern).with_context(|| format!("{pattern:?} is not a pattern"))?.collect();
        let mut found = found.with_context(|| format!("cannot look for {pattern}"))?;
        if path.symlink_metadata().is_ok() && !found.iter().any(|found| found == path) {
            found.push(path.to_owned());
        }
        found.retain(|path| !self.is_excluded(path));
        let folder: Arc<Path> = folder.into();
        let mut files: Vec<FoundFile> = (found.into_iter())
            .map(|path| FoundFile {
                path,
                pattern: Some(Pattern { folder: folder.clone(), links: self.links }),
            })
            .collect();
        files.retain(|found| self.is_meant(found));
        if files.is_empty() { Err(anyhow!("no file matches {pattern}")) } else { Ok(files) }
    }

    /// Whether a matched file is to be read. What this cannot tell shows as an error when it is
    /// opened.
    fn is_meant(&mut self, found: &FoundFile) -> bool {
        // A temporary file of this program, which is incomplete.
        let name = found.path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(folder::TEMPORARY.as_bytes()) {
            return false;
        }
        let Ok(metadata) = fs::symlink_metadata(&found.path) else { return true };
        let kind = metadata.file_type();
        let why = if kind.is_file() {
            return true;
        } else if kind.is_dir() {
            return false;
        } else if !kind.is_symlink() {
            "it is not a regular file".to_owned()
        } else {
            match found.open() {
                Ok(_) => return true,
                Err(_) if found.path.is_dir() => return false,
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) =>
                {
                    "it is a link that leads out of the folder of its pattern (follow_links)"
                        .to_owned()
                }
                Err(error) => format!("it is a link: {error}"),
            }
        };
        if self.told.insert(found.path.clone()) {
            let path = found.path.display().to_string();
            tracing::warn!("{} is not read: {why}", Foreign::new(&path));
        }
        false
    }
}

//! The files that paths and patterns name.
//!
//! What an operator names is read, whatever it is: a file, a pipe, a link. What a pattern
//! finds was named by whoever writes the folder: only regular files are read then, and no
//! link that leads out of the folder of the pattern, unless the operator says so.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::foreign::Foreign;
use crate::reach;

/// Paths and patterns, in this order.
pub(super) struct Paths {
    paths: Vec<PathBuf>,
    /// Whether links may lead out of the folder of a pattern.
    links: bool,
    /// What was left out, and said so.
    told: HashSet<PathBuf>,
}

impl Paths {
    pub(super) fn new(paths: impl Iterator<Item = PathBuf>, links: bool) -> Self {
        Self { paths: paths.collect(), links, told: HashSet::new() }
    }

    /// All files, in the order of the paths; those of a pattern in the order of their names.
    ///
    /// # Errors
    /// If something is no pattern, or no file matches it.
    pub(super) fn files(&mut self) -> Result<Vec<PathBuf>, String> {
        let mut files = Vec::new();
        for path in self.paths.clone() {
            files.extend(self.expand(&path)?);
        }
        Ok(files)
    }

    /// The same, of those that can be found now.
    pub(super) fn files_so_far(&mut self) -> Vec<PathBuf> {
        let paths = self.paths.clone();
        paths.iter().flat_map(|path| self.expand(path).unwrap_or_default()).collect()
    }

    /// The files of a pattern; a path that is none stands for itself.
    fn expand(&mut self, path: &Path) -> Result<Vec<PathBuf>, String> {
        let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
        let Some(pattern) = pattern.filter(|_| !path.exists()) else {
            return Ok(vec![path.to_owned()]);
        };
        let (folder, _) = reach::fixed(path);
        let folder = folder.canonicalize().unwrap_or(folder);
        let found: Result<Vec<_>, _> = glob::glob(pattern)
            .map_err(|error| format!("{pattern:?} is not a pattern: {error}"))?
            .collect();
        let mut found = found.map_err(|error| format!("cannot look for {pattern}: {error}"))?;
        found.retain(|path| self.is_meant(&folder, path));
        if found.is_empty() { Err(format!("no file matches {pattern}")) } else { Ok(found) }
    }

    /// Whether a pattern means what it has found.
    fn is_meant(&mut self, folder: &Path, path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return true }; // To read it will say why.
        if metadata.is_dir() {
            return false;
        }
        let why = if !metadata.is_file() {
            "is no regular file"
        } else if !self.links && leads_out(folder, path) {
            "is a link that leads out of the folder of its pattern (follow_links)"
        } else {
            return true;
        };
        if self.told.insert(path.to_owned()) {
            let path = path.display().to_string();
            tracing::warn!("{} is not read: it {why}", Foreign::new(&path));
        }
        false
    }
}

fn leads_out(folder: &Path, path: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| !real.starts_with(folder))
}

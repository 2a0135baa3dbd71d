//! How the files of a folder are at one time, to see whether they change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::project;
use pipehost_files::content_hash;

/// Files by path, with the state of each that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot(Vec<(PathBuf, Option<State>)>);

/// Size and modification time (seconds, nanoseconds) of a file: both together show a change.
type State = (u64, i64, i64);

pub(super) fn state(path: &Path) -> Option<State> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

impl FromIterator<PathBuf> for Snapshot {
    fn from_iter<I: IntoIterator<Item = PathBuf>>(paths: I) -> Self {
        let mut all: Vec<_> = paths.into_iter().map(|path| (state(&path), path)).collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        Self(all.into_iter().map(|(state, path)| (path, state)).collect())
    }
}

impl Snapshot {
    /// The sources in a folder, and other files.
    pub fn of(folder: &Path, files: impl IntoIterator<Item = PathBuf>) -> Self {
        let project = project::of(folder).ok().flatten();
        let output = project.map(|project| folder.join(project.output));
        let mut all: Vec<PathBuf> = files.into_iter().collect();
        sources(folder, output.as_deref(), &mut all);
        all.into_iter().collect()
    }

    /// A hash of all names and contents. A file that a build writes again as it was does not change
    /// it.
    pub fn contents(&self) -> String {
        let mut all = Vec::new();
        for (path, _) in &self.0 {
            all.extend(path.as_os_str().as_encoded_bytes());
            all.push(0);
            all.extend(fs::read(path).map_or("-".to_owned(), |bytes| content_hash(&bytes)).bytes());
        }
        content_hash(&all)
    }

    /// The same with one more file, as it is now.
    pub(super) fn with(mut self, path: &Path) -> Self {
        self.0.push((path.to_owned(), state(path)));
        self
    }

    pub(super) fn is_as_it_was(&self) -> bool {
        self.0.iter().all(|(path, then)| state(path) == *then)
    }
}

/// The files of a folder that are neither hidden nor made by a build. A link to a folder is not
/// followed: it may lead back. A pipe or a device is no source: reading one may never end.
fn sources(folder: &Path, output: Option<&Path>, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with('.') || output == Some(&*path) || NOT_SOURCES.contains(&&*name) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sources(&path, output, to);
        } else if path.is_file() {
            to.push(path);
        }
    }
}

/// Folders that builds and package managers fill.
const NOT_SOURCES: [&str; 5] = ["target", "build", "dist", "node_modules", "__pycache__"];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_file_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "1").unwrap();
        symlink(path("a"), path("b")).unwrap();
        let before = Snapshot::of(folder.path(), []);
        assert_eq!(before.0.len(), 2);
        symlink(folder.path(), path("loop")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        symlink("/dev/zero", path("endless")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let after = Snapshot::of(folder.path(), []);
        assert_eq!(after, before);
        assert_eq!(after.contents(), before.contents());
    }
}

//! Whether a source folder is unchanged since its last build. Then cargo is not started, which
//! needs some tenths of a second to find that out.
//!
//! Each build leaves a note beside the compiled components: the path of the component, and size and
//! modification time of all files that it was built from. Cargo lists the sources in a file beside
//! the component (dep-info); manifests and settings are looked for in all folders above.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compile::Cache;
use pipehost_files::content_hash;

/// The files that a component was built from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Build {
    component: PathBuf,
    /// Includes the component itself.
    inputs: Vec<(PathBuf, Option<State>)>,
}

/// Size and modification time (seconds, nanoseconds) of a file: both together show a change.
type State = (u64, i64, i64);

fn state(path: &Path) -> Option<State> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Name of a folder's note. It includes the environment variables that change cargo's build.
fn name(folder: &Path) -> String {
    let mut of = folder.as_os_str().as_encoded_bytes().to_vec();
    for variable in ["CARGO", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTUP_TOOLCHAIN"] {
        of.push(0);
        of.extend(std::env::var_os(variable).unwrap_or_default().as_encoded_bytes());
    }
    format!("build-{}", content_hash(&of))
}

/// The component of a folder, if no file that it was built from has changed.
pub(super) fn component(folder: &Path) -> Option<PathBuf> {
    let note = Cache::of_user()?.read_note(&name(folder))?;
    let build: Build = postcard::from_bytes(&note).ok()?;
    let same = build.inputs.iter().all(|(path, then)| state(path) == *then);
    (same && build.component.is_file()).then_some(build.component)
}

/// Writes a note of the files that a component was built from, if cargo lists them.
pub(super) fn note(folder: &Path, component: &Path) {
    let Some(cache) = Cache::of_user() else { return };
    let Ok(list) = fs::read_to_string(component.with_extension("d")) else { return };
    let mut inputs: BTreeSet<PathBuf> = sources(&list).collect();
    let folders: BTreeSet<PathBuf> = (inputs.iter().map(PathBuf::as_path).chain([folder]))
        .flat_map(|path| path.ancestors().map(Path::to_owned))
        .collect();
    // Also files that do not exist: creating one changes the build.
    for folder in folders {
        for file in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml"] {
            inputs.insert(folder.join(file));
        }
    }
    inputs.insert(component.to_owned());
    let inputs = inputs.into_iter().map(|path| (state(&path), path));
    let build = Build {
        component: component.to_owned(),
        inputs: inputs.map(|(state, path)| (path, state)).collect(),
    };
    if let Ok(note) = postcard::to_stdvec(&build) {
        cache.write_note(&name(folder), &note);
    }
}

/// Parses cargo's dep-info: `COMPONENT: FILE FILE`, with `\ ` for a space in a name.
fn sources(list: &str) -> impl Iterator<Item = PathBuf> {
    let files = list.split_once(": ").map_or("", |(_, files)| files).trim_end();
    let mut names = Vec::new();
    let mut name = String::new();
    let mut chars = files.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next_if_eq(&' ').is_some() => name.push(' '),
            ' ' => names.push(std::mem::take(&mut name)),
            c => name.push(c),
        }
    }
    names.push(name);
    names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_in_names_are_escaped() {
        let found: Vec<_> = sources("/t/a.wasm: /x/my\\ crate/lib.rs /x/b.rs\n").collect();
        assert_eq!(found, [PathBuf::from("/x/my crate/lib.rs"), PathBuf::from("/x/b.rs")]);
        assert_eq!(sources("").count(), 0);
    }
}

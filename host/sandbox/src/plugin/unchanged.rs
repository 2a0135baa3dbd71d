//! Whether a source folder is unchanged since its last build. Then it is not built again: even where
//! nothing changed, cargo needs some tenths of a second, and other tools need seconds.
//!
//! Each build that succeeds leaves a note beside the compiled components: the path of the component,
//! and size and modification time of all files that it was built from. Cargo lists the sources in a
//! file beside the component (dep-info); manifests and settings are looked for in all folders above.
//! For a folder with a `pipehost.toml`, they are the files of that folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::snapshot::{Snapshot, state};
use crate::compile::Cache;
use pipehost_files::content_hash;

/// The files that a component was built from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Build {
    component: PathBuf,
    /// Includes the component itself.
    inputs: Snapshot,
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

fn last(folder: &Path) -> Option<Build> {
    let note = Cache::of_user()?.read_note(&name(folder))?;
    postcard::from_bytes(&note).ok()
}

fn keep(folder: &Path, build: &Build) {
    if let (Some(cache), Ok(note)) = (Cache::of_user(), postcard::to_stdvec(build)) {
        cache.write_note(&name(folder), &note);
    }
}

/// The component of a crate, if no file that it was built from has changed.
pub(super) fn of_crate(folder: &Path) -> Option<PathBuf> {
    let build = last(folder)?;
    (build.inputs.is_as_it_was() && build.component.is_file()).then_some(build.component)
}

/// Writes a note of the files that the component of a crate was built from, if cargo lists them.
pub(super) fn note_crate(folder: &Path, component: &Path) {
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
    keep(folder, &Build { component: component.to_owned(), inputs: inputs.into_iter().collect() });
}

/// The output of a folder with a `pipehost.toml`, if its files and the output are as after its last
/// build, and there is none more.
pub(super) fn of_project(folder: &Path, output: &Path) -> Option<PathBuf> {
    let build = last(&folder.canonicalize().ok()?)?;
    let now = Snapshot::of(folder, []).with(output);
    (build.component == output && build.inputs == now && state(output).is_some())
        .then_some(build.component)
}

/// Writes a note of a build that succeeded. `sources` are as they were before it: what changed in
/// the meantime may not be in the output.
pub(super) fn note_project(folder: &Path, output: &Path, sources: Snapshot) {
    let Ok(folder) = folder.canonicalize() else { return };
    keep(&folder, &Build { component: output.to_owned(), inputs: sources.with(output) });
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

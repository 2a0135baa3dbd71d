//! From the plugin that an operator names to the bytes of a component: a file, the result of
//! building a source folder, or a bundled stage.

mod cargo;
mod project;
mod snapshot;
mod unchanged;

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::compile::Source;
use pipehost_config::Plugin;
pub use snapshot::Snapshot;

/// A stage that is bundled with the program.
#[derive(Debug, Clone, Copy)]
pub struct BundledStage {
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    pub component: &'static [u8],
}

/// Reads a component; builds it first if a source folder is named. An existing path takes
/// precedence over a bundled stage of the same name. `say` receives messages about what takes time.
/// Reads at most `limit` bytes: the file may be untrusted, or endless.
///
/// # Errors
/// If it cannot be found, built or read; the message is for the operator.
pub fn read(
    plugin: &Plugin,
    bundled: &[BundledStage],
    limit: u64,
    say: &mut dyn FnMut(&str),
) -> Result<Source> {
    let path = &*plugin.path;
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match &plugin.name {
                Some(name) => bundled_stage(name, path, bundled),
                None => Err(anyhow!("{} does not exist", path.display())),
            };
        }
        Err(error) => return Err(anyhow!("cannot read {}: {error}", path.display())),
    };
    let built;
    let file = if metadata.is_dir() {
        built = match project::of(path)? {
            Some(project) => match unchanged::of_project(path, &path.join(&project.output)) {
                Some(output) => output,
                None => project::build(path, &project, say)?,
            },
            None => cargo::component(path, say)?,
        };
        &built
    } else {
        path
    };
    source(file, limit)
}

/// Builds a source folder, and gives the path of its component: by the command in its
/// `pipehost.toml`, also if its files seem unchanged, or with cargo if it has none and is a crate.
///
/// # Errors
/// If the folder cannot be built; the message is for its author.
pub fn build(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    match project::of(folder)? {
        Some(project) => project::build(folder, &project, say),
        None => cargo::component(folder, say),
    }
}

/// Reads a component, of at most `limit` bytes.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn source(file: &Path, limit: u64) -> Result<Source> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is too large: limits.component allows {}", file.display(), ByteSize::b(limit));
    }
    let is_text = file.extension().is_some_and(|extension| extension == "wat");
    Ok(Source { path: file.to_owned(), bytes, is_text })
}

/// Names that stages had before. Pipelines with them go on working.
const RENAMED: [(&str, &str); 1] = [("window-count", "aggregate")];

fn bundled_stage(name: &str, path: &Path, bundled: &[BundledStage]) -> Result<Source> {
    let renamed = RENAMED.iter().find(|(before, _)| *before == name);
    let name = renamed.map_or(name, |(_, name)| name);
    let found = bundled.iter().find(|stage| stage.name == name);
    let stage = found.with_context(|| {
        format!(
            "`{name}` is not a stage that comes with pipehost, and there is no file or folder {}",
            path.display()
        )
    })?;
    Ok(Source { path: name.into(), bytes: stage.component.to_vec(), is_text: false })
}

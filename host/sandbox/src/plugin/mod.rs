//! From the plugin that an operator names to the bytes of a component: a file, the result of
//! building a source folder, or a bundled stage.

mod build;
mod unchanged;

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytesize::ByteSize;

use crate::compile::Source;
use pipehost_config::Plugin;

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
        built = build::component(path, say)?;
        &built
    } else {
        path
    };
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

fn bundled_stage(name: &str, path: &Path, bundled: &[BundledStage]) -> Result<Source> {
    let found = bundled.iter().find(|stage| stage.name == name);
    let stage = found.with_context(|| {
        format!(
            "`{name}` is not a stage that comes with pipehost, and there is no file or folder {}",
            path.display()
        )
    })?;
    Ok(Source { path: name.into(), bytes: stage.component.to_vec(), is_text: false })
}

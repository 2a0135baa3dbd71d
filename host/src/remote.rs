//! Components in registries: found by their digest, in the store of this user or in the registry.

use anyhow::{Context as _, Result, anyhow};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::runtime::one_thread;
use pipehost_config::mistake::Mistake;
use pipehost_config::{Config, Plugin};
use pipehost_files::content_hash;
use pipehost_observe::log::stderr;
use pipehost_registry::{Digest, Limits, Lock, Reference, pull};
use pipehost_sandbox::compile::Cache;

/// The name of the lock of a pipeline: beside it, with another ending.
pub fn lock_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock")
}

/// The limits of a component of this size at most.
pub fn limits(component: u64) -> Limits {
    Limits { component, ..Limits::default() }
}

/// Gets the components that the stages of a pipeline name by reference, and has the stages name their
/// files instead. What cannot be had is a mistake of its stage.
pub async fn fetch(config: &mut Config, pipeline: Option<&Path>, mistakes: &mut Vec<Mistake>) {
    let is_remote =
        |config: &Config| config.stages.iter().any(|stage| stage.plugin.value.reference.is_some());
    if !is_remote(config) {
        return;
    }
    let lock = match pipeline.map(lock_of) {
        Some(path) => Lock::read(&path).map(|lock| (lock, Some(path))),
        None => Ok((Lock::default(), None)),
    };
    let (lock, path) = match lock {
        Ok(found) => found,
        Err(error) => return mistakes.push(Mistake::new(None, error.to_string())),
    };
    for stage in &mut config.stages {
        let Some(text) = stage.plugin.value.reference.clone() else { continue };
        let span = stage.plugin.span.clone();
        let found = match text.parse::<Reference>() {
            Ok(reference) => match lock.pin(&reference) {
                Some(pinned) => stored(&pinned, stage.limits.component_bytes).await,
                None => {
                    let message = format!(
                        "`{text}` has no digest, so it may mean another component tomorrow"
                    );
                    let help = match &path {
                        Some(path) => format!(
                            "`pipehost lock` looks which one it is, and keeps that in {}; or name the \
                             digest: {text}@sha256:…",
                            path.display()
                        ),
                        None => format!("name the digest: {text}@sha256:…"),
                    };
                    mistakes.push(Mistake::new(span, message).help(help));
                    continue;
                }
            },
            Err(error) => Err(anyhow!("{error}")),
        };
        match found {
            Ok(file) => stage.plugin.value = Plugin { path: file, name: None, reference: None },
            Err(why) => mistakes.push(Mistake::new(span, format!("{why:#}"))),
        }
    }
}

/// The file of a component that a reference with a digest names; gets it from its registry if the
/// store does not have it.
///
/// # Errors
/// If it cannot be had; the message is for the operator.
pub async fn stored(reference: &Reference, most: u64) -> Result<PathBuf> {
    let digest = reference
        .digest()
        .with_context(|| format!("`{reference}` has no digest; name it: {reference}@sha256:…"))?;
    let store = store()?;
    if let Some(file) = find(&store, digest) {
        return Ok(file);
    }
    stderr::say(&format!("getting {reference}"));
    let pulled = pull(reference, limits(most)).await?;
    keep(&store, digest, &pulled.component)
}

/// The folder in which components are kept.
fn store() -> Result<PathBuf> {
    let cache = Cache::of_user().context(
        "a component of a registry is kept in the cache of the user, and there is none: set \
         XDG_CACHE_HOME to a folder that only you may write",
    )?;
    let store = cache.directory().join("components");
    fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
    Ok(store)
}

/// A component is kept under the digest of its manifest and its own, which is checked each time.
fn find(store: &Path, digest: Digest) -> Option<PathBuf> {
    let start = format!("{}-", name(digest));
    let entries = fs::read_dir(store).ok()?.flatten();
    let mut files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    let file = files.next()?.path();
    let bytes = fs::read(&file).ok()?;
    let is_whole = file.file_stem()?.to_str()?.ends_with(&content_hash(&bytes));
    is_whole.then_some(file)
}

/// Keeps a component that came from a registry.
pub fn keep(store: &Path, digest: Digest, component: &[u8]) -> Result<PathBuf> {
    use std::io::Write as _;
    let file = store.join(format!("{}-{}.wasm", name(digest), content_hash(component)));
    let kept = tempfile::NamedTempFile::new_in(store).and_then(|mut new| {
        new.write_all(component)?;
        new.persist(&file).map(drop).map_err(|error| error.error)
    });
    kept.with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn name(digest: Digest) -> String {
    digest.to_string().replace(':', "-")
}

/// A reference that is typed.
///
/// # Errors
/// If it is none.
pub fn reference(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(|error| Error::Usage(anyhow!("{error}")))
}

/// The file of a component that is typed as a reference; it must have a digest.
pub fn file(text: &str, most: u64) -> Result<PathBuf, Error> {
    let reference = text.parse::<Reference>().map_err(|error| Error::Failed(anyhow!("{error}")))?;
    one_thread()?.block_on(stored(&reference, most)).map_err(Error::Failed)
}

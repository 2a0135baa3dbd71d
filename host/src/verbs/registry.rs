//! `pipehost push`, `pull` and `lock`.

use anyhow::anyhow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::error::{Error, print};
use crate::facts::{self, Facts};
use crate::runtime::one_thread;
use crate::{load, remote};
use pipehost_config::limits::Limits;
use pipehost_registry::{Component, Lock, Reference};

pub const ABOUT_LOCK: &str = "\
Keep which components the tags of a pipeline mean.

A stage may name its component in a registry, as oci://HOST/NAME:TAG. A tag may mean another
component tomorrow. This verb asks the registries which one it is, and writes the digests into a
file beside the pipeline, with the ending .lock. From then on these components run, and no others.";

#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// A `.wasm`, a `.wat` or a folder with its source.
    component: PathBuf,
    /// Where it goes: oci://HOST/NAME:TAG.
    reference: String,
}

#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Where it is: oci://HOST/NAME:TAG, or @sha256:… instead of the tag.
    reference: String,
    /// The file to write [default: NAME.wasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct LockArgs {
    /// The pipeline.
    #[arg(value_name = "PIPELINE.toml")]
    pipeline: PathBuf,
    /// Also ask again for what the lock has already.
    #[arg(long)]
    update: bool,
}

fn failed(error: pipehost_registry::Error) -> Error {
    Error::Failed(anyhow!("{error}"))
}

fn most() -> pipehost_registry::Limits {
    remote::limits(Limits::default().component_bytes)
}

pub fn push(args: &PushArgs) -> Result<u8, Error> {
    let reference = remote::reference(&args.reference)?;
    let source = facts::source(&args.component)?;
    // What is no stage is not pushed.
    let about = Facts::of(&args.component, &source, &json!({}))?;
    let named = |name: &str, text: String| {
        (!text.is_empty()).then(|| (format!("org.opencontainers.image.{name}"), text))
    };
    let annotations: BTreeMap<_, _> =
        [named("version", about.version), named("description", about.summary)]
            .into_iter()
            .flatten()
            .collect();
    let component = Component { wasm: source.bytes.into(), annotations };
    let push = pipehost_registry::push(&reference, component, most());
    let digest = one_thread()?.block_on(push).map_err(failed)?;
    print(format!("{}\n", reference.pinned(digest)).as_bytes())
}

pub fn pull(args: &PullArgs) -> Result<u8, Error> {
    let reference = remote::reference(&args.reference)?;
    let pull = pipehost_registry::pull(&reference, most());
    let pulled = one_thread()?.block_on(pull).map_err(failed)?;
    let last = reference.name.rsplit('/').next().unwrap_or("component");
    let file = args.output.clone().unwrap_or_else(|| format!("{last}.wasm").into());
    fs::write(&file, &pulled.component)
        .map_err(|error| Error::Failed(anyhow!("cannot write {}: {error}", file.display())))?;
    let pinned = reference.pinned(pulled.digest);
    print(format!("{pinned}\nwrote {}\n", file.display()).as_bytes())
}

pub fn lock(args: &LockArgs) -> Result<u8, Error> {
    let loaded = load::file(&args.pipeline)?;
    if !loaded.mistakes.is_empty() {
        return Err(loaded.render(&loaded.mistakes));
    }
    let path = remote::lock_of(&args.pipeline);
    let before = Lock::read(&path).map_err(failed)?;
    let mut lock = before.clone();
    let mut references: Vec<Reference> = Vec::new();
    let mut text = String::new();
    for stage in &loaded.config.stages {
        let Some(typed) = &stage.plugin.value.reference else { continue };
        let reference = remote::reference(typed)?;
        if reference.digest().is_none() && (args.update || lock.pin(&reference).is_none()) {
            let limits = remote::limits(stage.limits.component_bytes);
            let pull = pipehost_registry::pull(&reference, limits);
            let pulled = one_thread()?.block_on(pull).map_err(failed)?;
            let had = lock.pin(&reference);
            lock.keep(&reference, pulled.digest);
            let pinned = reference.pinned(pulled.digest);
            match had {
                Some(had) if had == pinned => {}
                Some(had) => text.push_str(&format!("{pinned}\n  was {had}\n")),
                None => text.push_str(&format!("{pinned}\n")),
            }
        }
        references.push(reference);
    }
    lock.retain(&references);
    if references.is_empty() {
        text.push_str("no stage names a component in a registry\n");
    } else if lock == before {
        text.push_str(&format!("{} is as it was\n", path.display()));
    } else {
        lock.write(&path).map_err(failed)?;
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    print(text.as_bytes())
}

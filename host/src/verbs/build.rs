//! `pipehost build`.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde_json::json;

use crate::error::{Error, print};
use crate::facts::{self, Facts, Lines};
use pipehost_config::limits::Limits;
use pipehost_kit::module;
use pipehost_observe::log::stderr;
use pipehost_sandbox::plugin;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of a stage: with a `pipehost.toml` that says how it is built, or of a crate.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub fn build(args: &Args) -> Result<u8, Error> {
    let mut say = stderr::say;
    let path = plugin::build(&args.folder, &mut say).map_err(Error::Failed)?;
    let source = plugin::source(&path, Limits::default().component_bytes).map_err(Error::Failed)?;
    let facts = Facts::of(&path, &source, &json!({}))?;
    let mut lines = Lines::default();
    lines.add("component", &path.display().to_string());
    lines.add("name", &format!("{} {}", facts.name, facts.version));
    lines.add("summary", &facts.summary);
    lines.add("size", &ByteSize::b(source.bytes.len() as u64).to_string());
    lines.add("exports", facts.exports());
    lines.add("grants", &facts.grants());
    lines.add("imports", &facts.imports.join("\n"));
    if let Ok(plan) = &facts.plan {
        lines.add("reads", &facts::reads(plan));
    }
    let debug = module::debug_bytes(&source.bytes);
    if debug > DEBUG {
        stderr::say(&format!(
            "warning: it looks like a build for debugging: {} of its {} are for a debugger. Such code \
             is slow and uses more fuel: build it with optimisation",
            ByteSize::b(debug as u64),
            ByteSize::b(source.bytes.len() as u64)
        ));
    }
    print(lines.text().as_bytes())
}

/// Builds with optimisation may keep this much for a debugger: what the libraries of their
/// toolchain bring.
const DEBUG: usize = 512 << 10;

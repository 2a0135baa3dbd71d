//! From the bytes of a plugin file to native code.

use std::fmt::Display;

use anyhow::{Context as _, Result, anyhow, bail};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use super::job::{Compiled, Job, Refusal, Source};
use super::limits::Limits;
use super::settings::{self, Metering};
use super::{child, look};
use crate::contract::bindings::{built_for_another, other_version};
use pipehost_files::content_hash;
use pipehost_record::foreign::Foreign;

impl Source {
    /// Compiles the source in a child, within the limits.
    ///
    /// # Errors
    /// If the source is invalid or exceeds a limit; the message says which.
    pub fn compile(self, metering: Metering, epochs: bool, limits: &Limits) -> Result<Compiled> {
        if !child::can_be_asked() {
            return compile_here(&self, metering, epochs);
        }
        let what = format!("compiling {}", Foreign::new(&self.path.display().to_string()));
        let job = Job::Compile { source: self, metering, epochs };
        Ok(child::ask::<_, Result<Compiled, Refusal>>(&job, &what, limits, "limits.compile")??)
    }
}

/// Compiles in this process.
///
/// # Errors
/// If the source is invalid.
pub(super) fn compile_here(source: &Source, metering: Metering, epochs: bool) -> Result<Compiled> {
    let component = component(source)?;
    look::look(&component).context("it is not a valid component")?;
    let code = settings::compiler(metering, epochs)
        .and_then(|engine| engine.precompile_component(&component))
        .map_err(|error| anyhow!("it is not a valid component: {}", error.root_cause()))?;
    Ok(Compiled { hash: content_hash(&component), size: component.len() as u64, code })
}

/// The target that stages are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// The bytes of the component; a core module is wrapped into one.
fn component(source: &Source) -> Result<Vec<u8>> {
    let file = source.path.display();
    let bytes = if source.is_text {
        wat::parse_bytes(&source.bytes)
            .with_context(|| format!("{file} is not WebAssembly text"))?
            .into_owned()
    } else {
        source.bytes.clone()
    };
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(bytes),
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => wrap(&bytes, &file),
        _ => Err(anyhow!("{file} is not WebAssembly")),
    }
}

/// Wraps a core module into a component. The module exports the functions of the contract under
/// their names in the canonical ABI, such as `pipehost:stage/stage@0.2.0#process`.
fn wrap(module: &[u8], file: &impl Display) -> Result<Vec<u8>> {
    let version = exported_names(module).and_then(|names| {
        names.iter().find_map(|name| other_version(name.split('#').next()?).map(str::to_owned))
    });
    if let Some(version) = version {
        bail!(built_for_another(&Foreign::new(&version).to_string()));
    }
    let wrap = || -> anyhow::Result<Vec<u8>> {
        let mut contract = SourceMap::default();
        contract.push("stage.wit".as_ref(), include_str!("../../../../wit/stage.wit"));
        contract.push("packed.wit".as_ref(), include_str!("../../../../wit/packed.wit"));
        let mut resolve = Resolve::default();
        let package = resolve.push_group(contract.parse().map_err(|(_, error)| error)?)?;
        let exports =
            |interface: &str| memchr::memmem::find(module, interface.as_bytes()).is_some();
        let is_packed = exports("pipehost:stage/packed-stage@");
        let watermark = ["pipehost:stage/watermark@", "pipehost:stage/packed-watermark@"];
        let world = match exports("pipehost:stage/checkpoint@") {
            true if exports(watermark[usize::from(is_packed)]) => "timed-transform",
            true => "stateful-transform",
            false => "transform",
        };
        let world = format!("{}{world}", if is_packed { "packed-" } else { "" });
        let world = resolve.select_world(&[package], Some(&world))?;
        let mut module = module.to_vec();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        ComponentEncoder::default().module(&module)?.validate(true).encode()
    };
    wrap().map_err(|error| {
        anyhow!(
            "{file} is a core module, not a component, and does not export the functions of a \
             stage: {:#}; build it for {TARGET}",
            error.root_cause()
        )
    })
}

fn exported_names(module: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(exports) = payload.ok()? {
            for export in exports {
                names.push(export.ok()?.name.to_owned());
            }
        }
    }
    Some(names)
}

//! From the bytes of a plugin file to native code.

use std::collections::BTreeSet;
use std::fmt::Display;

use anyhow::{Context as _, Result, anyhow, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use super::job::{Compiled, Job, Refusal, Source};
use super::limits::Limits;
use super::settings::{self, Metering};
use super::{child, look};
use crate::contract::bindings::{
    CHECKPOINT, METRICS, PACKED_STAGE, PACKED_WATERMARK, STAGE, WATERMARK, built_for_another,
    other_version,
};
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
/// their names in the canonical ABI, such as `pipehost:stage/stage@0.2.0#process`. One that imports
/// WASI 0.1, as those of Go, wasi-libc and Zig do, gets wasmtime's adapter to WASI 0.2.
fn wrap(module: &[u8], file: &impl Display) -> Result<Vec<u8>> {
    let names = names(module).map_err(|error| anyhow!("{file} is not valid: {error}"))?;
    names.refuse_what_is_no_stage(file)?;
    let wrap = || -> anyhow::Result<Vec<u8>> {
        let mut contract = SourceMap::default();
        contract.push("stage.wit".as_ref(), include_str!("../../../../wit/stage.wit"));
        contract.push("packed.wit".as_ref(), include_str!("../../../../wit/packed.wit"));
        contract.push("metrics.wit".as_ref(), include_str!("../../../../wit/metrics.wit"));
        let mut resolve = Resolve::default();
        let package = resolve.push_group(contract.parse().map_err(|(_, error)| error)?)?;
        let world = resolve.select_world(&[package], Some(&names.world()))?;
        let mut module = module.to_vec();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        if names.imports(METRICS) {
            let world = resolve.select_world(&[package], Some("measured"))?;
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        }
        let mut encoder = ComponentEncoder::default().module(&module)?;
        if names.imports(PREVIEW1) {
            encoder = encoder.adapter(PREVIEW1, ADAPTER)?;
        }
        encoder.validate(true).encode()
    };
    wrap().map_err(|error| {
        anyhow!("{file} is a core module that does not fit the contract: {:#}", error.root_cause())
    })
}

/// The module name of WASI 0.1, which WASI calls its first preview.
const PREVIEW1: &str = WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
/// For a library: the host calls its exports, and `_initialize` before.
pub(crate) const ADAPTER: &[u8] = WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;

/// What a core module imports and exports.
#[derive(Default)]
struct Names {
    /// Modules from which it imports.
    imports: BTreeSet<String>,
    exports: Vec<String>,
}

fn names(module: &[u8]) -> wasmparser::Result<Names> {
    let mut names = Names::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    names.imports.insert(import?.module.to_owned());
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    names.exports.push(export?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

impl Names {
    fn imports(&self, module: &str) -> bool {
        self.imports.contains(module)
    }

    /// Whether it exports a function of an interface of the contract.
    fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|name| name.split_once('#').is_some_and(|(i, _)| i == interface))
    }

    /// The world of the contract that the module is of.
    fn world(&self) -> String {
        let is_packed = self.exports(PACKED_STAGE);
        let watermark = if is_packed { PACKED_WATERMARK } else { WATERMARK };
        let world = match self.exports(CHECKPOINT) {
            true if self.exports(watermark) => "timed-transform",
            true => "stateful-transform",
            false => "transform",
        };
        format!("{}{world}", if is_packed { "packed-" } else { "" })
    }

    fn refuse_what_is_no_stage(&self, file: &impl Display) -> Result<()> {
        if self.exports(STAGE) || self.exports(PACKED_STAGE) {
            return Ok(());
        }
        let mut interfaces = self.exports.iter().filter_map(|name| name.split('#').next());
        if let Some(version) = interfaces.find_map(other_version) {
            bail!(built_for_another(&Foreign::new(version).to_string()));
        }
        if self.exports.iter().any(|name| name == "_start") {
            bail!(
                "{file} is a program with a `main`, and a stage is a library, which exports \
                 `{STAGE}#process` and more: build it as one (Go: -buildmode=c-shared; clang: \
                 -mexec-model=reactor; Zig: -fno-entry; Rust: crate-type = [\"cdylib\"])"
            );
        }
        const TOLD: usize = 20;
        let told = self.exports.iter().take(TOLD);
        let told: Vec<_> = told.map(|name| format!("`{}`", Foreign::new(name))).collect();
        let told = match (self.exports.len(), &told[..]) {
            (0, _) => "nothing".to_owned(),
            (n, told) if n > TOLD => format!("{}, and {} more", told.join(", "), n - TOLD),
            (_, told) => told.join(", "),
        };
        bail!(
            "{file} is a core module that exports {told}; a stage exports `{STAGE}#process` and \
             the other functions of wit/stage.wit, as the SDKs do"
        )
    }
}

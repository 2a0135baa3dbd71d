//! A component that is a stage: compiled and linked, with its imports checked.

use std::sync::Arc;

use bytesize::ByteSize;
use wasmtime::component::{ComponentExportIndex, Linker};

use crate::compile::{self, Source};
use crate::contract::bindings;
use crate::engine::{Engine, Loaded};
use crate::host::{Host, Quota, Server, add_to_linker};
use crate::instance::ExportsPre;
use pipehost_config::grants::Grants;
use pipehost_config::limits::Limits;
use pipehost_record::foreign::Foreign;

/// A component that is ready to run.
pub struct Component {
    /// Name of the stage, for messages.
    pub name: Arc<str>,
    /// SHA-256 of the component, in hexadecimal.
    pub hash: Arc<str>,
    /// Bytes of the component.
    pub size: u64,
    pub limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) quota: Arc<Quota>,
    /// Servers that it may send requests to.
    pub(crate) servers: Arc<[Server]>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) pre: ExportsPre,
    /// `save` and `restore`, if it exports them.
    pub(crate) checkpoint: Option<(ComponentExportIndex, ComponentExportIndex)>,
    /// `advance`, if it exports it.
    pub(crate) advance: Option<ComponentExportIndex>,
    imports: Vec<String>,
}

impl Component {
    /// Compiles a component and checks that it is a stage and imports nothing that this host does
    /// not provide.
    ///
    /// # Errors
    /// Every reason why the component cannot run, for the operator.
    pub fn load(
        engine: Arc<Engine>,
        name: Arc<str>,
        source: &Source,
        limits: Limits,
        grants: Grants,
    ) -> Result<Self, Vec<String>> {
        let bytes = source.bytes.len() as u64;
        if bytes > limits.component_bytes {
            let (size, limit) = (ByteSize::b(bytes), ByteSize::b(limits.component_bytes));
            return Err(vec![format!(
                "the component has {size}, and limits.component allows {limit}"
            )]);
        }
        let loaded = engine.compile(source, &compile::Limits::of_component(&limits, bytes));
        let Loaded { component, hash, size, new } =
            loaded.map_err(|error| vec![format!("{error:#}")])?;
        let ty = component.component_type();
        let imports: Vec<String> =
            ty.imports(&engine.wasmtime).map(|(name, _)| name.to_owned()).collect();
        let refused = Grants::refuse(imports.iter().map(String::as_str));
        if !refused.is_empty() {
            return Err(refused);
        }
        let stages = [bindings::STAGE, bindings::PACKED_STAGE];
        if stages.iter().all(|stage| component.get_export_index(None, stage).is_none()) {
            let mut names = ty.exports(&engine.wasmtime).map(|(name, _)| name);
            if let Some(version) = names.find_map(bindings::other_version) {
                let version = Foreign::new(version).to_string();
                return Err(vec![bindings::built_for_another(&version)]);
            }
            const TOLD: usize = 20;
            let exports = ty.exports(&engine.wasmtime).map(|(name, _)| format!("`{name}`"));
            let count = exports.len();
            let mut exports: Vec<_> = exports.take(TOLD).collect();
            match count {
                0 => exports.push("nothing".to_owned()),
                _ if count > TOLD => exports.push(format!("{} more", count - TOLD)),
                _ => {}
            }
            let exports = exports.join(", ");
            return Err(vec![format!(
                "it is not a stage: it exports {exports}, and a stage exports `{}` (see wit/stage.wit)",
                bindings::STAGE
            )]);
        }
        let pre = link(&engine, &component, &imports)
            .map_err(|error| vec![format!("it does not fit the contract: {error:#}")])?;
        engine.keep(new);
        let function = |interface, name| {
            let interface = component.get_export_index(None, interface)?;
            component.get_export_index(Some(&interface), name)
        };
        let checkpoint =
            function(bindings::CHECKPOINT, "save").zip(function(bindings::CHECKPOINT, "restore"));
        let advance = function(pre.watermark(), "advance");
        let written = grants.folders.iter().filter(|folder| folder.writable);
        let written = written.map(|folder| folder.host.value.clone()).collect();
        let servers: anyhow::Result<Arc<[Server]>> = grants.http.iter().map(Server::new).collect();
        let servers = servers.map_err(|why| vec![format!("grants.http: {why:#}")])?;
        let quota = Quota::new(written, limits.disk_bytes, limits.files).into();
        Ok(Self {
            name,
            hash: hash.into(),
            size,
            limits,
            grants,
            quota,
            servers,
            engine,
            pre,
            checkpoint,
            advance,
            imports,
        })
    }

    /// Interfaces that the component imports, with their versions.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    pub fn has_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Whether the stage receives watermarks.
    pub fn has_watermark(&self) -> bool {
        self.advance.is_some()
    }
}

fn link(
    engine: &Engine,
    component: &wasmtime::component::Component,
    imports: &[String],
) -> wasmtime::Result<ExportsPre> {
    let mut linker = Linker::<Host>::new(&engine.wasmtime);
    add_to_linker(&mut linker)?;
    let types = |import: &&String| import.starts_with("pipehost:") && *import != bindings::METRICS;
    for import in imports.iter().filter(types) {
        linker.instance(import)?; // Only types: nothing to define.
    }
    ExportsPre::new(linker.instantiate_pre(component)?)
}

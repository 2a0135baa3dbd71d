//! What a component says of itself, and what the host sees in it.

use anyhow::anyhow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::Error;
use crate::remote;
use crate::runtime::one_thread;
use pipehost_config::grants::Grants;
use pipehost_config::limits::Limits;
use pipehost_config::{Partition, Plugin};
use pipehost_observe::log::stderr;
use pipehost_observe::metrics::Metrics;
use pipehost_record::foreign::Foreign;
use pipehost_sandbox::compile::{Metering, Source};
use pipehost_sandbox::contract::plan::{Keeps, Plan};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::plugin;
use pipehost_sandbox::{Component, Program, describe};
use pipehost_stages::STAGES;

/// The facts of one component.
pub struct Facts {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// In bytes.
    pub size: u64,
    /// SHA-256, in hexadecimal.
    pub hash: String,
    pub keeps_state: bool,
    pub has_watermark: bool,
    /// What it declares with the configuration; the error is why it refuses that.
    pub plan: Result<Plan, String>,
    pub imports: Vec<String>,
    pub schema: Value,
}

/// Reads the component that a path names: see [`Plugin`]. Builds it first if it is a folder.
pub fn source(path: &Path) -> Result<Source, Error> {
    let mut plugin = Plugin::new(Path::new(""), path);
    if let Some(reference) = plugin.reference.take() {
        plugin.path = remote::file(&reference, Limits::default().component_bytes)?;
    }
    let mut say = stderr::say;
    plugin::read(&plugin, STAGES, Limits::default().component_bytes, &mut say).map_err(Error::Usage)
}

impl Facts {
    /// Loads a component, and opens it with this configuration.
    pub fn of(path: &Path, source: &Source, config: &Value) -> Result<Self, Error> {
        one_thread()?.block_on(Self::find(path, source, config))
    }

    async fn find(path: &Path, source: &Source, config: &Value) -> Result<Self, Error> {
        let failed = |why: String| Error::Failed(anyhow!("{}: {why}", path.display()));
        let engine =
            Engine::new(Metering::Fuel, 2).map_err(|error| failed(format!("{error:#}")))?;
        let name = Arc::from(path.file_stem().unwrap_or_default().to_string_lossy());
        let component =
            Component::load(engine.into(), name, source, Limits::default(), Grants::default())
                .map_err(|why| Error::Usage(anyhow!("{}: {}", path.display(), why.join("; "))))?;
        let metrics = Metrics::default().node("inspect");
        let component = Arc::new(component);
        let about = (describe(&component, &metrics).await)
            .map_err(|failure| failed(format!("its `describe` failed: {failure}")))?;
        let version = about.version.clone();
        let opened = Program::open(component.clone(), version, config.to_string(), &metrics).await;
        let schema =
            serde_json::from_str(&about.config_schema).unwrap_or(Value::from(about.config_schema));
        Ok(Self {
            name: about.name,
            version: about.version,
            summary: about.summary,
            size: component.size,
            hash: component.hash.to_string(),
            keeps_state: component.has_checkpoint(),
            has_watermark: component.has_watermark(),
            plan: opened.map(|program| program.plan().clone()).map_err(|failure| failure.message),
            imports: component.imports().to_vec(),
            schema,
        })
    }

    /// The interfaces that it exports.
    pub fn exports(&self) -> &'static str {
        match (self.keeps_state, self.has_watermark) {
            (_, true) => "stage, checkpoint, watermark",
            (true, false) => "stage, checkpoint",
            (false, false) => "stage",
        }
    }

    pub fn state(&self) -> &'static str {
        if self.keeps_state { "kept by the host (checkpoint)" } else { "none kept" }
    }

    /// The grants that it may use: it runs without them, too.
    pub fn grants(&self) -> String {
        let used: BTreeSet<_> =
            self.imports.iter().flat_map(|import| Grants::used_by(import)).collect();
        match used.len() {
            0 => "can use none".to_owned(),
            _ => format!("may use {}", used.into_iter().copied().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What a stage keeps, for the operator.
pub fn keeps(plan: &Plan) -> String {
    match &plan.keeps {
        Keeps::Anything => "anything: one lane, unless the pipeline says otherwise".to_owned(),
        Keeps::Nothing => "nothing: any number of lanes".to_owned(),
        Keeps::ByKey(Partition::Attribute(name)) => {
            format!("by the attribute `{}`: lanes by key group", Foreign::new(name))
        }
        Keeps::ByKey(by) => format!("by the {by}: lanes by key group"),
    }
}

/// The columns that a stage reads.
pub fn reads(plan: &Plan) -> String {
    let columns = [(plan.timestamps, "timestamp"), (plan.key, "key"), (plan.value, "value")];
    let mut reads: Vec<String> =
        columns.iter().filter(|(read, _)| *read).map(|(_, name)| (*name).to_owned()).collect();
    reads.extend(plan.attributes.iter().map(|name| format!("attribute `{}`", Foreign::new(name))));
    if reads.is_empty() { "no column".to_owned() } else { reads.join(", ") }
}

/// Lines of a name and a text, aligned; what comes from a component does no harm on a terminal.
#[derive(Default)]
pub struct Lines(String);

impl Lines {
    pub fn add(&mut self, name: &str, text: &str) {
        let text = text.lines().map(|line| Foreign::new(line).whole().to_string());
        let text = text.collect::<Vec<_>>().join("\n            ");
        self.0.push_str(format!("{name:<12}{text}").trim_end());
        self.0.push('\n');
    }

    pub fn text(self) -> String {
        self.0
    }
}

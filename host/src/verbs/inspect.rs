//! `pipehost inspect`.

use anyhow::anyhow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use serde_json::Value;

use crate::error::{Error, print};
use crate::setting;
use pipehost_config::grants::Grants;
use pipehost_config::limits::Limits;
use pipehost_config::{Partition, Plugin};
use pipehost_observe::log::stderr;
use pipehost_observe::metrics::Metrics;
use pipehost_record::foreign::Foreign;
use pipehost_sandbox::compile::Metering;
use pipehost_sandbox::compile::Source;
use pipehost_sandbox::contract::plan::{Keeps, Plan};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::plugin;
use pipehost_sandbox::{Component, Program, describe};
use pipehost_stages::STAGES;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A stage that comes with pipehost, a `.wasm`, a `.wat` or the folder of a crate.
    component: PathBuf,
    /// A member of its configuration, to see the ports that it then has.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

pub fn inspect(args: &Args) -> Result<u8, Error> {
    let path = &*args.component;
    let mut say = stderr::say;
    let plugin = Plugin::new(Path::new(""), path);
    let limit = Limits::default().component_bytes;
    let source = plugin::read(&plugin, STAGES, limit, &mut say).map_err(Error::Usage)?;
    let config = setting::object(&args.set)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(anyhow!("cannot start the runtime: {error}")))?;
    let text = runtime.block_on(about(path, &source, &config))?;
    print(text.as_bytes())
}

/// A longer schema, in bytes, is not shown.
const LONGEST_SCHEMA: usize = 256 << 10;

async fn about(path: &Path, source: &Source, config: &Value) -> Result<String, Error> {
    let failed = |why: String| Error::Failed(anyhow!("{}: {why}", path.display()));
    let engine = Engine::new(Metering::Fuel, 2).map_err(|error| failed(format!("{error:#}")))?;
    let (limits, stem) = (Limits::default(), path.file_stem().unwrap_or_default());
    // Grants all that can be granted, so that the component loads and its imports are shown.
    let network = vec![([127, 0, 0, 1], 0).into()];
    let grants = Grants { network, ..Grants::default() };
    let name = Arc::from(stem.to_string_lossy());
    let component = Component::load(Arc::new(engine), name, source, limits, grants)
        .map_err(|reasons| Error::Usage(anyhow!("{}: {}", path.display(), reasons.join("; "))))?;
    let metrics = Metrics::default().node("inspect");
    let component = Arc::new(component);
    let about = (describe(&component, &metrics).await)
        .map_err(|failure| failed(format!("its `describe` failed: {failure}")))?;

    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let text = text.lines().map(|line| Foreign::new(line).whole().to_string());
        let text = text.collect::<Vec<_>>().join("\n            ");
        let _ = writeln!(out, "{name:<12}{text}");
    };
    line("name", &format!("{} {}", about.name, about.version));
    line("summary", &about.summary);
    line("size", &format!("{} ({} bytes)", ByteSize::b(component.size), component.size));
    line("sha256", &component.hash);
    line(
        "state",
        if component.has_checkpoint() { "kept by the host (checkpoint)" } else { "none kept" },
    );
    match Program::open(component.clone(), about.version.clone(), config.to_string(), &metrics)
        .await
    {
        Ok(program) => {
            let plan = program.plan();
            line("ports", &plan.ports.join(", "));
            line("reads", &reads(plan));
            line("keeps", &keeps(plan));
        }
        Err(failure) => {
            line("ports", "depend on its configuration; give it with --set NAME=VALUE");
            line("", &format!("({failure})"));
        }
    }
    let (granted, free): (Vec<_>, Vec<_>) = (component.imports().iter())
        .map(|import| (import, Grants::needed_for(import)))
        .partition(|(_, grant)| grant.is_some());
    line(
        "grants",
        &match &granted[..] {
            [] => "needs none".to_owned(),
            _ => granted
                .iter()
                .map(|(import, grant)| format!("{} for {import}", grant.unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
        },
    );
    line("imports", &free.iter().map(|(import, _)| import.as_str()).collect::<Vec<_>>().join("\n"));
    let schema: Value =
        serde_json::from_str(&about.config_schema).unwrap_or(Value::from(about.config_schema));
    let mut schema = format!("{schema:#}");
    if schema.len() > LONGEST_SCHEMA {
        schema = format!("({} bytes, which are not shown)", schema.len());
    }
    let schema = Foreign::json(&schema);
    let _ = write!(out, "\nconfiguration (JSON Schema)\n{schema}\n");
    Ok(out)
}

fn keeps(plan: &Plan) -> String {
    match &plan.keeps {
        Keeps::Anything => "anything: one lane, unless the pipeline says otherwise".to_owned(),
        Keeps::Nothing => "nothing: any number of lanes".to_owned(),
        Keeps::ByKey(Partition::Attribute(name)) => {
            format!("by the attribute `{}`: lanes by key group", Foreign::new(name))
        }
        Keeps::ByKey(by) => format!("by the {by}: lanes by key group"),
    }
}

fn reads(plan: &Plan) -> String {
    let columns = [(plan.timestamps, "timestamp"), (plan.key, "key"), (plan.value, "value")];
    let mut reads: Vec<String> =
        columns.iter().filter(|(read, _)| *read).map(|(_, name)| (*name).to_owned()).collect();
    reads.extend(plan.attributes.iter().map(|name| format!("attribute `{}`", Foreign::new(name))));
    if reads.is_empty() { "no column".to_owned() } else { reads.join(", ") }
}

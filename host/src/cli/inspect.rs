//! `pipehost inspect`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::{Error, load, stderr};
use crate::compile::Source;
use crate::engine::{Engine, Metering};
use crate::foreign::Foreign;
use crate::grants::Grants;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::plugin;
use crate::stage::Program;

pub(super) fn inspect(path: &Path, set: &[String]) -> Result<u8, Error> {
    let mut say = stderr::say;
    let source =
        plugin::read(path, Limits::default().component_bytes, &mut say).map_err(Error::Usage)?;
    let mut config = json!({});
    for setting in set {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| Error::Usage(format!("--set {setting}: write NAME=VALUE")))?;
        load::set_member(&mut config, name, value)
            .map_err(|why| Error::Usage(format!("--set {setting}: {why}")))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("cannot start the runtime: {error}")))?;
    let text = runtime.block_on(describe(path, &source, &config))?;
    super::print(text.as_bytes())
}

/// A schema that is longer than this, in bytes, nobody reads.
const LONGEST_SCHEMA: usize = 256 << 10;

async fn describe(path: &Path, source: &Source, config: &Value) -> Result<String, Error> {
    let failed = |why: String| Error::Failed(format!("{}: {why}", path.display()));
    let engine = Engine::new(Metering::Fuel, 2).map_err(|error| failed(format!("{error:#}")))?;
    let (limits, stem) = (Limits::default(), path.file_stem().unwrap_or_default());
    // Whatever it imports is to be shown, so what could be granted is granted here.
    let network = vec![([127, 0, 0, 1], 0).into()];
    let grants = Grants { network, ..Grants::default() };
    let name = Arc::from(stem.to_string_lossy());
    let mut program = Program::load(Arc::new(engine), name, source, limits, grants)
        .map_err(|reasons| Error::Usage(format!("{}: {}", path.display(), reasons.join("; "))))?;
    let metrics = Metrics::default().node("inspect");
    let about = program
        .describe(&metrics)
        .await
        .map_err(|failure| failed(format!("asked to describe itself, {failure}")))?;

    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let text = text.lines().map(|line| Foreign::new(line).whole().to_string());
        let text = text.collect::<Vec<_>>().join("\n            ");
        let _ = writeln!(out, "{name:<12}{text}");
    };
    line("name", &format!("{} {}", about.name, about.version));
    line("summary", &about.summary);
    line("size", &format!("{} ({} bytes)", ByteSize::b(program.size), program.size));
    line("sha256", &program.hash);
    line(
        "state",
        if program.has_checkpoint() { "kept by the host (checkpoint)" } else { "none kept" },
    );
    match program.open(config.to_string(), &metrics).await {
        Ok(()) => {
            let plan = program.plan();
            line("ports", &plan.ports.join(", "));
            line("reads", &reads(plan));
        }
        Err(failure) => {
            line("ports", "depend on its configuration; give it with --set NAME=VALUE");
            line("", &format!("({failure})"));
        }
    }
    let (granted, free): (Vec<_>, Vec<_>) = (program.imports().iter())
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

fn reads(plan: &crate::plan::Plan) -> String {
    let columns = [(plan.timestamps, "timestamp"), (plan.key, "key"), (plan.value, "value")];
    let mut reads: Vec<String> =
        columns.iter().filter(|(read, _)| *read).map(|(_, name)| (*name).to_owned()).collect();
    reads.extend(plan.attributes.iter().map(|name| format!("attribute `{}`", Foreign::new(name))));
    if reads.is_empty() { "no column".to_owned() } else { reads.join(", ") }
}

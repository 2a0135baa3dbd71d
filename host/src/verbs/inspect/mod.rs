//! `pipehost inspect`.

mod difference;
mod settings;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde_json::Value;

use crate::error::{Error, print};
use crate::facts::{self, Facts, Lines};
use crate::setting;
use difference::difference;
use pipehost_record::foreign::Foreign;
use pipehost_sandbox::contract::plan::Plan;
use settings::Settings;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A stage that comes with pipehost, a `.wasm`, a `.wat` or a folder with its source.
    component: PathBuf,
    /// Say what differs from this older one: configuration, ports, columns read, imports, grants.
    #[arg(long, value_name = "OLD")]
    diff: Option<PathBuf>,
    /// A member of its configuration, to see the ports that it then has.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print the JSON Schema of its configuration, and nothing else.
    #[arg(long, conflicts_with = "diff")]
    schema: bool,
}

/// The width of the terminal; where there is none, a usual one.
fn width() -> usize {
    const USUAL: usize = 100;
    match io::stdout().is_terminal() {
        true => ratatui::crossterm::terminal::size().map_or(USUAL, |(width, _)| width.into()),
        false => USUAL,
    }
}

pub fn inspect(args: &Args) -> Result<u8, Error> {
    let config = setting::object(&args.set)?;
    let source = facts::source(&args.component)?;
    let new = Facts::of(&args.component, &source, &config)?;
    if let Some(old) = &args.diff {
        let old = Facts::of(old, &facts::source(old)?, &config)?;
        return print(difference(&old, &new).as_bytes());
    }
    if args.schema {
        return print(schema(&new).as_bytes());
    }
    let mut example = None;
    if new.plan.is_err() {
        let mut all = Settings::of(&new.schema).required();
        all.extend(config.as_object().cloned().unwrap_or_default());
        let opened = Facts::of(&args.component, &source, &Value::Object(all));
        example = opened.ok().and_then(|facts| facts.plan.ok());
    }
    print(about(&new, &args.component, &config, example.as_ref()).as_bytes())
}

/// A longer schema, in bytes, is not shown.
const LONGEST_SCHEMA: usize = 256 << 10;

/// What it is; `config` is what was given with `--set`, and `example` what it declares with that and
/// with examples of what it requires.
fn about(facts: &Facts, plugin: &Path, config: &Value, example: Option<&Plan>) -> String {
    let mut lines = Lines::default();
    lines.add("name", &format!("{} {}", facts.name, facts.version));
    lines.add("summary", &facts.summary);
    lines.add("size", &format!("{} ({} bytes)", ByteSize::b(facts.size), facts.size));
    lines.add("sha256", &facts.hash);
    lines.add("state", facts.state());
    let plan = facts.plan.as_ref();
    match plan.or_else(|why| example.ok_or(why)) {
        Ok(plan) => {
            if facts.plan.is_err() {
                lines.add("", "with the settings of the example below:");
            }
            if !plan.inputs.is_empty() {
                lines.add("inputs", &plan.inputs.join(", "));
            }
            lines.add("ports", &plan.ports.join(", "));
            lines.add("reads", &facts::reads(plan));
            lines.add("keeps", &facts::keeps(plan));
        }
        Err(why) => {
            lines.add("ports", "depend on its configuration; give it with --set NAME=VALUE");
            lines.add("", &format!("({why})"));
        }
    }
    lines.add("grants", &facts.grants());
    lines.add("imports", &facts.imports.join("\n"));
    let settings = Settings::of(&facts.schema);
    let mut out = lines.text();
    let _ = write!(out, "\n{}", settings.table(width()));
    let plan = plan.ok().or(example);
    let (inputs, ports) = plan.map_or((&[][..], &[][..]), |plan| (&plan.inputs, &plan.ports));
    let _ = write!(out, "\n{}", settings.paste(&facts.name, plugin, (inputs, ports), config));
    out
}

/// The JSON Schema of the configuration.
fn schema(facts: &Facts) -> String {
    let mut schema = format!("{:#}\n", facts.schema);
    if schema.len() > LONGEST_SCHEMA {
        schema = format!("({} bytes, which are not shown)\n", schema.len());
    }
    Foreign::json(&schema).to_string()
}

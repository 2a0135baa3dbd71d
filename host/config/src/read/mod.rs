//! From TOML to a [`Config`]; collects every mistake.

mod case;
mod codec;
mod expand;
mod node;
mod project;
mod shape;
mod sink;
mod source;
mod stage;
mod table;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::DeValue;

pub use case::{read_case, read_pipeline_case};
pub use expand::{Reference, Resolve};
pub use project::read_project;

use crate::mistake::Mistake;
use crate::{At, Config, DeadLetters, WhenLettersFull};
use shape::Type;
use table::TableReader;

/// Reads a pipeline. Relative paths are relative to `base`, the folder of the file. Parts with
/// mistakes are left out of the result, so that the rest can be checked too.
pub fn read(text: &str, base: &Path) -> (Config, Vec<Mistake>) {
    read_document(text, base, None)
}

/// As [`read`], with the references in texts replaced by what they stand for. Only for who may see
/// the environment and the files of this process.
pub fn read_expanded(text: &str, base: &Path, resolve: Resolve<'_>) -> (Config, Vec<Mistake>) {
    read_document(text, base, Some(resolve))
}

fn read_document(text: &str, base: &Path, resolve: Option<Resolve<'_>>) -> (Config, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let mut document = table::document(text, &mut mistakes);
    if let Some(resolve) = resolve {
        expand::expand(document.get_mut(), resolve, &mut mistakes);
    }
    let unresolved = mistakes.clone();
    let root = TableReader::new("a pipeline", document.get_ref(), None, &mut mistakes);
    let config = root_table(root, base);
    // What a reference does not stand for is wrong once, and not as a value too.
    let is_told = |mistake: &Mistake| {
        unresolved.iter().any(|told| told.span.is_some() && told.span == mistake.span)
    };
    let mut number = 0;
    mistakes.retain(|mistake| {
        number += 1;
        number <= unresolved.len() || !is_told(mistake)
    });
    (config, mistakes)
}

fn root_table(mut root: TableReader<'_>, base: &Path) -> Config {
    let mut config = Config::default();
    root.table("pipeline", "`[pipeline]`", |table| pipeline(table, base, &mut config));
    let mut incomplete = !root.is_whole();
    config.sources =
        root.tables("source", "a source", &mut incomplete, |table| source::source(table, base));
    config.stages =
        root.tables("stage", "a stage", &mut incomplete, |table| stage::stage(table, base));
    config.sinks = root.tables("sink", "a sink", &mut incomplete, |table| sink::sink(table, base));
    root.finish();
    config.incomplete = incomplete;
    config
}

/// A JSON Schema (draft 2020-12) of the configuration of a pipeline, for editors. It says less than
/// [`read`] checks: names, types and what is required.
pub fn schema() -> Value {
    let shapes = TableReader::record(|table| drop(root_table(table, Path::new(""))));
    let mut schema = shapes[0].schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("A pipeline of pipehost");
    schema
}

fn pipeline(mut table: TableReader<'_>, base: &Path, config: &mut Config) {
    if let Some(name) = table.string("name") {
        config.name = name.value;
    }
    config.deadline = table.duration("deadline");
    config.shutdown_grace = table.duration("shutdown_grace").unwrap_or(config.shutdown_grace);
    config.dead_letters = dead_letters(&mut table, base);
    config.state = table.string("state").map(|dir| At::new(base.join(dir.value), dir.span));
    config.key_groups = table.few("key_groups").map(|count| count as u32);
    if let Some(interval) = table.duration("checkpoint_interval") {
        config.checkpoint_interval = interval.max(Duration::from_millis(1));
    }
    table.finish();
}

/// `dead_letters = "FILE"`, or `dead_letters = { path = "FILE", … }`.
fn dead_letters(table: &mut TableReader<'_>, base: &Path) -> Option<At<DeadLetters>> {
    table.note("dead_letters", || Type::Text);
    let item = table.get("dead_letters");
    let span = item.and_then(table::span);
    if let Some(DeValue::String(path)) = item.map(Spanned::get_ref) {
        return Some(At::new(DeadLetters::new(base.join(&**path)), span));
    }
    let letters = table.table("dead_letters", "`dead_letters`", |mut table| {
        let path = table.required("path", "the file that they go to");
        let named = path.as_ref().map_or(Path::new(""), |path| Path::new(&path.value));
        let mut letters = DeadLetters::new(base.join(named));
        letters.max_bytes = table.bytes("max_size").unwrap_or(letters.max_bytes);
        letters.rotate_bytes = table.bytes("rotate").unwrap_or(letters.rotate_bytes);
        let when_full = [("fail", WhenLettersFull::Fail), ("wait", WhenLettersFull::Wait)];
        letters.when_full = table.choice("when_full", &when_full).unwrap_or(letters.when_full);
        table.finish();
        path.map(|_| letters)
    });
    Some(At::new(letters??, span))
}

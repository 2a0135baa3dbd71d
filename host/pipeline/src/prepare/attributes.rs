//! Finds stages and templates that read an attribute which no node before them makes.
//!
//! A stage says in the JSON Schema of its configuration which attributes it adds, under `x-adds`: a
//! list of names, where `$NAME` stands for what the setting `NAME` says: a text, a list of them, or
//! the keys of a table. Behind one that does not say it, and behind a source whose attributes depend
//! on its input, there may be any.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use pipehost_config::graph::{self, Graph, NodeId};
use pipehost_config::mistake::{Mistake, Span};
use pipehost_config::{
    Config, CsvColumns, DecodeFormat, Decoding, Encoding, FileSource, JsonAttributes, JsonParts,
    SinkKind, SourceKind, SqliteSource, TooLong,
};
use pipehost_record::template::without_prefix;
use pipehost_sandbox::contract::plan::Plan;

/// The attributes that records may have; `None`: any.
type Attributes = Option<BTreeSet<String>>;

/// What a stage says of attributes.
pub(super) struct Says<'p> {
    pub(super) plan: &'p Plan,
    /// The attributes that it adds; `None`: any.
    pub(super) adds: Attributes,
}

/// The attributes that a stage adds, as the schema of its configuration says.
pub(super) fn added(schema: &str, config: &Value) -> Attributes {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let adds = schema["x-adds"].as_array()?;
    let mut names = BTreeSet::new();
    for entry in adds {
        let entry = entry.as_str()?;
        let Some(setting) = entry.strip_prefix('$') else {
            names.insert(entry.to_owned());
            continue;
        };
        let value = match &config[setting] {
            Value::Null => &schema["properties"][setting]["default"],
            value => value,
        };
        match value {
            Value::Null => {}
            Value::String(name) => drop(names.insert(name.clone())),
            Value::Array(several) => {
                names.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            Value::Object(named) => names.extend(named.keys().cloned()),
            _ => return None,
        }
    }
    Some(names)
}

/// A warning for each attribute that is read and that nobody makes. `says` are the stages, in the
/// order of the configuration.
pub(super) fn check(config: &Config, graph: &Graph, says: &[Says<'_>]) -> Vec<Mistake> {
    let mut made: BTreeMap<NodeId, Attributes> = BTreeMap::new();
    let mut warnings = Vec::new();
    // The graph has no cycle: after so many rounds, nothing changes any more.
    let nodes: Vec<NodeId> = graph::nodes(config).collect();
    for _ in 0..nodes.len() {
        for &id in &nodes {
            let given = given(graph, id, &made);
            let attributes = match id {
                NodeId::Source(index) => of_source(&config.sources[index].kind),
                NodeId::Stage(index) => match (given, &says[index].adds) {
                    (Some(given), Some(adds)) => Some(&given | adds),
                    _ => None,
                },
                NodeId::Sink(_) => continue,
            };
            made.insert(id, attributes);
        }
    }
    for &id in &nodes {
        let Some(given) = given(graph, id, &made) else { continue };
        let (read, span): (Vec<&str>, &Span) = match id {
            NodeId::Source(_) => continue,
            NodeId::Stage(index) => {
                let stage = &config.stages[index];
                let span =
                    if stage.config.span.is_some() { &stage.config.span } else { &stage.name.span };
                (says[index].plan.attributes.iter().map(String::as_str).collect(), span)
            }
            NodeId::Sink(index) => {
                let sink = &config.sinks[index];
                (read_by(&sink.kind), &sink.name.span)
            }
        };
        let missing: BTreeSet<_> = read.into_iter().filter(|name| !given.contains(*name)).collect();
        for name in missing {
            let node = &graph::name(config, id).value;
            let message =
                format!("`{node}` reads the attribute `{name}`, and no node before it makes that");
            let warning = Mistake::new(span.clone(), message);
            let warning = warning.did_you_mean(name, given.iter().map(String::as_str));
            warnings.push(match (&warning.help, given.is_empty()) {
                (Some(_), _) => warning,
                (None, true) => warning.help("there are no attributes at all"),
                (None, false) => {
                    let names: Vec<_> = given.iter().map(|name| format!("`{name}`")).collect();
                    warning.help(format!("there is {}", names.join(", ")))
                }
            });
        }
    }
    warnings
}

/// What records may have that a node is given.
fn given(graph: &Graph, id: NodeId, made: &BTreeMap<NodeId, Attributes>) -> Attributes {
    let mut given = BTreeSet::new();
    for edge in graph.edges.iter().filter(|edge| edge.to == id) {
        given.extend(made.get(&edge.from)?.clone()?);
    }
    Some(given)
}

fn of_source(kind: &SourceKind) -> Attributes {
    match kind {
        SourceKind::Generate(_) => Some(BTreeSet::new()),
        SourceKind::Stdin { codec } | SourceKind::File(FileSource { codec, .. }) => decoded(codec),
        SourceKind::Http(http) => decoded(&http.codec),
        SourceKind::Sqlite(SqliteSource { attributes, .. }) => {
            attributes.clone().map(BTreeSet::from_iter)
        }
    }
}

fn decoded(codec: &Decoding) -> Attributes {
    let metadata = &codec.metadata;
    let named = [&metadata.path, &metadata.offset, &metadata.host, &metadata.ingested];
    let mut attributes: BTreeSet<String> = named.into_iter().flatten().cloned().collect();
    if codec.too_long == TooLong::Truncate {
        attributes.insert("truncated".to_owned());
    }
    match &codec.format {
        DecodeFormat::Lines | DecodeFormat::Multiline(_) => {}
        DecodeFormat::Csv(csv) => match &csv.columns {
            CsvColumns::None => {}
            CsvColumns::Header => return None,
            CsvColumns::Named(names) => {
                // An empty name skips a field.
                attributes.extend(names.iter().filter(|name| !name.is_empty()).cloned());
            }
        },
        DecodeFormat::Json(members) => match &members.attributes {
            JsonAttributes::None => {}
            JsonAttributes::All => return None,
            JsonAttributes::Named(names) => attributes.extend(names.iter().cloned()),
        },
        DecodeFormat::Frames => return None,
    }
    Some(attributes)
}

/// The parts of a record that are no attributes.
const PARTS: [&str; 3] = ["value", "key", "timestamp"];

/// The attributes that a sink reads by name.
fn read_by(kind: &SinkKind) -> Vec<&str> {
    let (encoding, path) = match kind {
        SinkKind::Stdout { encoding } => (encoding, None),
        SinkKind::File(file) => (&file.encoding, file.partition.as_ref()),
        SinkKind::Http(http) => (&http.encoding, None),
        SinkKind::Sqlite(sqlite) => {
            return names(sqlite.columns.iter().map(|column| &*column.from)).collect();
        }
        SinkKind::Null => return Vec::new(),
    };
    let of_path = path.into_iter().flat_map(|path| path.path.names_except(&PARTS));
    match encoding {
        Encoding::Lines(Some(template)) => {
            names(template.names_except(&PARTS).chain(of_path)).collect()
        }
        Encoding::Csv(csv) => {
            names(csv.columns.iter().map(String::as_str).chain(of_path)).collect()
        }
        Encoding::Json(JsonParts { numbers, raw }) => {
            let parts = numbers.attributes.iter().chain(&raw.attributes).map(String::as_str);
            names(parts.chain(of_path)).collect()
        }
        Encoding::Lines(None) | Encoding::Frames => names(of_path).collect(),
    }
}

/// Those of the names that are attributes.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    all.filter(|name| !PARTS.contains(name)).map(without_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_says_what_is_added_by_name_or_by_setting() {
        let schema = json!({
            "x-adds": ["fixed", "$into", "$list", "$none", "$table"],
            "properties": { "into": { "default": "level" } }
        });
        let names =
            |config| added(&schema.to_string(), &config).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(names(json!({})), ["fixed", "level"]);
        assert_eq!(names(json!({ "into": "x", "list": ["a", "b"] })), ["a", "b", "fixed", "x"]);
        assert_eq!(names(json!({ "table": { "t": 1 } })), ["fixed", "level", "t"]);
        assert_eq!(added("{}", &json!({})), None, "it may add any");
        assert_eq!(added("no JSON", &json!({})), None);
        assert_eq!(added(&schema.to_string(), &json!({ "into": 5 })), None);
    }
}

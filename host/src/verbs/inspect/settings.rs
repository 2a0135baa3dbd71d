//! The settings of a stage, from the JSON Schema of its configuration.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::table::wrapped;
use pipehost_record::foreign::Foreign;

/// The settings of a stage.
pub(super) struct Settings {
    /// Those that are shown, required ones first.
    shown: Vec<Setting>,
    /// How many more there are.
    more: usize,
    /// The example that the schema itself has.
    example: Option<Map<String, Value>>,
}

struct Setting {
    name: String,
    kind: String,
    default: Option<Value>,
    is_required: bool,
    meaning: String,
    /// A value that it may have.
    example: Value,
}

/// The most settings that are shown: a schema is of whoever wrote the component.
const MOST: usize = 200;
/// A longer type, default or meaning is cut.
const LONGEST: usize = 500;
/// How deep a type is looked into, and how many references are followed.
const DEEPEST: usize = 4;

impl Settings {
    /// Those that the schema names.
    pub(super) fn of(schema: &Value) -> Self {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let setting = |(name, property): (String, Value)| {
            let resolved = resolve(schema, &property);
            Setting {
                kind: kind(schema, &property),
                default: property.get("default").filter(|value| !value.is_null()).cloned(),
                is_required: required.iter().any(|other| other == &name),
                meaning: meaning(&property, resolved),
                example: example(resolved, &property),
                name,
            }
        };
        let (mut properties, mut others): (Vec<_>, Vec<_>) =
            properties.into_iter().partition(|(name, _)| required.iter().any(|one| one == name));
        properties.append(&mut others);
        let more = properties.len().saturating_sub(MOST);
        let shown = properties.into_iter().take(MOST).map(setting).collect();
        let example = schema["examples"][0].as_object().cloned();
        Self { shown, more, example }
    }

    /// What must be set, with values as examples.
    pub(super) fn required(&self) -> Map<String, Value> {
        let required = self.shown.iter().filter(|setting| setting.is_required);
        let required = required.map(|setting| (setting.name.clone(), setting.example.clone()));
        required.chain(self.example.clone().unwrap_or_default()).collect()
    }

    /// A table of them all, in so many columns of a terminal.
    pub(super) fn table(&self, width: usize) -> String {
        if self.shown.is_empty() {
            return "it has no settings\n".to_owned();
        }
        let mut rows = vec![["SETTING", "TYPE", "DEFAULT", "MEANING"].map(str::to_owned)];
        rows.extend(self.shown.iter().map(|setting| {
            let default = match &setting.default {
                Some(default) => default.to_string(),
                None if setting.is_required => "required".to_owned(),
                None => "-".to_owned(),
            };
            let shown = |text: &str| Foreign::new(&cut(text)).to_string();
            [shown(&setting.name), shown(&setting.kind), shown(&default), shown(&setting.meaning)]
        }));
        let widest = |column: usize, most: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count().min(most));
            widths.max().unwrap_or(0)
        };
        let widths = [widest(0, 24), widest(1, 24), widest(2, 16)];
        let before: usize = widths.iter().map(|width| width + 2).sum();
        let mut out = String::new();
        for row in &rows {
            let meaning = wrapped(&row[3], width.saturating_sub(before).max(30));
            let kinds = wrapped(&row[1], widths[1]);
            let defaults = wrapped(&row[2], widths[2]);
            let names = wrapped(&row[0], widths[0]);
            let cells = [names, kinds, defaults, meaning];
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let cell = |column: usize| cells[column].get(line).map_or("", String::as_str);
                let [name, kind, default] = widths;
                let text = format!(
                    "{:<name$}  {:<kind$}  {:<default$}  {}",
                    cell(0),
                    cell(1),
                    cell(2),
                    cell(3)
                );
                let _ = writeln!(out, "{}", text.trim_end());
            }
        }
        if self.more > 0 {
            let _ = writeln!(out, "… and {} more, which are not shown", self.more);
        }
        out
    }

    /// A stage to paste into a pipeline; `ports` are those that need a reader.
    pub(super) fn paste(
        &self,
        name: &str,
        plugin: &Path,
        (inputs, ports): (&[String], &[String]),
        given: &Value,
    ) -> String {
        let mut config = self.required();
        config.extend(given.as_object().cloned().unwrap_or_default());
        let text = |text: &str| toml_of(&Value::from(text));
        // What a stranger calls it may be no name of a node.
        let is_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = name.chars().filter(is_name).take(40).collect();
        let name = if name.is_empty() { "stage" } else { &name };
        let input = match inputs {
            [] => text("NODE"),
            inputs => {
                let nodes: Vec<_> =
                    inputs.iter().map(|input| text(&input.to_uppercase())).collect();
                format!("[{}]", nodes.join(", "))
            }
        };
        let plugin = plugin.display().to_string();
        let mut out = format!(
            "[[stage]]\nname = {}\nplugin = {}\ninput = {input}\n",
            text(name),
            text(&plugin)
        );
        if !config.is_empty() {
            let members =
                config.iter().map(|(name, value)| format!("{} = {}", key(name), toml_of(value)));
            let members = members.collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "config = {{ {members} }}");
        }
        if let [_, others @ ..] = ports
            && !others.is_empty()
        {
            let others: Vec<_> = others.iter().map(|port| format!("`{name}.{port}`")).collect();
            let _ = writeln!(out, "# Something must read {}, too.", others.join(" and "));
        }
        Foreign::new(&out).whole().lines().to_string()
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a reference in a schema leads to; the first that is no `null` of a choice.
fn resolve<'s>(schema: &'s Value, property: &'s Value) -> &'s Value {
    (0..DEEPEST).fold(property, |property, _| resolve_once(schema, property))
}

fn resolve_once<'s>(schema: &'s Value, property: &'s Value) -> &'s Value {
    let choice = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| property[*key].as_array());
    let is_null = |value: &&Value| value["type"] == "null";
    let property =
        choice.and_then(|all| all.iter().find(|value| !is_null(value))).unwrap_or(property);
    let place = property["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
    place.and_then(|place| schema.pointer(place)).unwrap_or(property)
}

/// The type of a setting, in a few words.
fn kind(schema: &Value, property: &Value) -> String {
    kind_within(schema, property, DEEPEST)
}

fn kind_within(schema: &Value, property: &Value, depth: usize) -> String {
    if depth == 0 {
        return "anything".to_owned();
    }
    let resolved = resolve(schema, property);
    let texts = |values: &Vec<Value>| {
        let values: Vec<_> =
            values.iter().filter(|value| !value.is_null()).map(Value::to_string).collect();
        values.join(" or ")
    };
    if let Some(values) = resolved["enum"].as_array() {
        return texts(values);
    }
    if let Some(choices) = resolved["oneOf"].as_array() {
        let constants: Option<Vec<Value>> =
            choices.iter().map(|choice| choice.get("const").cloned()).collect();
        if let Some(constants) = constants {
            return texts(&constants);
        }
    }
    let types: Vec<&str> = match &resolved["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words: Vec<String> = (types.into_iter().filter(|kind| *kind != "null"))
        .map(|kind| match kind {
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            "boolean" => "true or false".to_owned(),
            "array" => {
                format!("list of {}", kind_within(schema, &resolved["items"], depth - 1))
            }
            "object" => "table".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    if words.is_empty() { "anything".to_owned() } else { words.join(" or ") }
}

fn meaning(property: &Value, resolved: &Value) -> String {
    let told = [property, resolved].into_iter().find_map(|of| of["description"].as_str());
    let told = told.unwrap_or_default().split_whitespace();
    let mut meaning = told.collect::<Vec<_>>().join(" ");
    if let Some(examples) = property["examples"].as_array().or(resolved["examples"].as_array()) {
        let examples: Vec<_> = examples.iter().take(3).map(Value::to_string).collect();
        let _ = write!(meaning, " Such as {}.", examples.join(", "));
    }
    meaning
}

/// A value that fits a schema, as well as can be told.
fn example(resolved: &Value, property: &Value) -> Value {
    let first = |key: &str| {
        let of = [property, resolved];
        of.into_iter().find_map(|of| of[key].as_array()?.iter().find(|v| !v.is_null()).cloned())
    };
    if let Some(value) = first("examples").or_else(|| first("enum")) {
        return value;
    }
    if let Some(value) = resolved["oneOf"][0].get("const") {
        return value.clone();
    }
    let kind = match &resolved["type"] {
        Value::Array(several) => several.first().cloned().unwrap_or_default(),
        one => one.clone(),
    };
    match kind.as_str() {
        Some("integer" | "number") => {
            // TOML has whole numbers of 64 bits with a sign.
            let least = resolved["minimum"].as_i64();
            let above = resolved["exclusiveMinimum"].as_i64().map(|above| above.saturating_add(1));
            json!(least.or(above).unwrap_or(1).max(1))
        }
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("…"),
    }
}

/// A key of TOML.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}

fn toml_of(value: &Value) -> String {
    match value {
        // On one line, with the escapes that JSON has, too.
        Value::String(_) => value.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{} = {}", key(name), toml_of(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_becomes_a_table_and_an_example() {
        let schema = json!({
            "$defs": { "Mode": { "enum": ["fast", "exact"], "description": "How to do it." } },
            "properties": {
                "limit": { "type": ["integer", "null"], "default": 7, "description": "At most so many." },
                "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
                "names": { "type": "array", "items": { "type": "string" } },
                "within": { "type": "string", "examples": ["90s"], "description": "How far." }
            },
            "required": ["within"]
        });
        let settings = Settings::of(&schema);
        let table = settings.table(60);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "SETTING  TYPE               DEFAULT   MEANING");
        assert_eq!(lines[1], "within   text               required  How far. Such as \"90s\".");
        assert!(
            table.contains("limit    whole number       7         At most so many.\n"),
            "{table}"
        );
        assert!(
            table.contains("mode     \"fast\" or \"exact\"  -         How to do it.\n"),
            "{table}"
        );
        assert!(table.contains("names    list of text"), "{table}");
        assert_eq!(
            settings.paste(
                "x",
                Path::new("x.wasm"),
                (&["left".into(), "right".into()], &["out".into(), "late".into()]),
                &json!({})
            ),
            "[[stage]]\nname = \"x\"\nplugin = \"x.wasm\"\ninput = [\"LEFT\", \"RIGHT\"]\n\
             config = { within = \"90s\" }\n# Something must read `x.late`, too.\n"
        );
    }

    /// The schema is of whoever wrote the component.
    #[test]
    fn what_a_stranger_writes_does_no_harm() {
        let endless = json!({
            "$defs": { "A": { "type": "array", "items": { "$ref": "#/$defs/A" } },
                       "B": { "$ref": "#/$defs/B" } },
            "properties": {
                "a": { "$ref": "#/$defs/A" },
                "b": { "$ref": "#/$defs/B" },
                "c\n": { "enum": [null, "a\nb"] },
                "d": { "type": "integer", "minimum": 18_446_744_073_709_551_615_u64 }
            },
            "required": ["c\n", "d"]
        });
        let settings = Settings::of(&endless);
        assert!(settings.table(80).contains("list of list of list of"));
        let pasted = settings.paste("My Stage!\n\u{1b}", Path::new("x"), (&[], &[]), &json!({}));
        assert!(pasted.contains("name = \"MyStage\""), "{pasted}");
        let parsed: toml::Table = toml::from_str(&pasted).unwrap();
        let config = &parsed["stage"][0]["config"];
        assert_eq!((config["c\n"].as_str(), config["d"].as_integer()), (Some("a\nb"), Some(1)));
        let many: Map<String, Value> = (0..1000).map(|n| (format!("s{n}"), json!({}))).collect();
        let settings = Settings::of(&json!({ "properties": many, "required": ["s999"] }));
        let table = settings.table(80);
        assert!(table.contains("s999") && table.ends_with("… and 800 more, which are not shown\n"));
    }
}

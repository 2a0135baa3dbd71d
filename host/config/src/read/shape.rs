//! The shape of a configuration: which settings there are, and of which types. It is recorded while
//! the functions that read a configuration read an empty one, so it says what they ask for.

use serde_json::{Map, Value, json};

/// The settings of a table.
#[derive(Debug, Default)]
pub(super) struct Shape {
    settings: Vec<(String, Vec<Type>)>,
    required: Vec<String>,
    /// The setting that says which others there are, and its value here.
    kind: Option<(String, String)>,
    /// How many values that has.
    kinds: usize,
    /// Which of them is read.
    pub pick: usize,
}

/// What a setting may be.
#[derive(Debug)]
pub(super) enum Type {
    Text,
    /// A text, or a list of texts.
    Texts,
    Boolean,
    Count {
        least: u64,
        most: Option<u64>,
    },
    Duration,
    Size,
    OneOf(Vec<String>),
    /// A table in one of these shapes.
    Table(Vec<Shape>),
    /// A list of such tables.
    Tables(Vec<Shape>),
    /// A table of names and texts.
    Map,
    /// A table of names, and texts or tables of this shape.
    Named(Shape),
    /// A table of anything.
    Anything,
}

impl Shape {
    /// Notes a type that a setting may have.
    pub fn note(&mut self, name: &str, kind: Type) {
        let found = self.settings.iter_mut().find(|(other, _)| other == name);
        let types = match found {
            Some((_, types)) => types,
            None => {
                self.settings.push((name.to_owned(), Vec::new()));
                &mut self.settings.last_mut().expect("it was pushed").1
            }
        };
        // A word, a duration and a size are read as texts too.
        let is_known = |known: &Type| {
            std::mem::discriminant(known) == std::mem::discriminant(&kind)
                || matches!(kind, Type::Text)
        };
        if !types.iter().any(is_known) {
            types.push(kind);
        }
    }

    pub fn require(&mut self, name: &str) {
        self.required.push(name.to_owned());
    }

    /// Notes the setting that says which others there are; returns which of its values is read.
    pub fn choose(&mut self, name: &str, words: &[&str]) -> usize {
        self.kinds = words.len();
        self.kind = Some((name.to_owned(), words[self.pick].to_owned()));
        self.require(name);
        self.pick
    }

    /// The shapes that `read` records: one for each value of the setting that says which others there
    /// are.
    pub fn all(mut read: impl FnMut(&std::cell::RefCell<Self>)) -> Vec<Self> {
        let mut shapes = Vec::new();
        loop {
            let shape = std::cell::RefCell::new(Self { pick: shapes.len(), ..Self::default() });
            read(&shape);
            let shape = shape.into_inner();
            let kinds = shape.kinds;
            shapes.push(shape);
            if shapes.len() >= kinds {
                return shapes;
            }
        }
    }

    /// As JSON Schema, draft 2020-12.
    pub fn schema(&self) -> Value {
        let mut properties = Map::new();
        if let Some((name, value)) = &self.kind {
            properties.insert(name.clone(), json!({ "const": value }));
        }
        for (name, types) in &self.settings {
            if properties.contains_key(name) {
                continue;
            }
            let mut schemas: Vec<Value> = types.iter().map(Type::schema).collect();
            let schema = match schemas.len() {
                0 => json!({}),
                1 => schemas.remove(0),
                _ => json!({ "anyOf": schemas }),
            };
            properties.insert(name.clone(), schema);
        }
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        schema
    }
}

impl Type {
    fn schema(&self) -> Value {
        // A text with a reference may stand for a number or a boolean.
        let reference = || json!({ "type": "string", "pattern": "\\$\\{" });
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Texts => json!({
                "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" } },
                ]
            }),
            Self::Boolean => json!({ "anyOf": [{ "type": "boolean" }, reference()] }),
            Self::Count { least, most } => {
                let mut count = json!({ "type": "integer", "minimum": least });
                if let Some(most) = most {
                    count["maximum"] = json!(most);
                }
                json!({ "anyOf": [count, reference()] })
            }
            Self::Duration => json!({
                "type": "string",
                "description": "a number and a unit, such as \"250ms\", \"1.5s\" or \"1h 30m\"",
                "pattern": "^[0-9.]+ ?[a-zµ]|\\$\\{",
            }),
            Self::Size => json!({
                "type": "string",
                "description": "a number and a unit, such as \"64KiB\" or \"1.5GB\"",
                "pattern": "^[0-9.]+ ?[A-Za-z]|\\$\\{",
            }),
            Self::OneOf(words) => json!({ "anyOf": [{ "enum": words }, reference()] }),
            Self::Table(shapes) => one_of(shapes),
            Self::Tables(shapes) => json!({ "type": "array", "items": one_of(shapes) }),
            Self::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Self::Named(shape) => json!({
                "type": "object",
                "additionalProperties": { "anyOf": [{ "type": "string" }, shape.schema()] },
            }),
            Self::Anything => json!({ "type": "object" }),
        }
    }
}

fn one_of(shapes: &[Shape]) -> Value {
    match shapes {
        [one] => one.schema(),
        all => {
            let schemas: Vec<_> = all.iter().map(Shape::schema).collect();
            json!({ "oneOf": schemas })
        }
    }
}

//! Parts of a record, as configurations name them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::{Field, Row, Setup};

/// A part of a record that holds bytes: in a configuration, `"value"`, `"key"`, or the name of an
/// attribute. `"attribute:value"` is the attribute that is called `value`, and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Part {
    /// The value.
    #[default]
    Value,
    /// The key.
    Key,
    /// The attribute of this name.
    Attribute(String),
}

impl TryFrom<String> for Part {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match &*name {
            "value" => Ok(Self::Value),
            "key" => Ok(Self::Key),
            "timestamp" => Err("the timestamp holds no bytes; `attribute:timestamp` is the \
                                attribute of that name"),
            "" | "attribute:" => Err("write `value`, `key`, or the name of an attribute"),
            _ => Ok(Self::Attribute(without_prefix(&name).to_owned())),
        }
    }
}

/// The name of an attribute without the prefix that tells it from another part.
pub(crate) fn without_prefix(name: &str) -> &str {
    name.strip_prefix("attribute:").unwrap_or(name)
}

impl JsonSchema for Part {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["value", "key", "level"] })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value => f.write_str("value"),
            Self::Key => f.write_str("key"),
            Self::Attribute(name) => f.write_str(name),
        }
    }
}

impl Setup {
    /// Reads this part of the records.
    pub fn part(&mut self, part: &Part) -> Field {
        match part {
            Part::Value => self.value(),
            Part::Key => self.key(),
            Part::Attribute(name) => self.attribute(name),
        }
    }
}

impl Row<'_> {
    /// Sets this part.
    pub fn part(self, part: &Part, bytes: impl AsRef<[u8]>) -> Self {
        match part {
            Part::Value => self.value(bytes),
            Part::Key => self.key(bytes),
            Part::Attribute(name) => self.attribute(name, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn a_part_is_named_as_in_a_template() {
        let parse = |text: &str| serde_json::from_value::<Part>(text.into());
        assert_eq!(parse("value").unwrap(), Part::Value);
        assert_eq!(parse("key").unwrap(), Part::Key);
        assert_eq!(parse("level").unwrap(), Part::Attribute("level".into()));
        assert_eq!(parse("attribute:key").unwrap(), Part::Attribute("key".into()));
        assert!(parse("timestamp").unwrap_err().to_string().contains("attribute:timestamp"));
        assert!(parse("").is_err());
    }
}

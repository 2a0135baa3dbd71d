use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::serde_json::Value;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
use serde_json_path::JsonPath as Path;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// Attributes, and the JSONPath (RFC 9535) of what each takes: the first that is found.
    /// A text is taken as it is, anything else as JSON. What is not found is left out.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// The JSONPath of the key.
    key: Option<String>,
    /// The JSONPath of the value; without it, the value stays what it is.
    value: Option<String>,
    /// Reject a record in which one of them finds nothing.
    #[serde(default)]
    required: bool,
}

pub struct JsonPath {
    input: Field,
    attributes: Vec<(String, Path)>,
    key: Option<Path>,
    value: Option<Path>,
    required: bool,
}

impl Stage for JsonPath {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        if config.attributes.contains_key("") {
            return Err("an attribute has no name".into());
        }
        Ok(Self {
            input: setup.value(),
            attributes: (config.attributes.iter())
                .map(|(name, path)| Ok((name.clone(), parse(path)?)))
                .collect::<Result<_, String>>()?,
            key: config.key.as_deref().map(parse).transpose()?,
            value: config.value.as_deref().map(parse).transpose()?,
            required: config.required,
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let json: Value =
            pipehost_plugin::serde_json::from_slice(record.get(self.input).unwrap_or_default())
                .map_err(|error| Rejection::new(format!("not JSON: {error}")))?;
        let find = |path: &Path| match path.query(&json).first() {
            None | Some(Value::Null) if self.required => {
                Err(Rejection::new(format!("{path} finds nothing")))
            }
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Ok(Some(other.to_string())),
        };
        let mut row = out.keep();
        if let Some(key) = self.key.as_ref().map(find).transpose()?.flatten() {
            row = row.key(key);
        }
        if let Some(value) = self.value.as_ref().map(find).transpose()?.flatten() {
            row = row.value(value);
        }
        for (name, path) in &self.attributes {
            if let Some(found) = find(path)? {
                row = row.attribute(name, found);
            }
        }
        Ok(())
    }
}

fn parse(path: &str) -> Result<Path, String> {
    Path::parse(path).map_err(|error| format!("{path:?} is not a JSONPath: {error}"))
}

pipehost_plugin::export!(JsonPath);

#[cfg(test)]
mod tests {
    use super::JsonPath;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    const TEXT: &str = r#"{"user":{"id":7,"tags":["a","b"]},"items":[{"n":1},{"n":5}]}"#;

    #[test]
    fn what_is_found_becomes_attributes_key_and_value() {
        let config = json!({
            "attributes": { "last": "$.user.tags[-1]", "many": "$.items[?@.n > 2]", "none": "$.x" },
            "key": "$.user.id",
            "value": "$.user.tags",
        });
        let out = run::<JsonPath>(config, [record(TEXT)]);
        let expected = record(r#"["a","b"]"#);
        let expected = expected.key("7").attribute("last", "b").attribute("many", r#"{"n":5}"#);
        assert_eq!(out.port("out"), [expected]);
    }

    #[test]
    fn what_is_required_and_not_there_is_rejected() {
        let config = json!({ "attributes": { "a": "$.a" }, "required": true });
        let out = run::<JsonPath>(config, [record("{}"), record("no"), record(r#"{"a":1}"#)]);
        assert_eq!(out.rejected[0], (0, "$.a finds nothing".to_owned()));
        assert!(out.rejected[1].1.starts_with("not JSON: "));
        assert_eq!(out.port("out").len(), 1);
    }

    #[test]
    fn a_path_that_is_none_is_a_mistake() {
        assert!(Opened::<JsonPath>::open(r#"{ "key": "user.id" }"#).is_err());
    }

    /// The cases of <https://github.com/jsonpath-standard/jsonpath-compliance-test-suite>.
    const SUITE: &str = include_str!("../../../tests/tables/jsonpath.json");

    #[derive(pipehost_plugin::serde::Deserialize)]
    #[serde(crate = "pipehost_plugin::serde")]
    struct Case {
        name: String,
        selector: String,
        #[serde(default)]
        document: Value,
        result: Option<Vec<Value>>,
        results: Option<Vec<Vec<Value>>>,
        #[serde(default)]
        invalid_selector: bool,
    }

    #[test]
    fn the_compliance_suite_passes() {
        let cases: Vec<Case> = pipehost_plugin::serde_json::from_str(SUITE).unwrap();
        assert_eq!(cases.len(), 703);
        let mut wrong = Vec::new();
        for case in cases {
            let right = match super::parse(&case.selector) {
                Err(_) => case.invalid_selector,
                Ok(path) => {
                    let found: Vec<_> =
                        path.query(&case.document).iter().cloned().cloned().collect();
                    let wanted = case.result.into_iter().chain(case.results.into_iter().flatten());
                    !case.invalid_selector && wanted.into_iter().any(|wanted| wanted == found)
                }
            };
            if !right {
                wrong.push(case.name);
            }
        }
        assert_eq!(wrong, [] as [&str; 0]);
    }
}

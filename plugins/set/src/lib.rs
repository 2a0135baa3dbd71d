use std::collections::{BTreeMap, BTreeSet};

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage, Template};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("examples" = [{ "value": "{level}: {value}" }]))]
pub struct Config {
    /// A template of the value, such as `"{level}: {value}"`.
    value: Option<String>,
    /// A template of the key.
    key: Option<String>,
    /// Attributes, and a template of each.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Attributes, and the new name of each. A record without one of them is left as it is.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// Attributes that are removed.
    #[serde(default)]
    remove: BTreeSet<String>,
}

/// Templates see the record as it came: what is renamed or removed can be used in them.
pub struct Set {
    templates: Vec<(Part, Template)>,
    renamed: Vec<(String, Field, String)>,
    removed: Vec<String>,
    text: Vec<u8>,
}

impl Stage for Set {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let Config { value, key, attributes, rename, remove } = config;
        let parts = [(Part::Value, value), (Part::Key, key)];
        let parts = parts.into_iter().filter_map(|(part, text)| Some((part, text?)));
        let attributes = attributes.into_iter().map(|(name, text)| (Part::Attribute(name), text));
        let mut templates = Vec::new();
        for (part, text) in parts.chain(attributes) {
            let template = Template::open(&text, setup)
                .map_err(|why| format!("the template of {part}: {}", why.message))?;
            templates.push((part, template));
        }
        let mut made = BTreeSet::new();
        let set = templates.iter().filter_map(|(part, _)| match part {
            Part::Attribute(name) => Some(name),
            Part::Value | Part::Key => None,
        });
        for name in
            set.clone().chain(rename.iter().flat_map(|(old, new)| [old, new])).chain(&remove)
        {
            if let Some(name) = name.strip_prefix("attribute:") {
                return Err(
                    format!("every name here is one of an attribute: write `{name}`").into()
                );
            }
        }
        for name in set.chain(rename.values()) {
            if name.is_empty() {
                return Err("an attribute needs a name".into());
            }
            if !made.insert(name) {
                return Err(format!("the attribute `{name}` would be made twice").into());
            }
            if remove.contains(name) {
                return Err(format!("the attribute `{name}` would be made and removed").into());
            }
        }
        if let Some(name) = rename.keys().find(|name| remove.contains(*name)) {
            return Err(format!("the attribute `{name}` would be renamed and removed").into());
        }
        if templates.is_empty() && rename.is_empty() && remove.is_empty() {
            return Err(
                "nothing is set: give `value`, `key`, `attributes`, `rename` or `remove`".into()
            );
        }
        let renamed = (rename.iter())
            .filter(|(old, new)| old != new)
            .map(|(old, new)| (old.clone(), setup.attribute(old), new.clone()))
            .collect();
        let removed = remove.into_iter().collect();
        Ok(Self { templates, renamed, removed, text: Vec::new() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut row = out.keep();
        for name in &self.removed {
            row = row.remove_attribute(name);
        }
        // All old names go before a new one comes: two attributes may change places.
        for (old, field, _) in &self.renamed {
            if record.get(*field).is_some() {
                row = row.remove_attribute(old);
            }
        }
        for (_, field, new) in &self.renamed {
            if let Some(bytes) = record.get(*field) {
                row = row.attribute(new, bytes);
            }
        }
        for (part, template) in &self.templates {
            self.text.clear();
            template.render(record, &mut self.text);
            row = row.part(part, &self.text);
        }
        Ok(())
    }
}

pipehost_plugin::export!(Set);

#[cfg(test)]
mod tests {
    use super::Set;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn templates_see_the_record_as_it_came() {
        let config = json!({
            "value": "{key}={value}",
            "key": "{host}/{key}",
            "attributes": { "at": "{timestamp}", "host": "<{host}>" },
        });
        let given = record("v").key("k").timestamp(0).attribute("host", "h");
        let expected = record("k=v")
            .key("h/k")
            .timestamp(0)
            .attribute("at", "1970-01-01T00:00:00Z")
            .attribute("host", "<h>");
        let without = record("=").key("/").attribute("at", "").attribute("host", "<>");
        assert_eq!(run::<Set>(config, [given, record("")]).port("out"), [expected, without]);
    }

    #[test]
    fn attributes_are_renamed_and_removed() {
        let config = json!({ "rename": { "a": "b", "b": "a" }, "remove": ["x"] });
        let given = record("v").attribute("a", "1").attribute("b", "2").attribute("x", "3");
        let one = record("v").attribute("a", "1").attribute("y", "4");
        let out = run::<Set>(config, [given, one]);
        let swapped = record("v").attribute("a", "2").attribute("b", "1");
        let moved = record("v").attribute("b", "1").attribute("y", "4");
        assert_eq!(out.port("out"), [swapped, moved]);
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told = |config: Value, part: &str| {
            let refused = Opened::<Set>::open(&config.to_string()).err().unwrap();
            assert!(refused.message.contains(part), "{}", refused.message);
        };
        told(json!({}), "nothing is set");
        told(json!({ "value": "{a" }), "the template of value");
        told(json!({ "attributes": { "a": "{}" } }), "the template of a");
        told(json!({ "attributes": { "a": "" }, "rename": { "b": "a" } }), "made twice");
        told(json!({ "attributes": { "a": "" }, "remove": ["a"] }), "made and removed");
        told(json!({ "rename": { "a": "b" }, "remove": ["a"] }), "renamed and removed");
        told(json!({ "rename": { "a": "" } }), "needs a name");
        told(json!({ "attributes": { "attribute:value": "" } }), "write `value`");
        told(json!({ "value": "{ key }" }), "no spaces");
    }
}

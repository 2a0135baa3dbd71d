use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// Names and values to add. An attribute that a record already has is replaced.
    attributes: BTreeMap<String, String>,
}

pub struct AddContext {
    attributes: BTreeMap<String, String>,
}

impl Stage for AddContext {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        if config.attributes.contains_key("") {
            return Err("an attribute needs a name".into());
        }
        Ok(Self { attributes: config.attributes })
    }

    #[inline(always)]
    fn process(&mut self, _record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut row = out.keep();
        for (name, value) in &self.attributes {
            row = row.attribute(name, value);
        }
        Ok(())
    }
}

pipehost_plugin::export!(AddContext);

#[cfg(test)]
mod tests {
    use super::AddContext;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn attributes_are_added_and_replaced() {
        let config = json!({ "attributes": { "host": "web-1", "region": "eu" } });
        let out = run::<AddContext>(config, [record("x").attribute("host", "?").key("k")]);
        let expected = record("x").key("k").attribute("host", "web-1").attribute("region", "eu");
        assert_eq!(out.port("out"), [expected]);
    }
}

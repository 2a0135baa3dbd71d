use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// What to put in front of each value, as it is: no space is added.
    prefix: String,
}

pub struct AddPrefix {
    value: Field,
    prefix: String,
}

impl Stage for AddPrefix {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { value: setup.value(), prefix: config.prefix })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let value = record.get(self.value).unwrap_or_default();
        out.keep().value_with(|to| {
            to.extend_from_slice(self.prefix.as_bytes());
            to.extend_from_slice(value);
        });
        Ok(())
    }
}

pipehost_plugin::export!(AddPrefix);

#[cfg(test)]
mod tests {
    use super::AddPrefix;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{TestRecord, record, run};

    #[test]
    fn the_prefix_comes_first() {
        let config = json!({ "prefix": "PROCESSED-" });
        let out = run::<AddPrefix>(config, [record("DATA-1"), TestRecord::default()]);
        assert_eq!(out.port("out"), [record("PROCESSED-DATA-1"), record("PROCESSED-")]);
    }
}

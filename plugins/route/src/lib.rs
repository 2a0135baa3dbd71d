use std::collections::{BTreeMap, HashMap};

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Port, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// Routes by the attribute of this name; by the key if left out.
    attribute: Option<String>,
    /// Ports, and for each the texts that lead to it. The rest goes to the default
    /// port, which is called `unmatched`.
    routes: BTreeMap<String, Vec<String>>,
}

pub struct Route {
    field: Field,
    ports: HashMap<Vec<u8>, Port>,
}

impl Stage for Route {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        setup.rename_default_port("unmatched");
        let mut ports = HashMap::new();
        for (name, texts) in config.routes {
            let port = setup.port(&name);
            for text in texts {
                if ports.insert(text.clone().into_bytes(), port).is_some() {
                    return Err(format!("{text:?} leads to two ports, or twice to `{name}`").into());
                }
            }
        }
        let field = match config.attribute {
            Some(name) => setup.attribute(&name),
            None => setup.key(),
        };
        Ok(Self { field, ports })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        match record.get(self.field).and_then(|bytes| self.ports.get(bytes)) {
            Some(&port) => out.send(port),
            None => out.keep(),
        };
        Ok(())
    }
}

pipehost_plugin::export!(Route);

#[cfg(test)]
mod tests {
    use super::Route;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn by_an_attribute() {
        let config = json!({
            "attribute": "level",
            "routes": { "bad": ["ERROR", "CRITICAL"], "good": ["INFO"] },
        });
        let levels = ["ERROR", "INFO", "DEBUG", "CRITICAL"];
        let out = run::<Route>(config, levels.map(|level| record(level).attribute("level", level)));
        let expected = |level| record(level).attribute("level", level);
        assert_eq!(out.port("bad"), [expected("ERROR"), expected("CRITICAL")]);
        assert_eq!(out.port("good"), [expected("INFO")]);
        assert_eq!(out.port("unmatched"), [expected("DEBUG")]);
    }

    #[test]
    fn by_the_key() {
        let out =
            run::<Route>(json!({ "routes": { "a": ["1"] } }), [record("x").key("1"), record("y")]);
        assert_eq!(out.port("a"), [record("x").key("1")]);
        assert_eq!(out.port("unmatched"), [record("y")]);
    }

    #[test]
    fn a_text_leads_to_one_port() {
        let config = json!({ "routes": { "a": ["1"], "b": ["1"] } }).to_string();
        assert!(
            Opened::<Route>::open(&config).err().unwrap().message.contains("leads to two ports")
        );
    }
}

//! Shouts the lines that have a word in them.

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

/// What a pipeline may configure. Its JSON Schema is made of this.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// Lines with this word are changed.
    #[schemars(length(min = 1))]
    word: String,
}

pub struct MyStage {
    value: Field,
    word: String,
}

impl Stage for MyStage {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { value: setup.value(), word: config.word })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = std::str::from_utf8(record.get(self.value).ok_or("it has no value")?)?;
        if line.contains(&self.word) {
            out.keep().value(line.to_uppercase());
        } else {
            out.keep();
        }
        Ok(())
    }
}

pipehost_plugin::export!(MyStage);

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn lines_with_the_word_are_shouted() {
        let out = run::<MyStage>(json!({ "word": "error" }), [record("an error"), record("fine")]);
        assert_eq!(out.port("out"), [record("AN ERROR"), record("fine")]);
    }
}

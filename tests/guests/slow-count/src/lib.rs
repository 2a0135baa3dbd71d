//! Numbers the records of each key, slowly, and says of itself what it is told to: one lane is not
//! enough for it.

use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Record, Rejection, Save, Saved, Setup, Stage,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    keeps: Keeps,
    /// Steps that it takes for each record.
    steps: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Keeps {
    Anything,
    Nothing,
    Value,
}

pub struct SlowCount {
    value: Field,
    steps: u64,
    counts: BTreeMap<Vec<u8>, u64>,
}

impl Stage for SlowCount {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let value = setup.value();
        match config.keeps {
            Keeps::Anything => {}
            Keeps::Nothing => setup.keeps_nothing(),
            Keeps::Value => setup.keeps_by_key(value),
        }
        Ok(Self { value, steps: config.steps, counts: BTreeMap::new() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let key = record.get(self.value).unwrap_or_default();
        let count = self.counts.entry(key.to_vec()).or_default();
        *count += 1;
        for step in 0..self.steps {
            std::hint::black_box(step);
        }
        let numbered = [key, b" ", count.to_string().as_bytes()].concat();
        out.keep().value(&numbered);
        Ok(())
    }
}

impl Checkpoint for SlowCount {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put_by_key(self.counts.iter().map(|(key, count)| (&key[..], count)))
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.counts = saved.by_key()?.into_iter().collect();
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["steps"])
    }
}

pipehost_plugin::export!(SlowCount, checkpoint);

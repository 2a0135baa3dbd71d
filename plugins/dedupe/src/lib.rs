use std::collections::{HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::rc::Rc;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Record, Rejection, Save, Saved, Setup, Stage,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// What makes records the same: this attribute, or without it their key. A record
    /// that has none is never a duplicate.
    attribute: Option<String>,
    /// How many different keys are remembered: a record is dropped if its key is among
    /// the last so many.
    #[serde(default = "keys")]
    keys: NonZeroUsize,
    /// Bytes that these keys may take; beyond, the oldest are forgotten sooner.
    #[serde(default = "bytes")]
    bytes: usize,
}

fn keys() -> NonZeroUsize {
    NonZeroUsize::new(100_000).expect("not zero")
}

fn bytes() -> usize {
    16 << 20
}

pub struct Dedupe {
    key: Field,
    keys: usize,
    bytes: usize,
    seen: HashSet<Rc<[u8]>>,
    /// Oldest first.
    order: VecDeque<Rc<[u8]>>,
    held: usize,
}

impl Dedupe {
    /// Whether the key is new, from now on remembered.
    fn is_new(&mut self, key: &[u8]) -> bool {
        if self.seen.contains(key) {
            return false;
        }
        let key: Rc<[u8]> = key.into();
        self.held += key.len();
        self.seen.insert(key.clone());
        self.order.push_back(key);
        while self.order.len() > self.keys || (self.held > self.bytes && self.order.len() > 1) {
            let oldest = self.order.pop_front().expect("there is more than one");
            self.held -= oldest.len();
            self.seen.remove(&oldest);
        }
        true
    }
}

impl Stage for Dedupe {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self {
            key: setup.attribute_or_key(config.attribute.as_deref()),
            keys: config.keys.get(),
            bytes: config.bytes,
            seen: HashSet::new(),
            order: VecDeque::new(),
            held: 0,
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        if record.get(self.key).is_none_or(|key| self.is_new(key)) {
            out.keep();
        }
        Ok(())
    }
}

impl Checkpoint for Dedupe {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        let keys: Vec<&[u8]> = self.order.iter().map(|key| &**key).collect();
        state.put(&keys)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        for key in saved.get::<Vec<Vec<u8>>>()? {
            self.is_new(&key);
        }
        Ok(())
    }
}

pipehost_plugin::export!(Dedupe, checkpoint);

#[cfg(test)]
mod tests {
    use super::Dedupe;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, TestRecord, record, run};

    fn keyed(keys: &str) -> Vec<TestRecord> {
        keys.chars().map(|key| record("x").key(key.to_string())).collect()
    }

    #[test]
    fn a_key_among_the_last_so_many_is_dropped_and_an_older_one_is_not() {
        let out = run::<Dedupe>(json!({ "keys": 2 }), keyed("abacab"));
        assert_eq!(out.port("out"), keyed("abcab"));
    }

    #[test]
    fn bytes_bound_what_is_remembered() {
        let out = run::<Dedupe>(json!({ "bytes": 1 }), keyed("aaba"));
        assert_eq!(out.port("out"), keyed("aba"));
    }

    #[test]
    fn a_record_without_the_key_goes_on() {
        let records = [record("x"), record("x"), record("x").attribute("id", "1")];
        let out = run::<Dedupe>(json!({ "attribute": "id" }), records.clone());
        assert_eq!(out.port("out"), records);
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let mut stage = Driven::<Dedupe>::open(json!({}));
        stage.process(keyed("ab"));
        let out = stage.restarted(json!({})).process(keyed("bac"));
        assert_eq!(out.port("out"), keyed("c"));
    }
}

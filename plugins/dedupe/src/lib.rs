use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::rc::Rc;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Period, Record, Rejection, Save, Saved, Setup, Stage, Time, now,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
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
    /// A record is dropped only if the one that went on with its key is at most so old; without
    /// it, however old that is.
    within: Option<Period>,
    /// What time it is when a record comes.
    #[serde(default)]
    clock: Clock,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Clock {
    /// That of the machine.
    #[default]
    Machine,
    /// The timestamp of the record.
    Timestamp,
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
    /// Nanoseconds.
    within: Option<u64>,
    time: Option<Time>,
    /// When the batch came.
    now: i64,
    /// When a record with this key last went on.
    seen: HashMap<Rc<[u8]>, i64>,
    /// Oldest first. A key is there again each time that it goes on.
    order: VecDeque<(Rc<[u8]>, i64)>,
    held: usize,
}

impl Dedupe {
    /// Whether the key is new, from now on remembered.
    fn is_new(&mut self, key: &[u8], now: i64) -> bool {
        if let Some(seen) = self.seen.get(key)
            && self.within.is_none_or(|within| seen.abs_diff(now) <= within)
        {
            return false;
        }
        let key: Rc<[u8]> = key.into();
        self.held += key.len();
        self.seen.insert(key.clone(), now);
        self.order.push_back((key, now));
        while self.order.len() > self.keys || (self.held > self.bytes && self.order.len() > 1) {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        let Some((oldest, time)) = self.order.pop_front() else { return };
        self.held -= oldest.len();
        // Unless it went on again since.
        if self.seen.get(&oldest) == Some(&time) {
            self.seen.remove(&oldest);
        }
    }

    /// Forgets what is too old to make a record a duplicate.
    fn forget_before(&mut self, now: i64) {
        let Some(within) = self.within else { return };
        while (self.order.front())
            .is_some_and(|(_, time)| *time < now && time.abs_diff(now) > within)
        {
            self.forget_oldest();
        }
    }
}

impl Stage for Dedupe {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self {
            key: setup.attribute_or_key(config.attribute.as_deref()),
            keys: config.keys.get(),
            bytes: config.bytes,
            within: config.within.map(|within| within.0.unsigned_abs()),
            time: (config.clock == Clock::Timestamp).then(|| setup.timestamp()),
            now: 0,
            seen: HashMap::new(),
            order: VecDeque::new(),
            held: 0,
        })
    }

    fn begin_batch(&mut self) {
        if self.within.is_some() && self.time.is_none() {
            self.now = now();
            self.forget_before(self.now);
        }
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let now = match self.time {
            Some(time) => record.timestamp(time).ok_or("the record has no timestamp")?,
            None => self.now,
        };
        if record.get(self.key).is_none_or(|key| self.is_new(key, now)) {
            out.keep();
        }
        Ok(())
    }
}

impl Checkpoint for Dedupe {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        let keys: Vec<(&[u8], i64)> =
            self.order.iter().map(|(key, time)| (&**key, *time)).collect();
        state.put(&keys)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        for (key, time) in saved.get::<Vec<(Vec<u8>, i64)>>()? {
            self.is_new(&key, time);
        }
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["keys", "bytes", "within"])
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
    fn by_time_a_key_is_forgotten_after_it_went_on() {
        let at = |second: i64| record("x").key("a").timestamp(second * 1_000_000_000);
        let config = json!({ "within": "10s", "clock": "timestamp" });
        let mut stage = Driven::<Dedupe>::open(config.clone());
        let out = stage.process([0, 5, 10, 11, 4].map(at));
        assert_eq!(out.port("out"), [at(0), at(11)]);
        let out = stage.restarted(config.clone()).process([12, 21, 22].map(at));
        assert_eq!(out.port("out"), [at(22)]);
        let out = run::<Dedupe>(config, [record("x").key("a")]);
        assert_eq!(out.rejected, [(0, "the record has no timestamp".to_owned())]);
        // By the clock of the machine.
        let out = run::<Dedupe>(json!({ "within": "1h" }), keyed("aba"));
        assert_eq!(out.port("out"), keyed("ab"));
        let out =
            run::<Dedupe>(json!({ "within": "0s", "clock": "timestamp" }), [at(1), at(1), at(2)]);
        assert_eq!(out.port("out"), [at(1), at(2)]);
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let mut stage = Driven::<Dedupe>::open(json!({}));
        stage.process(keyed("ab"));
        let mut stage = stage.restarted(json!({}));
        let out = stage.process(keyed("bac"));
        assert_eq!(out.port("out"), keyed("c"));
        // With fewer keys, the last ones stay.
        let out = stage.restarted(json!({ "keys": 2 })).process(keyed("cba"));
        assert_eq!(out.port("out"), keyed("a"));
    }
}

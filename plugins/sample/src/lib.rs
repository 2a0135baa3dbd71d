use std::hash::{DefaultHasher, Hasher as _};
use std::num::NonZeroU64;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Part, Record, Rejection, Save, Saved, Setup, Stage,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// One of so many is kept.
    one_in: NonZeroU64,
    /// Keeps all records of one of so many values of this part (`value`, `key`, or an
    /// attribute), and drops all others. Without it, every so-manyth record is kept. A record
    /// without the part is rejected.
    by: Option<Part>,
}

/// By a part, equal values are kept or dropped together, in every run.
pub struct Sample {
    one_in: u64,
    by: Option<Field>,
    /// Records since the last one that was kept.
    count: u64,
}

impl Stage for Sample {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let by = config.by.map(|part| setup.part(&part));
        if by.is_some() {
            setup.keeps_nothing();
        }
        Ok(Self { one_in: config.one_in.get(), by, count: 0 })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let is_kept = match self.by {
            Some(field) => {
                let mut hasher = DefaultHasher::new(); // Its keys are fixed.
                let value = record.get(field).ok_or("it lacks the part that `by` names")?;
                hasher.write(value);
                hasher.finish().is_multiple_of(self.one_in)
            }
            None => {
                self.count += 1;
                self.count == self.one_in
            }
        };
        if is_kept {
            self.count = 0;
            out.keep();
        }
        Ok(())
    }
}

impl Checkpoint for Sample {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.count)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.count = saved.get::<u64>()?.min(self.one_in - 1);
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["one_in"])
    }
}

pipehost_plugin::export!(Sample, checkpoint);

#[cfg(test)]
mod tests {
    use super::Sample;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, TestRecord, record, run};

    fn numbered(numbers: std::ops::Range<u32>) -> Vec<TestRecord> {
        numbers.map(|n| record(n.to_string())).collect()
    }

    #[test]
    fn every_so_manyth_record_is_kept_across_a_restart() {
        let mut stage = Driven::<Sample>::open(json!({ "one_in": 3 }));
        assert_eq!(stage.process(numbered(1..5)).port("out"), numbered(3..4));
        let mut stage = stage.restarted(json!({ "one_in": 3 }));
        assert_eq!(stage.process(numbered(5..8)).port("out"), numbered(6..7));
        let mut stage = stage.restarted(json!({ "one_in": 1 }));
        assert_eq!(stage.process(numbered(0..3)).port("out"), numbered(0..3));
    }

    #[test]
    fn all_records_of_a_key_are_kept_or_none() {
        let config = json!({ "one_in": 4, "by": "key" });
        let records = || (0..4000).map(|n| record(n.to_string()).key((n % 1000).to_string()));
        let out = run::<Sample>(config.clone(), records());
        let mut kept: Vec<_> = out.port("out").iter().map(|record| record.key.clone()).collect();
        kept.sort();
        let rows = kept.len();
        kept.dedup();
        assert_eq!(rows, kept.len() * 4, "each of its four records");
        // A quarter of a thousand, and four standard deviations.
        assert!((195..=305).contains(&kept.len()), "{}", kept.len());
        assert_eq!(run::<Sample>(config, records()).port("out"), out.port("out"));
    }
}

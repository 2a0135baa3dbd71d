use std::collections::HashMap;
use std::num::NonZeroU32;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Part, Period, Port, Record, Rejection, Save, Saved, Setup,
    Stage, Time, now,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// So many records may go on in each `per`, at once or one by one.
    records: NonZeroU32,
    /// The time in which so many records may go on.
    per: Period,
    /// Counts each value of this part by itself: `key`, `value`, or an attribute. Without it, all
    /// records count together.
    by: Option<Part>,
    /// What time it is when a record comes.
    #[serde(default)]
    clock: Clock,
    /// What happens to a record that is too much.
    #[serde(default)]
    excess: Excess,
    /// How many different values are counted at a time in each lane: a record with one more is
    /// rejected.
    #[serde(default = "max_keys")]
    max_keys: usize,
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

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Excess {
    /// It is dropped.
    #[default]
    Drop,
    /// It goes to the port `excess`.
    Port,
}

fn max_keys() -> usize {
    100_000
}

/// The generic cell rate algorithm (ITU-T I.371): each value has a time at which it will have used
/// nothing up. Each record moves this time on by its share of the period.
pub struct Throttle {
    by: Option<Field>,
    time: Option<Time>,
    excess: Option<Port>,
    /// Nanoseconds of the period, and of each record in it.
    period: i64,
    share: i64,
    max_keys: usize,
    /// When the batch came.
    now: i64,
    /// For each value, when it will have used nothing up.
    free_at: HashMap<Vec<u8>, i64>,
    /// Before this time, no value is forgotten.
    forget_at: i64,
}

impl Throttle {
    /// Whether a record with this value may go on.
    fn admits(&mut self, value: &[u8], now: i64) -> Result<bool, Rejection> {
        if !self.free_at.contains_key(value) {
            if self.free_at.len() >= self.max_keys && now >= self.forget_at {
                self.free_at.retain(|_, free_at| *free_at > now);
                // Looking through all of them again is in vain until one is free.
                self.forget_at = self.free_at.values().copied().min().unwrap_or(i64::MIN);
            }
            if self.free_at.len() >= self.max_keys {
                return Err(Rejection::new(format!(
                    "max_keys, {}, values are counted",
                    self.max_keys
                )));
            }
            self.free_at.insert(value.to_vec(), now);
        }
        let free_at = self.free_at.get_mut(value).expect("it was put there");
        // It lies further ahead only after a clock jumped back, or of a longer period.
        *free_at = (*free_at).min(now.saturating_add(self.period));
        self.forget_at = self.forget_at.min(*free_at);
        let next = (*free_at).max(now).saturating_add(self.share);
        let admits = next.saturating_sub(now) <= self.period;
        if admits {
            *free_at = next;
        }
        Ok(admits)
    }
}

impl Stage for Throttle {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let share = config.per.0 / i64::from(config.records.get());
        if share == 0 {
            return Err(
                "`per` is too short for so many `records`: at most one in a nanosecond".into()
            );
        }
        let by = config.by.map(|part| setup.part(&part));
        if let Some(by) = by {
            setup.keeps_by_key(by);
        }
        Ok(Self {
            by,
            time: (config.clock == Clock::Timestamp).then(|| setup.timestamp()),
            excess: (config.excess == Excess::Port).then(|| setup.port("excess")),
            period: share * i64::from(config.records.get()),
            share,
            max_keys: config.max_keys,
            now: 0,
            free_at: HashMap::new(),
            forget_at: i64::MIN,
        })
    }

    fn begin_batch(&mut self) {
        if self.time.is_none() {
            self.now = now();
        }
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let now = match self.time {
            Some(time) => record.timestamp(time).ok_or("the record has no timestamp")?,
            None => self.now,
        };
        let value = self.by.and_then(|by| record.get(by)).unwrap_or_default();
        if self.admits(value, now)? {
            out.keep();
        } else if let Some(port) = self.excess {
            out.send(port);
        }
        Ok(())
    }
}

impl Checkpoint for Throttle {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        let entries = self.free_at.iter().map(|(value, free_at)| (&value[..], free_at));
        if self.by.is_some() {
            state.put_by_key(entries)
        } else {
            state.put(&entries.map(|(_, free_at)| *free_at).next())
        }
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        if self.by.is_some() {
            self.free_at = saved.by_key::<i64>()?.into_iter().collect();
        } else if let Some(free_at) = saved.get::<Option<i64>>()? {
            self.free_at.insert(Vec::new(), free_at);
        }
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["records", "per", "excess", "max_keys"])
    }
}

pipehost_plugin::export!(Throttle, checkpoint);

#[cfg(test)]
mod tests {
    use super::Throttle;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{Driven, TestRecord, record, run};

    const SECOND: i64 = 1_000_000_000;

    fn at(tenths: i64, key: &str) -> TestRecord {
        record(tenths.to_string()).key(key).timestamp(tenths * SECOND / 10)
    }

    fn config(more: Value) -> Value {
        let mut config = json!({ "records": 2, "per": "1s", "clock": "timestamp" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    #[test]
    fn so_many_go_on_at_once_and_then_one_in_each_share_of_the_time() {
        let records = [0, 1, 2, 5, 6, 10, 40, 40, 40].map(|tenths| at(tenths, "a"));
        let out = run::<Throttle>(config(json!({})), records);
        assert_eq!(out.port("out"), [0, 1, 5, 10, 40, 40].map(|tenths| at(tenths, "a")));
    }

    #[test]
    fn each_value_has_its_own_and_what_is_too_much_may_go_to_a_port() {
        let records = [at(0, "a"), at(0, "a"), at(0, "b"), at(0, "a"), at(0, "b"), at(0, "b")];
        let out = run::<Throttle>(config(json!({ "by": "key", "excess": "port" })), records);
        assert_eq!(out.port("out"), [at(0, "a"), at(0, "a"), at(0, "b"), at(0, "b")]);
        assert_eq!(out.port("excess"), [at(0, "a"), at(0, "b")]);
    }

    #[test]
    fn a_restart_gives_nobody_more() {
        for by in [json!({}), json!({ "by": "key" })] {
            let mut stage = Driven::<Throttle>::open(config(by.clone()));
            assert_eq!(stage.process([at(0, "a"), at(0, "a")]).port("out").len(), 2);
            let mut stage = stage.restarted(config(by));
            assert_eq!(stage.process([at(1, "a"), at(10, "a")]).port("out"), [at(10, "a")]);
        }
    }

    #[test]
    fn a_wrong_clock_and_a_longer_period_close_nothing_for_good() {
        let year_2200 = record("far").key("a").timestamp(7_258_000_000 * SECOND);
        let records: Vec<_> = (0..5).map(|minute| at(minute * 600, "a")).collect();
        let given = std::iter::once(year_2200.clone()).chain(records.clone());
        let config = |records: u32, per: &str| json!({ "records": records, "per": per, "by": "key", "clock": "timestamp" });
        let out = run::<Throttle>(config(1, "1s"), given);
        // The first after it is too much at most.
        assert_eq!(out.port("out")[0], year_2200);
        assert_eq!(out.port("out")[1..], records[1..]);
        let mut stage = Driven::<Throttle>::open(config(1000, "10h"));
        assert_eq!(stage.process((0..1400).map(|_| at(0, "a"))).port("out").len(), 1000);
        let mut stage = stage.restarted(config(2, "1s"));
        assert_eq!(stage.process([at(0, "a"), at(10, "a")]).port("out"), [at(10, "a")]);
    }

    #[test]
    fn values_are_forgotten_when_they_have_used_nothing_up() {
        let config = config(json!({ "by": "key", "max_keys": 2 }));
        let records =
            [at(0, "a"), at(0, "b"), at(0, "c"), at(4, "d"), at(5, "e"), at(5, "f"), at(5, "g")];
        let out = run::<Throttle>(config, records);
        assert_eq!(out.port("out"), [at(0, "a"), at(0, "b"), at(5, "e"), at(5, "f")]);
        let rejected: Vec<_> = out.rejected.iter().map(|(row, _)| *row).collect();
        assert_eq!(rejected, [2, 3, 6]);
        assert_eq!(out.rejected[0].1, "max_keys, 2, values are counted");
    }

    #[test]
    fn the_clock_of_the_machine_counts_unless_told_otherwise() {
        let given = json!({ "records": 3, "per": "1h" });
        let out = run::<Throttle>(given, (0..9).map(|n| at(n * 100_000, "a")));
        assert_eq!(out.port("out").len(), 3);
        let out = run::<Throttle>(config(json!({})), [record("no time")]);
        assert_eq!(out.rejected, [(0, "the record has no timestamp".to_owned())]);
        let opened = Opened::<Throttle>::open(r#"{ "records": 10, "per": "5ns" }"#);
        assert!(opened.err().unwrap().message.contains("too short"));
    }
}

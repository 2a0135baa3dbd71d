use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::{Deserialize, Serialize};
use pipehost_plugin::{
    Checkpoint, Error, Field, InputId, Out, Period, Port, Record, Rejection, Save, Saved, Setup,
    Stage, Time, Timed,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// How far the times of two records may lie apart.
    within: Period,
    /// What both have in common: this attribute; without it, the key.
    attribute: Option<String>,
    /// Adds the port `unmatched`, for records that no other was joined with.
    #[serde(default)]
    unmatched: bool,
    /// How many records may wait for others, of both inputs together and in each lane: one more is
    /// rejected.
    #[serde(default = "max_waiting")]
    max_waiting: usize,
}

fn max_waiting() -> usize {
    100_000
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(crate = "pipehost_plugin::serde")]
struct Waiting {
    time: i64,
    value: Vec<u8>,
    matched: bool,
}

struct State {
    /// By input and key, in the order of arrival.
    waiting: [BTreeMap<Vec<u8>, Vec<Waiting>>; 2],
    count: usize,
    watermark: i64,
}

/// For each pair: the key, the later of both times, the value of the left record, and that
/// of the right one as the attribute `right`. Records that come too late to meet another go
/// to the port `late`.
pub struct Join {
    time: Time,
    key: Field,
    value: Field,
    right: InputId,
    late: Port,
    unmatched: Option<Port>,
    within: i64,
    max_waiting: usize,
    state: State,
}

impl Stage for Join {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.input("left");
        let key = setup.attribute_or_key(config.attribute.as_deref());
        setup.keeps_by_key(key);
        Ok(Self {
            time: setup.timestamp(),
            key,
            value: setup.value(),
            right: setup.input("right"),
            late: setup.port("late"),
            unmatched: config.unmatched.then(|| setup.port("unmatched")),
            within: config.within.0,
            max_waiting: config.max_waiting,
            state: State { waiting: Default::default(), count: 0, watermark: i64::MIN },
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let time = record.timestamp(self.time);
        let time = time.ok_or_else(|| Rejection::new("the record has no timestamp"))?;
        let key = record.get(self.key).ok_or_else(|| Rejection::new("the record has no key"))?;
        let value = record.get(self.value).unwrap_or_default();
        let State { waiting: [left, right], count, watermark } = &mut self.state;
        if time.saturating_add(self.within) < *watermark {
            out.send(self.late);
            return Ok(());
        }
        if *count >= self.max_waiting {
            return Err(Rejection::new(format!("max_waiting, {count}, records wait already")));
        }
        let is_right = record.is_from(self.right);
        let (mine, others) = if is_right { (right, left) } else { (left, right) };
        let mut arrived = Waiting { time, value: value.to_vec(), matched: false };
        for other in others.get_mut(key).into_iter().flatten() {
            if other.time.abs_diff(time) <= self.within.unsigned_abs() {
                (arrived.matched, other.matched) = (true, true);
                let (l, r) =
                    if is_right { (&other.value[..], value) } else { (value, &other.value[..]) };
                let at = other.time.max(time);
                out.create().key(key).timestamp(at).value(l).attribute("right", r);
            }
        }
        mine.entry(key.to_vec()).or_default().push(arrived);
        *count += 1;
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        self.forget(|_| true, out);
        Ok(())
    }
}

impl Join {
    /// Lets go of records that nothing can be joined with any more.
    fn forget(&mut self, is_over: impl Fn(&Waiting) -> bool, out: &mut Out) {
        let State { waiting, count, .. } = &mut self.state;
        for side in waiting {
            side.retain(|key, records| {
                records.retain(|record| {
                    let over = is_over(record);
                    *count -= usize::from(over);
                    if let (true, false, Some(port)) = (over, record.matched, self.unmatched) {
                        out.create_on(port).key(key).timestamp(record.time).value(&record.value);
                    }
                    !over
                });
                !records.is_empty()
            });
        }
    }
}

impl Checkpoint for Join {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.state.watermark)?;
        let sides = (0_u8..).zip(&self.state.waiting);
        state.put_by_key(sides.flat_map(|(side, waiting)| {
            waiting.iter().map(move |(key, records)| (&key[..], (side, records)))
        }))
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        let mut state = State { waiting: Default::default(), count: 0, watermark: saved.get()? };
        for (key, (side, records)) in saved.by_key::<(u8, Vec<Waiting>)>()? {
            let waiting = state.waiting.get_mut(usize::from(side)).ok_or("it has a third side")?;
            state.count += records.len();
            waiting.insert(key, records);
        }
        self.state = state;
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["max_waiting"])
    }
}

impl Timed for Join {
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
        let watermark = self.state.watermark.max(watermark);
        self.state.watermark = watermark;
        let within = self.within;
        self.forget(|record| record.time.saturating_add(within) < watermark, out);
        Ok(())
    }
}

pipehost_plugin::export!(Join, timed);

#[cfg(test)]
mod tests {
    use super::Join;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, TestRecord, record};

    fn at(time: i64, key: &str, value: &str) -> TestRecord {
        record(value).key(key).timestamp(time)
    }

    #[test]
    fn records_of_a_key_meet_within_the_window_whichever_comes_first() {
        let mut stage = Driven::<Join>::open(json!({ "within": "5ns" }));
        stage.process_by(0, [at(10, "k", "order"), at(10, "other", "x")]);
        let out = stage.process_by(1, [at(15, "k", "paid"), at(16, "k", "too late")]);
        assert_eq!(out.port("out"), [at(15, "k", "order").attribute("right", "paid")]);
        let out = stage.process_by(0, [at(20, "k", "next")]);
        assert_eq!(
            out.port("out"),
            [
                at(20, "k", "next").attribute("right", "paid"),
                at(20, "k", "next").attribute("right", "too late")
            ]
        );
    }

    #[test]
    fn time_lets_go_of_what_found_no_partner() {
        let config = json!({ "within": "5ns", "unmatched": true });
        let mut stage = Driven::<Join>::open(config.clone());
        stage.process_by(0, [at(10, "a", "alone"), at(10, "b", "paired")]);
        stage.process_by(1, [at(10, "b", "pair")]);
        assert!(stage.advance(15).port("unmatched").is_empty());
        let mut stage = stage.restarted(config);
        assert_eq!(stage.advance(16).port("unmatched"), [at(10, "a", "alone")]);
        assert_eq!(stage.process_by(1, [at(10, "a", "x")]).port("late"), [at(10, "a", "x")]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stage = Driven::<Join>::open(json!({ "within": "5ns", "max_waiting": 1 }));
        let out = stage.process_by(0, [at(1, "a", ""), at(1, "b", ""), record("no time")]);
        assert_eq!(out.rejected[0], (1, "max_waiting, 1, records wait already".to_owned()));
        assert_eq!(out.rejected[1], (2, "the record has no timestamp".to_owned()));
    }
}

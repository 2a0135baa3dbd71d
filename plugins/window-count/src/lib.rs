use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Period, Port, Record, Rejection, Save, Saved, Setup, Stage,
    Time, Timed, rfc3339,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// How long a window is.
    size: Period,
    /// From the begin of one window to that of the next; without it, windows follow each
    /// other. Windows begin at whole multiples of this since 1970, UTC.
    slide: Option<Period>,
    /// Count by this attribute; without it, by the key.
    attribute: Option<String>,
    /// How long after its end, by the watermark, a window still takes records.
    #[serde(default)]
    allowed_lateness: Period,
    /// How many counts may be open at a time in each lane: a record that would need one more
    /// is rejected.
    #[serde(default = "max_open")]
    max_open: usize,
}

fn max_open() -> usize {
    100_000
}

/// A window, by its end, and what is counted in it.
type Counts = BTreeMap<(i64, Vec<u8>), u64>;

/// For each window and key that had records: the key, the begin of the window as
/// timestamp, the count as value, and the attributes `window_start` and `window_end`.
/// Records whose windows are closed go to the port `late`.
pub struct WindowCount {
    time: Time,
    key: Field,
    late: Port,
    size: i64,
    slide: i64,
    lateness: i64,
    max_open: usize,
    counts: Counts,
    watermark: i64,
}

impl WindowCount {
    fn is_closed(&self, end: i64) -> bool {
        end.saturating_add(self.lateness) <= self.watermark
    }

    /// Emits and forgets the first window.
    fn close_first(&mut self, out: &mut Out) {
        let Some(((end, key), count)) = self.counts.pop_first() else { return };
        let start = end - self.size;
        out.create()
            .key(key)
            .timestamp(start)
            .value(count.to_string())
            .attribute("window_start", rfc3339(start))
            .attribute("window_end", rfc3339(end));
    }
}

impl Stage for WindowCount {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let slide = config.slide.unwrap_or(config.size).0;
        if config.size.0 == 0 || slide == 0 {
            return Err("`size` and `slide` must be more than nothing".into());
        }
        if slide > config.size.0 {
            return Err("`slide` must not be longer than `size`: what falls between two windows \
                        would not be counted"
                .into());
        }
        if config.size.0 / slide > 1000 {
            return Err("`size` is more than a thousand times `slide`".into());
        }
        let key = setup.attribute_or_key(config.attribute.as_deref());
        setup.keeps_by_key(key);
        Ok(Self {
            time: setup.timestamp(),
            key,
            late: setup.port("late"),
            size: config.size.0,
            slide,
            lateness: config.allowed_lateness.0,
            max_open: config.max_open,
            counts: Counts::new(),
            watermark: i64::MIN,
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let time = record.timestamp(self.time);
        let time = time.ok_or_else(|| Rejection::new("the record has no timestamp"))?;
        let key = record.get(self.key).unwrap_or_default();
        // The window that begins last, and those before it that reach up to the record.
        let last = time.div_euclid(self.slide).checked_mul(self.slide);
        let last_end = last.and_then(|start| start.checked_add(self.size));
        let last_end = last_end.ok_or_else(|| Rejection::new("the time is out of range"))?;
        let ends = (0..).map_while(|n| last_end.checked_sub(n * self.slide));
        let open: Vec<_> = ends
            .take_while(|&end| end > time)
            .filter(|&end| !self.is_closed(end))
            .map(|end| (end, key.to_vec()))
            .collect();
        if open.is_empty() {
            out.send(self.late);
            return Ok(());
        }
        let new = open.iter().filter(|window| !self.counts.contains_key(window)).count();
        if self.counts.len() + new > self.max_open {
            return Err(Rejection::new(format!("max_open, {}, counts are open", self.max_open)));
        }
        for window in open {
            *self.counts.entry(window).or_default() += 1;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        while !self.counts.is_empty() {
            self.close_first(out);
        }
        Ok(())
    }
}

impl Checkpoint for WindowCount {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.watermark)?;
        state.put_by_key(self.counts.iter().map(|((end, key), count)| (&key[..], (end, count))))
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.watermark = saved.get()?;
        let counts = saved.by_key::<(i64, u64)>()?.into_iter();
        self.counts = counts.map(|(key, (end, count))| ((end, key), count)).collect();
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["max_open"])
    }
}

impl Timed for WindowCount {
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        while self.counts.first_key_value().is_some_and(|((end, _), _)| self.is_closed(*end)) {
            self.close_first(out);
        }
        Ok(())
    }
}

pipehost_plugin::export!(WindowCount, timed);

#[cfg(test)]
mod tests {
    use super::WindowCount;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, Outputs, TestRecord, record, run};

    const SECOND: i64 = 1_000_000_000;

    fn at(second: i64, key: &str) -> TestRecord {
        record("x").key(key).timestamp(second * SECOND)
    }

    fn window(start: i64, end: i64, key: &str, count: u64) -> TestRecord {
        let time = |second| format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
        at(start, key)
            .value(count.to_string())
            .attribute("window_start", time(start))
            .attribute("window_end", time(end))
    }

    #[test]
    fn tumbling_windows_count_by_key_and_close_with_the_watermark() {
        let mut stage = Driven::<WindowCount>::open(json!({ "size": "10s" }));
        let out = stage.process([at(0, "a"), at(9, "a"), at(3, "b"), at(10, "a")]);
        assert!(out.port("out").is_empty());
        assert!(stage.advance(9 * SECOND).port("out").is_empty());
        let closed = stage.advance(10 * SECOND);
        assert_eq!(closed.port("out"), [window(0, 10, "a", 2), window(0, 10, "b", 1)]);
        assert_eq!(stage.finish().port("out"), [window(10, 20, "a", 1)]);
    }

    #[test]
    fn sliding_windows_count_a_record_in_each_that_it_lies_in() {
        let out = run::<WindowCount>(json!({ "size": "10s", "slide": "5s" }), [at(7, "a")]);
        assert_eq!(out.port("out"), [window(0, 10, "a", 1), window(5, 15, "a", 1)]);
    }

    #[test]
    fn a_late_record_goes_to_its_port_and_one_within_the_lateness_is_counted() {
        let mut stage =
            Driven::<WindowCount>::open(json!({ "size": "10s", "allowed_lateness": "5s" }));
        stage.process([at(1, "a")]);
        assert!(stage.advance(14 * SECOND).port("out").is_empty());
        stage.process([at(2, "a")]);
        assert_eq!(stage.advance(15 * SECOND).port("out"), [window(0, 10, "a", 2)]);
        let out: Outputs = stage.process([at(3, "a"), at(12, "a")]);
        assert_eq!(out.port("late"), [at(3, "a")]);
        assert_eq!(stage.finish().port("out"), [window(10, 20, "a", 1)]);
    }

    #[test]
    fn a_restart_loses_no_count() {
        let config = json!({ "size": "10s" });
        let mut stage = Driven::<WindowCount>::open(config.clone());
        stage.process([at(1, "a"), at(2, "a")]);
        stage.advance(5 * SECOND);
        let mut stage = stage.restarted(config);
        stage.process([at(3, "a")]);
        assert_eq!(stage.advance(10 * SECOND).port("out"), [window(0, 10, "a", 3)]);
    }

    #[test]
    fn what_cannot_be_counted_is_rejected() {
        let config = json!({ "size": "10s", "max_open": 1 });
        let out = run::<WindowCount>(config, [record("x"), at(1, "a"), at(1, "b"), at(2, "a")]);
        assert_eq!(
            out.rejected,
            [
                (0, "the record has no timestamp".to_owned()),
                (2, "max_open, 1, counts are open".to_owned())
            ]
        );
        assert_eq!(out.port("out"), [window(0, 10, "a", 2)]);
    }
}

mod group;

use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Number, Out, Period, Port, Record, Rejection, Save, Saved, Setup,
    Stage, Time, Timed, rfc3339,
};

use group::{Function, Group, Output};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// How long a window is.
    size: Period,
    /// From the begin of one window to that of the next; without it, windows follow each
    /// other. Windows begin at whole multiples of this since 1970, UTC.
    slide: Option<Period>,
    /// Groups by this attribute; without it, by the key.
    attribute: Option<String>,
    /// What is computed of the numbers of a group, beside their count: attributes of the result,
    /// and what each is, such as `{ sum = "bytes" }` or `{ quantile = "duration", at = 0.99 }`.
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
    /// What happens to a record in which one of them is not a number. What is not there at all is
    /// left out.
    #[serde(default)]
    not_a_number: NotANumber,
    /// How long after its end, by the watermark, a window still takes records.
    #[serde(default)]
    allowed_lateness: Period,
    /// How many groups may be open at a time in each lane: a record that would need one more
    /// is rejected.
    #[serde(default = "max_open")]
    max_open: usize,
}

fn max_open() -> usize {
    100_000
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum NotANumber {
    /// It is rejected.
    #[default]
    Reject,
    /// It is counted, and the rest of it is left out.
    Skip,
}

/// A window, by its end, with a key, and what is known of its records.
type Groups = BTreeMap<(i64, Vec<u8>), Group>;

/// For each window and key that had records: the key, the begin of the window as
/// timestamp, the count as value, the attributes `window_start` and `window_end`, and those that
/// are named in `outputs`.
/// Records whose windows are closed go to the port `late`.
pub struct Aggregate {
    time: Time,
    key: Field,
    late: Port,
    size: i64,
    slide: i64,
    lateness: i64,
    max_open: usize,
    outputs: Vec<(String, Function, Field)>,
    skips: bool,
    groups: Groups,
    watermark: i64,
    /// The numbers of the current record.
    numbers: Vec<Option<Number>>,
}

impl Aggregate {
    fn is_closed(&self, end: i64) -> bool {
        end.saturating_add(self.lateness) <= self.watermark
    }

    /// Emits and forgets the first window.
    fn close_first(&mut self, out: &mut Out) {
        let Some(((end, key), group)) = self.groups.pop_first() else { return };
        let start = end - self.size;
        let mut row = out
            .create()
            .key(key)
            .timestamp(start)
            .value(group.count.to_string())
            .attribute("window_start", rfc3339(start))
            .attribute("window_end", rfc3339(end));
        for ((name, function, _), known) in self.outputs.iter().zip(&group.known) {
            if let Some(number) = known.result(function) {
                row = row.attribute(name, number.to_string());
            }
        }
    }
}

impl Stage for Aggregate {
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
        let mut outputs = Vec::new();
        for (name, output) in config.outputs {
            if ["", "window_start", "window_end"].contains(&&*name) {
                return Err(format!("`outputs` cannot have the name {name:?}").into());
            }
            let (function, part) =
                output.function().map_err(|why| format!("`outputs.{name}`: {why}"))?;
            outputs.push((name, function, setup.part(&part)));
        }
        Ok(Self {
            time: setup.timestamp(),
            key,
            late: setup.port("late"),
            size: config.size.0,
            slide,
            lateness: config.allowed_lateness.0,
            max_open: config.max_open,
            outputs,
            skips: config.not_a_number == NotANumber::Skip,
            groups: Groups::new(),
            watermark: i64::MIN,
            numbers: Vec::new(),
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
        let new = open.iter().filter(|window| !self.groups.contains_key(window)).count();
        if self.groups.len() + new > self.max_open {
            return Err(Rejection::new(format!("max_open, {}, groups are open", self.max_open)));
        }
        self.numbers.clear();
        for (name, _, field) in &self.outputs {
            let text = record.get(*field);
            let number = text.and_then(Number::parse);
            if let (Some(text), None, false) = (text, number, self.skips) {
                return Err(no_number(name, text));
            }
            self.numbers.push(number);
        }
        for window in open {
            let group = self.groups.entry(window).or_insert_with(|| Group::new(&self.outputs));
            group.count += 1;
            for (known, number) in group.known.iter_mut().zip(&self.numbers) {
                if let Some(number) = number {
                    known.add(*number);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        while !self.groups.is_empty() {
            self.close_first(out);
        }
        Ok(())
    }
}

impl Checkpoint for Aggregate {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.watermark)?;
        state.put_by_key(self.groups.iter().map(|((end, key), group)| (&key[..], (end, group))))
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.watermark = saved.get()?;
        let groups = saved.by_key::<(i64, Group)>()?.into_iter();
        self.groups = groups.map(|(key, (end, group))| ((end, key), group)).collect();
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["max_open"])
    }
}

impl Timed for Aggregate {
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        while self.groups.first_key_value().is_some_and(|((end, _), _)| self.is_closed(*end)) {
            self.close_first(out);
        }
        Ok(())
    }
}

#[cold]
fn no_number(output: &str, text: &[u8]) -> Rejection {
    const SHOWN: usize = 40;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
    Rejection::new(format!("what `{output}` is computed of is no number: {shown:?}"))
}

pipehost_plugin::export!(Aggregate, timed);

#[cfg(test)]
mod tests {
    use super::Aggregate;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
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
        let mut stage = Driven::<Aggregate>::open(json!({ "size": "10s" }));
        let out = stage.process([at(0, "a"), at(9, "a"), at(3, "b"), at(10, "a")]);
        assert!(out.port("out").is_empty());
        assert!(stage.advance(9 * SECOND).port("out").is_empty());
        let closed = stage.advance(10 * SECOND);
        assert_eq!(closed.port("out"), [window(0, 10, "a", 2), window(0, 10, "b", 1)]);
        assert_eq!(stage.finish().port("out"), [window(10, 20, "a", 1)]);
    }

    #[test]
    fn sliding_windows_count_a_record_in_each_that_it_lies_in() {
        let out = run::<Aggregate>(json!({ "size": "10s", "slide": "5s" }), [at(7, "a")]);
        assert_eq!(out.port("out"), [window(0, 10, "a", 1), window(5, 15, "a", 1)]);
    }

    #[test]
    fn a_late_record_goes_to_its_port_and_one_within_the_lateness_is_counted() {
        let mut stage =
            Driven::<Aggregate>::open(json!({ "size": "10s", "allowed_lateness": "5s" }));
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
        let mut stage = Driven::<Aggregate>::open(config.clone());
        stage.process([at(1, "a"), at(2, "a")]);
        stage.advance(5 * SECOND);
        let mut stage = stage.restarted(config);
        stage.process([at(3, "a")]);
        assert_eq!(stage.advance(10 * SECOND).port("out"), [window(0, 10, "a", 3)]);
    }

    #[test]
    fn what_cannot_be_counted_is_rejected() {
        let config = json!({ "size": "10s", "max_open": 1 });
        let out = run::<Aggregate>(config, [record("x"), at(1, "a"), at(1, "b"), at(2, "a")]);
        assert_eq!(
            out.rejected,
            [
                (0, "the record has no timestamp".to_owned()),
                (2, "max_open, 1, groups are open".to_owned())
            ]
        );
        assert_eq!(out.port("out"), [window(0, 10, "a", 2)]);
    }
    /// Records of one key with these numbers in the attribute `n`.
    fn numbers<'t>(texts: &'t [&str]) -> impl Iterator<Item = TestRecord> + 't {
        texts.iter().map(|text| at(1, "a").attribute("n", text))
    }

    #[test]
    fn numbers_are_summed_and_compared_exactly() {
        let outputs = json!({
            "total": { "sum": "n" }, "least": { "min": "n" }, "most": { "max": "n" },
            "average": { "mean": "n" },
        });
        let config = json!({ "size": "10s", "outputs": outputs });
        let whole = numbers(&["9007199254740993", "-4", "8"]).chain([at(2, "a"), at(2, "b")]);
        let out = run::<Aggregate>(config.clone(), whole);
        let expected = window(0, 10, "a", 4)
            .attribute("total", "9007199254740997")
            .attribute("least", "-4")
            .attribute("most", "9007199254740993")
            .attribute("average", (9_007_199_254_740_997_i64 as f64 / 3.0).to_string());
        assert_eq!(out.port("out"), [expected, window(0, 10, "b", 1)]);
        let out = run::<Aggregate>(config.clone(), numbers(&["0.1", "0.2", "1"]));
        let expected = window(0, 10, "a", 3)
            .attribute("total", "1.3")
            .attribute("least", "0.1")
            .attribute("most", "1")
            .attribute("average", "0.43333333333333335");
        assert_eq!(out.port("out"), [expected]);
        // Beyond 127 bits, a double goes on.
        let most = i128::MAX.to_string();
        let out = run::<Aggregate>(config, numbers(&[&most, &most]));
        let total = out.port("out")[0].attributes["total"].clone();
        let total: f64 = String::from_utf8(total).unwrap().parse().unwrap();
        assert_eq!(total, i128::MAX as f64 * 2.0);
    }

    #[test]
    fn no_result_is_infinite() {
        let outputs = json!({ "total": { "sum": "n" }, "average": { "mean": "n" } });
        let config = json!({ "size": "10s", "outputs": outputs });
        let result = |texts: &[&str]| {
            let out = run::<Aggregate>(config.clone(), numbers(texts));
            let text =
                |name| String::from_utf8(out.port("out")[0].attributes[name].clone()).unwrap();
            let number = |name| text(name).parse::<f64>().unwrap();
            (number("total"), number("average"))
        };
        assert_eq!(result(&["1e308", "1e308"]), (f64::MAX, 1e308));
        assert_eq!(result(&["1e308", "1e308", "-1e308", "-1e308"]), (0.0, 0.0));
        assert_eq!(result(&["1e-310", "1e-310"]), (2e-310, 1e-310));
        assert_eq!(result(&["-1e308", "-1e308", "1"]).0, f64::MIN);
    }

    #[test]
    fn a_quantile_is_between_the_least_and_the_most() {
        let outputs = json!({ "p": { "quantile": "n", "at": 0.5 } });
        let config = json!({ "size": "10s", "outputs": outputs });
        for (texts, least, most) in [(&["-5", "-100"], -100.0, -5.0), (&["7", "7"], 7.0, 7.0)] {
            let out = run::<Aggregate>(config.clone(), numbers(texts));
            let found = String::from_utf8(out.port("out")[0].attributes["p"].clone()).unwrap();
            assert!((least..=most).contains(&found.parse::<f64>().unwrap()), "{found}");
        }
    }

    #[test]
    fn a_quantile_is_at_most_one_per_cent_away() {
        let mut texts: Vec<f64> = (1..=1000).map(|n| f64::from(n * n) / 10.0).collect();
        let records: Vec<_> =
            texts.iter().map(|n| at(1, "a").attribute("n", n.to_string())).collect();
        let outputs = json!({ "p50": { "quantile": "n", "at": 0.5 }, "p99": { "quantile": "n", "at": 0.99 } });
        let config = json!({ "size": "10s", "outputs": outputs });
        let mut stage = Driven::<Aggregate>::open(config.clone());
        stage.process(records[..500].to_vec());
        let mut stage = stage.restarted(config);
        stage.process(records[500..].to_vec());
        let out = stage.finish();
        texts.sort_by(f64::total_cmp);
        for (name, rank) in [("p50", 499), ("p99", 989)] {
            let found = &out.port("out")[0].attributes[name];
            let found: f64 = std::str::from_utf8(found).unwrap().parse().unwrap();
            let exact = texts[rank];
            assert!((found - exact).abs() <= exact * 0.0101, "{name}: {found} and not {exact}");
        }
    }

    #[test]
    fn what_is_no_number_is_rejected_or_left_out() {
        let outputs = json!({ "total": { "sum": "n" } });
        let records = || numbers(&["1", "many", ""]);
        let out = run::<Aggregate>(json!({ "size": "10s", "outputs": outputs }), records());
        assert_eq!(out.port("out"), [window(0, 10, "a", 1).attribute("total", "1")]);
        assert_eq!(
            out.rejected[0],
            (1, "what `total` is computed of is no number: \"many\"".to_owned())
        );
        assert_eq!(out.rejected.len(), 2);
        let config = json!({ "size": "10s", "outputs": outputs, "not_a_number": "skip" });
        let out = run::<Aggregate>(config, records());
        assert_eq!(out.port("out"), [window(0, 10, "a", 3).attribute("total", "1")]);
    }

    #[test]
    fn mistakes_in_the_outputs_are_told() {
        let told = |output: Value| {
            let config = json!({ "size": "10s", "outputs": { "x": output } }).to_string();
            Opened::<Aggregate>::open(&config).err().unwrap().message
        };
        assert!(told(json!({})).contains("`outputs.x`: give one of"));
        assert!(told(json!({ "sum": "a", "min": "a" })).contains("give one of"));
        assert!(told(json!({ "quantile": "a" })).contains("`at`"));
        assert!(told(json!({ "quantile": "a", "at": 99 })).contains("from 0 to 1"));
        assert!(told(json!({ "sum": "a", "at": 0.5 })).contains("`at`"));
    }
}

mod condition;
mod config;

use pipehost_plugin::{Error, Out, Record, Rejection, Setup, Stage};

use condition::Condition;
pub use config::Config;

/// Keeps the records that fit, and drops the others.
pub struct Filter {
    condition: Condition,
}

impl Stage for Filter {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { condition: Condition::open(config, setup)? })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        if self.condition.holds(record)? {
            out.keep();
        }
        Ok(())
    }
}

pipehost_plugin::export!(Filter);

#[cfg(test)]
mod tests {
    use super::Filter;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{TestRecord, record, run};

    fn log() -> [TestRecord; 4] {
        [
            record("disk full").key("a").attribute("level", "ERROR"),
            record("started").key("b").attribute("level", "INFO"),
            record("on fire").key("c").attribute("level", "CRITICAL"),
            record("no level").key("d"),
        ]
    }

    #[track_caller]
    fn keeps(config: Value, rows: &[usize]) {
        let expected: Vec<_> = rows.iter().map(|&row| log()[row].clone()).collect();
        assert_eq!(run::<Filter>(config, log()).port("out"), expected);
    }

    #[test]
    fn each_condition_on_each_field() {
        keeps(json!({ "attribute": "level", "equals": "ERROR" }), &[0]);
        keeps(json!({ "level": "ERROR" }), &[0]);
        keeps(json!({ "attribute": "level", "one_of": ["ERROR", "CRITICAL"] }), &[0, 2]);
        keeps(json!({ "field": "value", "contains": "i" }), &[0, 2]);
        keeps(json!({ "field": "value", "contains": "." }), &[]);
        keeps(json!({ "field": "value", "matches": "^.{7}$" }), &[1, 2]);
        keeps(json!({ "field": "key", "one_of": ["a", "d"] }), &[0, 3]);
        keeps(json!({ "field": "value", "starts_with": "no" }), &[3]);
        keeps(json!({ "field": "value", "ends_with": "ed" }), &[1]);
        keeps(json!({ "attribute": "level", "exists": true }), &[0, 1, 2]);
        keeps(json!({ "attribute": "level", "exists": false }), &[3]);
    }

    #[test]
    fn an_inverted_filter_keeps_what_has_no_such_field() {
        keeps(json!({ "attribute": "level", "equals": "ERROR", "invert": true }), &[1, 2, 3]);
    }

    #[test]
    fn several_tests_must_all_hold_and_conditions_nest() {
        keeps(json!({ "field": "value", "starts_with": "d", "ends_with": "l" }), &[0]);
        let error = json!({ "level": "ERROR" });
        let fire = json!({ "field": "value", "contains": "fire" });
        let keyed = json!({ "field": "key", "equals": "a" });
        keeps(json!({ "any": [error, fire] }), &[0, 2]);
        keeps(json!({ "all": [error, fire] }), &[]);
        keeps(json!({ "any": [{ "all": [error, keyed] }, fire], "invert": true }), &[1, 3]);
        keeps(json!({ "all": [] }), &[0, 1, 2, 3]);
        keeps(json!({ "any": [] }), &[]);
    }

    /// The texts of those of 0, 9.5, 10, 1e2, a large number, and what is no number, that are kept.
    #[track_caller]
    fn keeps_numbers(test: Value, kept: &[&str]) {
        let texts = ["0", "9.5", "10", "1e2", "9007199254740993", "ten", "", "NaN", "-3"];
        let mut config = json!({ "field": "value" });
        config.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        let out = run::<Filter>(config.clone(), texts.map(record));
        assert_eq!(out.port("out"), kept.iter().copied().map(record).collect::<Vec<_>>());
        assert!(out.rejected.is_empty());
        config["not_a_number"] = "reject".into();
        let out = run::<Filter>(config, texts.map(record));
        let rejected: Vec<_> = out.rejected.iter().map(|(row, _)| *row).collect();
        assert_eq!(rejected, [5, 6, 7]);
        assert_eq!(out.rejected[0].1, "the value is no number: \"ten\"");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        keeps_numbers(json!({ "at_least": 10 }), &["10", "1e2", "9007199254740993"]);
        keeps_numbers(json!({ "greater_than": 10 }), &["1e2", "9007199254740993"]);
        keeps_numbers(json!({ "at_most": 9.5 }), &["0", "9.5", "-3"]);
        keeps_numbers(json!({ "less_than": 0 }), &["-3"]);
        keeps_numbers(json!({ "between": [9.5, 100] }), &["9.5", "10", "1e2"]);
        keeps_numbers(json!({ "at_least": 1, "less_than": 100 }), &["9.5", "10"]);
        // A double cannot tell them apart.
        keeps_numbers(json!({ "greater_than": 9007199254740992_u64 }), &["9007199254740993"]);
        keeps_numbers(json!({ "at_least": 9007199254740994_u64 }), &[]);
    }

    #[test]
    fn times_are_compared_with_times() {
        let at = |second: i64| record("x").timestamp(second * 1_000_000_000);
        let records = [at(0), at(59), at(60), record("no time")];
        let config = json!({ "field": "timestamp", "at_least": "1970-01-01T00:01:00Z" });
        assert_eq!(run::<Filter>(config, records.clone()).port("out"), [at(60)]);
        let between = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:59Z"];
        let config = json!({ "field": "timestamp", "between": between });
        assert_eq!(run::<Filter>(config, records.clone()).port("out"), [at(59)]);
        let config = json!({ "field": "timestamp", "exists": false });
        assert_eq!(run::<Filter>(config, records).port("out"), [record("no time")]);
    }

    #[test]
    fn refuses_an_ambiguous_configuration() {
        let told = |config: Value, part: &str| {
            let refused = Opened::<Filter>::open(&config.to_string()).err().unwrap();
            assert!(refused.message.contains(part), "{}", refused.message);
        };
        told(json!({ "equals": "x" }), "`attribute` or `field`");
        told(json!({ "field": "key" }), "give a test");
        told(json!({ "field": "key", "matches": "(" }), "unclosed group");
        told(json!({ "level": "A", "equals": "B" }), "leave those out");
        told(json!({ "field": "timestamp", "at_least": 5 }), "RFC 3339");
        told(json!({ "field": "timestamp", "contains": "5" }), "a timestamp");
        told(json!({ "field": "key", "at_least": "5" }), "a number without quotes");
        told(json!({ "field": "key", "between": [2, 1] }), "nothing lies between");
        told(json!({ "any": [{ "field": "key" }] }), "`any`, number 1: give a test");
        told(json!({ "any": [], "field": "key" }), "either");
        told(json!({ "field": "key", "equals": "a", "not_a_number": "reject" }), "no number");
    }
}

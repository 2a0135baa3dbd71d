use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
use regex::bytes::Regex;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// Looks at the attribute of this name. One of `attribute` and `field` is needed.
    attribute: Option<String>,
    /// Looks at the key or at the value.
    field: Option<Which>,
    /// Keeps a record that equals this text.
    equals: Option<String>,
    /// Keeps a record that equals one of these texts.
    one_of: Option<Vec<String>>,
    /// Keeps a record that has this text in it.
    contains: Option<String>,
    /// Keeps a record in which this regular expression (the syntax of Rust's `regex`
    /// crate) matches somewhere.
    matches: Option<String>,
    /// Short for `attribute = "level"` with `equals`.
    level: Option<String>,
    /// Keeps the records that do not match, and drops the others.
    #[serde(default)]
    invert: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Which {
    Key,
    Value,
}

pub struct Filter {
    field: Field,
    condition: Condition,
    invert: bool,
}

enum Condition {
    OneOf(Vec<Vec<u8>>),
    Matches(Regex),
}

impl Stage for Filter {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let (attribute, equals) = match config.level {
            Some(_) if config.attribute.is_some() || config.equals.is_some() => {
                return Err("`level` already says attribute and equals; leave those out".into());
            }
            Some(level) => (Some("level".to_owned()), Some(level)),
            None => (config.attribute, config.equals),
        };
        let field = match (attribute, config.field) {
            (Some(name), None) => setup.attribute(&name),
            (None, Some(Which::Key)) => setup.key(),
            (None, Some(Which::Value)) => setup.value(),
            _ => {
                return Err("give either `attribute` or `field`, to say what to look at".into());
            }
        };
        let condition = match (equals, config.one_of, config.contains, config.matches) {
            (Some(text), None, None, None) => Condition::OneOf(vec![text.into_bytes()]),
            (None, Some(texts), None, None) => {
                Condition::OneOf(texts.into_iter().map(String::into_bytes).collect())
            }
            (None, None, Some(text), None) => Condition::Matches(regex(&regex::escape(&text))?),
            (None, None, None, Some(pattern)) => Condition::Matches(regex(&pattern)?),
            _ => {
                return Err("give exactly one of `equals`, `one_of`, `contains`, `matches`".into());
            }
        };
        Ok(Self { field, condition, invert: config.invert })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let matches = record.get(self.field).is_some_and(|bytes| match &self.condition {
            Condition::OneOf(texts) => texts.iter().any(|text| bytes == text),
            Condition::Matches(regex) => regex.is_match(bytes),
        });
        if matches != self.invert {
            out.keep();
        }
        Ok(())
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("`matches`: {error}"))
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
    }

    #[test]
    fn an_inverted_filter_keeps_what_has_no_such_field() {
        keeps(json!({ "attribute": "level", "equals": "ERROR", "invert": true }), &[1, 2, 3]);
    }

    #[test]
    fn refuses_an_ambiguous_configuration() {
        let refused = |config: Value| Opened::<Filter>::open(&config.to_string()).err().unwrap();
        assert!(refused(json!({ "equals": "x" })).message.contains("`attribute` or `field`"));
        assert!(refused(json!({ "field": "key" })).message.contains("exactly one of"));
        assert!(
            refused(json!({ "field": "key", "matches": "(" })).message.contains("unclosed group")
        );
        assert!(
            refused(json!({ "level": "A", "equals": "B" })).message.contains("leave those out")
        );
    }
}

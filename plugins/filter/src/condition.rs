//! Conditions on a record.

use std::cmp::Ordering;

use pipehost_plugin::{Error, Field, Number, Record, Rejection, Setup, Time, parse_rfc3339};
use regex::bytes::Regex;

use crate::config::{Bound, Config, NotANumber, Which};

pub struct Condition {
    test: Test,
    invert: bool,
}

enum Test {
    /// Tests of bytes: all must hold.
    Bytes(Field, Vec<OfBytes>),
    /// Of a number: all must hold.
    Number {
        field: Field,
        name: String,
        bounds: Vec<(Sides, Number)>,
        rejects: bool,
        others: Vec<OfBytes>,
    },
    Exists(Field, bool),
    Time(Time, Vec<(Sides, i64)>),
    TimeExists(Time, bool),
    Any(Vec<Condition>),
    All(Vec<Condition>),
}

enum OfBytes {
    OneOf(Vec<Vec<u8>>),
    Matches(Regex),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
}

/// How what is compared may lie to a bound.
type Sides = fn(Ordering) -> bool;

impl Condition {
    pub fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let invert = config.invert;
        Ok(Self { test: Test::open(config, setup)?, invert })
    }

    #[inline(always)]
    pub fn holds(&self, record: &Record) -> Result<bool, Rejection> {
        let holds = match &self.test {
            Test::Bytes(field, tests) => {
                record.get(*field).is_some_and(|bytes| tests.iter().all(|test| test.holds(bytes)))
            }
            other => other.holds(record)?,
        };
        Ok(holds != self.invert)
    }
}

impl OfBytes {
    #[inline(always)]
    fn holds(&self, bytes: &[u8]) -> bool {
        match self {
            Self::OneOf(texts) => texts.iter().any(|text| bytes == text),
            Self::Matches(regex) => regex.is_match(bytes),
            Self::StartsWith(text) => bytes.starts_with(text),
            Self::EndsWith(text) => bytes.ends_with(text),
        }
    }
}

impl Test {
    #[inline(never)]
    fn holds(&self, record: &Record) -> Result<bool, Rejection> {
        Ok(match self {
            Self::Bytes(field, tests) => {
                record.get(*field).is_some_and(|bytes| tests.iter().all(|test| test.holds(bytes)))
            }
            Self::Number { field, name, bounds, rejects, others } => {
                let Some(bytes) = record.get(*field) else { return Ok(false) };
                match Number::parse(bytes) {
                    Some(number) => {
                        bounds.iter().all(|(sides, bound)| sides(number.compare(*bound)))
                            && others.iter().all(|test| test.holds(bytes))
                    }
                    None if *rejects => return Err(no_number(name, bytes)),
                    None => false,
                }
            }
            Self::Exists(field, wanted) => record.get(*field).is_some() == *wanted,
            Self::Time(time, bounds) => record
                .timestamp(*time)
                .is_some_and(|time| bounds.iter().all(|(sides, bound)| sides(time.cmp(bound)))),
            Self::TimeExists(time, wanted) => record.timestamp(*time).is_some() == *wanted,
            Self::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(record)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(record)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }

    fn open(mut config: Config, setup: &mut Setup) -> Result<Self, Error> {
        let groups = [("any", config.any.take()), ("all", config.all.take())];
        let mut groups = groups.into_iter().filter_map(|(name, list)| Some((name, list?)));
        if let Some((name, list)) = groups.next() {
            if groups.next().is_some() || config.looks_at_something() {
                return Err("give either `any`, or `all`, or one thing to look at: conditions \
                            may hold other conditions"
                    .into());
            }
            let open = |(number, config)| {
                let opened = Condition::open(config, setup);
                opened.map_err(|error: Error| {
                    Error::from(format!("`{name}`, number {number}: {}", error.message))
                })
            };
            let conditions = (1..).zip(list).map(open).collect::<Result<_, _>>()?;
            return Ok(if name == "any" { Self::Any(conditions) } else { Self::All(conditions) });
        }
        if let Some(level) = config.level.take() {
            if config.attribute.is_some() || config.equals.is_some() {
                return Err("`level` already says attribute and equals; leave those out".into());
            }
            config.attribute = Some("level".to_owned());
            config.equals = Some(level);
        }
        match (config.attribute.take(), config.field) {
            (Some(name), None) => {
                let field = setup.attribute(&name);
                Self::of_field(config, field, format!("the attribute `{name}`"))
            }
            (None, Some(Which::Key)) => Self::of_field(config, setup.key(), "the key".into()),
            (None, Some(Which::Value)) => Self::of_field(config, setup.value(), "the value".into()),
            (None, Some(Which::Timestamp)) => Self::of_time(config, setup.timestamp()),
            _ => Err("give either `attribute` or `field`, to say what to look at".into()),
        }
    }

    fn of_field(mut config: Config, field: Field, name: String) -> Result<Self, Error> {
        let bounds = config.take_bounds();
        let not_a_number = config.not_a_number.take();
        if bounds.is_empty() && not_a_number.is_some() {
            return Err("`not_a_number` is set, and no number is compared".into());
        }
        let exists = config.exists.take();
        let tests = config.of_bytes()?;
        match exists {
            Some(_) if !tests.is_empty() || !bounds.is_empty() => {
                return Err("`exists` stands alone: what is compared exists".into());
            }
            Some(wanted) => return Ok(Self::Exists(field, wanted)),
            None if tests.is_empty() && bounds.is_empty() => return Err(NO_TEST.into()),
            None if bounds.is_empty() => return Ok(Self::Bytes(field, tests)),
            None => {}
        }
        let number = |(name, sides, bound): (&str, Sides, Bound)| match bound {
            Bound::Number(number) => Number::parse(number.to_string().as_bytes())
                .map(|number| (sides, number))
                .ok_or_else(|| Error::from(format!("`{name}`: the number is out of range"))),
            Bound::Time(_) => Err(format!(
                "`{name}`: write a number without quotes; a time is compared with \
                             `field = \"timestamp\"`"
            )
            .into()),
        };
        let bounds = bounds.into_iter().map(number).collect::<Result<Vec<_>, Error>>()?;
        if is_empty(&bounds, Number::compare) {
            return Err(EMPTY.into());
        }
        let rejects = not_a_number == Some(NotANumber::Reject);
        Ok(Self::Number { field, name, bounds, rejects, others: tests })
    }

    fn of_time(mut config: Config, time: Time) -> Result<Self, Error> {
        let bounds = config.take_bounds();
        let exists = config.exists.take();
        if !config.of_bytes()?.is_empty() || config.not_a_number.is_some() {
            return Err("a timestamp is compared with `at_least`, `at_most`, `less_than`, \
                        `greater_than`, `between` or `exists`"
                .into());
        }
        match exists {
            Some(_) if !bounds.is_empty() => {
                return Err("`exists` stands alone: what is compared exists".into());
            }
            Some(wanted) => return Ok(Self::TimeExists(time, wanted)),
            None if bounds.is_empty() => return Err(NO_TEST.into()),
            None => {}
        }
        let nanoseconds = |(name, sides, bound): (&str, Sides, Bound)| {
            let text = match bound {
                Bound::Time(text) => text,
                Bound::Number(number) => number.to_string(),
            };
            match parse_rfc3339(text.as_bytes()) {
                Ok(time) => Ok((sides, time)),
                Err(why) => Err(Error::from(format!("`{name}`: {text:?} is {why}"))),
            }
        };
        let bounds = bounds.into_iter().map(nanoseconds).collect::<Result<Vec<_>, Error>>()?;
        if is_empty(&bounds, |a, b| a.cmp(&b)) {
            return Err(EMPTY.into());
        }
        Ok(Self::Time(time, bounds))
    }
}

const NO_TEST: &str = "give a test, such as `equals`, `one_of`, `contains`, `matches`, `at_least` \
                       or `exists`";
const EMPTY: &str = "nothing lies between the bounds: the lower one comes first";

/// Whether no value satisfies all bounds.
fn is_empty<T: Copy>(bounds: &[(Sides, T)], compare: impl Fn(T, T) -> Ordering) -> bool {
    let fits = |(low, a): &(Sides, T), (high, b): &(Sides, T)| match compare(*a, *b) {
        Ordering::Less => true,
        Ordering::Equal => low(Ordering::Equal) && high(Ordering::Equal),
        Ordering::Greater => false,
    };
    let lower = || bounds.iter().filter(|(sides, _)| sides(Ordering::Greater));
    let mut upper = bounds.iter().filter(|(sides, _)| sides(Ordering::Less));
    upper.any(|high| lower().any(|low| !fits(low, high)))
}

impl Config {
    fn looks_at_something(&self) -> bool {
        self.attribute.is_some() || self.field.is_some() || self.level.is_some()
    }

    fn take_bounds(&mut self) -> Vec<(&'static str, Sides, Bound)> {
        let mut bounds: Vec<(&'static str, Sides, Bound)> = Vec::new();
        let mut add = |name, sides: Sides, bound: Option<Bound>| {
            bounds.extend(bound.map(|bound| (name, sides, bound)));
        };
        add("at_least", Ordering::is_ge, self.at_least.take());
        add("at_most", Ordering::is_le, self.at_most.take());
        add("greater_than", Ordering::is_gt, self.greater_than.take());
        add("less_than", Ordering::is_lt, self.less_than.take());
        if let Some((low, high)) = self.between.take() {
            add("between", Ordering::is_ge, Some(low));
            add("between", Ordering::is_le, Some(high));
        }
        bounds
    }

    fn of_bytes(&mut self) -> Result<Vec<OfBytes>, Error> {
        let mut tests = Vec::new();
        let bytes = |text: Option<String>| text.map(String::into_bytes);
        tests.extend(bytes(self.equals.take()).map(|text| OfBytes::OneOf(vec![text])));
        if let Some(texts) = self.one_of.take() {
            if texts.is_empty() {
                return Err("`one_of` is empty: no record would be kept".into());
            }
            tests.push(OfBytes::OneOf(texts.into_iter().map(String::into_bytes).collect()));
        }
        tests.extend(bytes(self.starts_with.take()).map(OfBytes::StartsWith));
        tests.extend(bytes(self.ends_with.take()).map(OfBytes::EndsWith));
        if let Some(text) = self.contains.take() {
            tests.push(OfBytes::Matches(regex("contains", &regex::escape(&text))?));
        }
        if let Some(pattern) = self.matches.take() {
            tests.push(OfBytes::Matches(regex("matches", &pattern)?));
        }
        Ok(tests)
    }
}

fn regex(name: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|error| format!("`{name}`: {error}").into())
}

#[cold]
fn no_number(name: &str, bytes: &[u8]) -> Rejection {
    const SHOWN: usize = 40;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    Rejection::new(format!("{name} is no number: {shown:?}"))
}

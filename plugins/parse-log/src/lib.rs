use memchr::memchr;
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Error, Field, Out, Record, Rejection, Setup, Stage, TimeError, parse_rfc3339,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = ["$attribute"]))]
pub struct Config {
    /// The attribute that takes the level.
    #[serde(default = "level")]
    attribute: String,
}

fn level() -> String {
    "level".to_owned()
}

pub struct ParseLog {
    line: Field,
    attribute: String,
}

impl Stage for ParseLog {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { line: setup.value(), attribute: config.attribute })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.line).unwrap_or_default();
        let (time, rest) = time(line).ok_or_else(|| Rejection::new("the line is empty"))?;
        // Levels are so short that it does not pay to search for their end.
        let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (level, message) = match &rest[end..] {
            [] | [b' ', ..] if end > 0 => (&rest[..end], rest.get(end + 1..).unwrap_or_default()),
            _ => return Err(no_level(rest)),
        };
        let nanoseconds = parse_rfc3339(time).map_err(|error| no_time(time, error))?;
        out.keep().timestamp(nanoseconds).attribute(&self.attribute, level).value(message);
        Ok(())
    }
}

#[cold]
fn no_time(time: &[u8], error: TimeError) -> Rejection {
    Rejection::new(match error {
        TimeError::Format => format!("{:?} is {error}", text(time)),
        TimeError::Range => format!("the time is {error}"),
    })
}

#[cold]
fn no_level(rest: &[u8]) -> Rejection {
    match word(rest) {
        None => Rejection::new("no level after the time"),
        Some((level, _)) => Rejection::new(format!("{:?} is not a level", text(level))),
    }
}

/// The time that a line begins with, and what comes after the space behind it. There may be a
/// space in it, too: between date and time.
#[inline(always)]
fn time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const DATE: usize = "yyyy-mm-dd".len();
    match line.get(DATE..DATE + 2) {
        Some([b' ', b'0'..=b'9']) => {
            let end = memchr(b' ', &line[DATE + 1..]).map_or(line.len(), |at| DATE + 1 + at);
            Some((&line[..end], line.get(end + 1..).unwrap_or_default()))
        }
        _ => word(line),
    }
}

/// The bytes before the first space, and those after it.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', line).unwrap_or(line.len());
    (end > 0).then(|| (&line[..end], line.get(end + 1..).unwrap_or_default()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(40).collect()
}

pipehost_plugin::export!(ParseLog);

#[cfg(test)]
mod tests {
    use super::ParseLog;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn a_line_becomes_time_level_and_message() {
        let lines =
            ["2023-10-27T10:00:00Z INFO Application started", "2023-10-27T12:00:00.5+02:00 WARN "];
        let out = run::<ParseLog>(json!({}), lines.map(record));
        assert_eq!(
            out.port("out"),
            [
                record("Application started")
                    .timestamp(1_698_400_800_000_000_000)
                    .attribute("level", "INFO"),
                record("").timestamp(1_698_400_800_500_000_000).attribute("level", "WARN"),
            ]
        );
    }

    #[track_caller]
    fn rejects(line: &str, reason: &str) {
        let out = run::<ParseLog>(json!({}), [record(line)]);
        assert!(out.port("out").is_empty());
        assert!(out.rejected[0].1.starts_with(reason), "{:?}", out.rejected);
    }

    #[test]
    fn a_line_that_does_not_parse_is_rejected_with_the_reason() {
        rejects("", "the line is empty");
        rejects("2023-10-27T10:00:00Z", "no level after the time");
        rejects("2023-10-27T10:00:00Z 404 x", "\"404\" is not a level");
        rejects("yesterday INFO x", "\"yesterday\" is not an RFC 3339 time");
        rejects("2023-13-27T10:00:00Z INFO x", "\"2023-13-27T10:00:00Z\" is not an RFC 3339 time");
        rejects("9999-01-01T00:00:00Z INFO x", "the time is not between");
    }
}

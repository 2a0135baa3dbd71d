use memchr::memchr;
use pipehost_plugin::{Field, Out, Record, Rejection, Setup, Stage};
use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

    fn open(config: Config, setup: &mut Setup) -> Result<Self, String> {
        Ok(Self { line: setup.value(), attribute: config.attribute })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.line).unwrap_or_default();
        let (time, rest) = word(line).ok_or_else(|| Rejection::new("the line is empty"))?;
        // Levels are so short that it does not pay to search for their end.
        let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (level, message) = match &rest[end..] {
            [] | [b' ', ..] if end > 0 => (&rest[..end], rest.get(end + 1..).unwrap_or_default()),
            _ => return Err(no_level(rest)),
        };
        let time = std::str::from_utf8(time)
            .ok()
            .and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok())
            .ok_or_else(|| Rejection::new(format!("{:?} is not an RFC 3339 time", text(time))))?;
        // Checked before it is multiplied: a multiplication that checks by itself takes
        // arithmetic of 128 bits, which is slow in wasm.
        let seconds = time.unix_timestamp();
        if !(-9_223_372_035..=9_223_372_035).contains(&seconds) {
            return Err(Rejection::new("the time is not between the years 1677 and 2262"));
        }
        let nanoseconds = seconds * 1_000_000_000 + i64::from(time.nanosecond());
        out.keep().timestamp(nanoseconds).attribute(&self.attribute, level).value(message);
        Ok(())
    }
}

#[cold]
fn no_level(rest: &[u8]) -> Rejection {
    match word(rest) {
        None => Rejection::new("no level after the time"),
        Some((level, _)) => Rejection::new(format!("{:?} is not a level", text(level))),
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
    use pipehost_plugin::testing::{record, run};
    use serde_json::json;

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

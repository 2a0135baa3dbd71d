mod format;

use jiff::tz::TimeZone;
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};

use format::Format;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// What holds the time: an attribute by its name, `value` or `key`.
    from: Part,
    /// How it is written: `rfc3339`, `rfc2822`, `unix`, `unix-ms`, `unix-us` or `unix-ns` for
    /// seconds or their parts since 1970, or a pattern of strptime such as `%d/%b/%Y %H:%M:%S`.
    /// The first of them that fits is taken.
    #[serde(default = "formats")]
    formats: Vec<String>,
    /// The time zone of a time that does not say its own, such as `Europe/Berlin`.
    #[serde(default = "zone")]
    zone: String,
    /// What happens to a record whose time cannot be read.
    #[serde(default)]
    unmatched: Unmatched,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Unmatched {
    /// It is rejected.
    #[default]
    Reject,
    /// It goes on with the time that it has.
    Keep,
}

fn formats() -> Vec<String> {
    vec!["rfc3339".to_owned()]
}

fn zone() -> String {
    "UTC".to_owned()
}

/// A time without a year is taken to be at most a day ahead of the clock, and less than a year
/// behind.
pub struct ParseTime {
    from: Field,
    formats: Vec<Format>,
    zone: TimeZone,
    keeps_unmatched: bool,
}

impl Stage for ParseTime {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let zone = TimeZone::get(&config.zone).map_err(|_| {
            format!(
                "`zone`, {:?}, is no time zone: write one such as \"Europe/Berlin\"",
                config.zone
            )
        })?;
        if config.formats.is_empty() {
            return Err("`formats` is empty".into());
        }
        let formats = config.formats.into_iter().map(Format::parse).collect::<Result<_, _>>()?;
        let from = setup.part(&config.from);
        Ok(Self { from, formats, zone, keeps_unmatched: config.unmatched == Unmatched::Keep })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let text = record.get(self.from);
        let time = text.and_then(|text| {
            let text = std::str::from_utf8(text).ok()?.trim();
            self.formats.iter().find_map(|format| format.read(text, &self.zone))
        });
        match (time, text) {
            (Some(time), _) => drop(out.keep().timestamp(time)),
            (None, _) if self.keeps_unmatched => drop(out.keep()),
            (None, None) => return Err("it has no time to read".into()),
            (None, Some(text)) => {
                const SHOWN: usize = 60;
                let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
                return Err(format!("{shown:?} is no time in these formats").into());
            }
        }
        Ok(())
    }
}

pipehost_plugin::export!(ParseTime);

#[cfg(test)]
mod tests {
    use super::ParseTime;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};
    use pipehost_plugin::{parse_rfc3339, rfc3339};

    /// The time of an attribute, in RFC 3339.
    fn time(mut config: Value, text: &str) -> Result<String, String> {
        config["from"] = "t".into();
        let out = run::<ParseTime>(config, [record("x").attribute("t", text).timestamp(1)]);
        match out.rejected.first() {
            Some((_, reason)) => Err(reason.clone()),
            None => Ok(rfc3339(out.port("out")[0].timestamp.unwrap())),
        }
    }

    #[track_caller]
    fn reads(formats: &str, text: &str, expected: &str) {
        assert_eq!(
            time(json!({ "formats": [formats] }), text).as_deref(),
            Ok(expected),
            "{formats}"
        );
    }

    #[test]
    fn each_format() {
        reads("rfc3339", "2024-02-29T12:00:00.5+02:00", "2024-02-29T10:00:00.5Z");
        reads("rfc2822", "Thu, 29 Feb 2024 12:00:00 -0500", "2024-02-29T17:00:00Z");
        reads("unix", "1709208000", "2024-02-29T12:00:00Z");
        reads("unix", "1709208000.123456789", "2024-02-29T12:00:00.123456789Z");
        reads("unix", "-0.5", "1969-12-31T23:59:59.5Z");
        reads("unix", "1.7092e9", "2024-02-29T09:46:40Z");
        reads("unix-ms", "1709208000123", "2024-02-29T12:00:00.123Z");
        reads("unix-us", "1709208000123456", "2024-02-29T12:00:00.123456Z");
        reads("unix-ns", "1709208000123456789", "2024-02-29T12:00:00.123456789Z");
        reads("%d/%b/%Y:%H:%M:%S %z", "29/Feb/2024:12:00:00 +0100", "2024-02-29T11:00:00Z");
        reads("%Y-%m-%d %H:%M:%S%.f", "2024-02-29 12:00:00.25", "2024-02-29T12:00:00.25Z");
        reads("%Y-%m-%d", "2024-02-29", "2024-02-29T00:00:00Z");
        reads("%Y-%m-%d %H", "2024-02-29 10", "2024-02-29T10:00:00Z");
        reads("%s.%f", "1709208000.25", "2024-02-29T12:00:00.25Z");
        reads(
            "%Y-%m-%dT%H:%M:%S[%Q]",
            "2024-07-01T12:00:00[Europe/Berlin]",
            "2024-07-01T10:00:00Z",
        );
    }

    #[test]
    fn a_zone_by_its_name_knows_its_summers() {
        let config = json!({ "formats": ["%Y-%m-%d %H:%M"], "zone": "Europe/Berlin" });
        assert_eq!(time(config.clone(), "2024-01-15 12:00").unwrap(), "2024-01-15T11:00:00Z");
        assert_eq!(time(config.clone(), "2024-07-15 12:00").unwrap(), "2024-07-15T10:00:00Z");
        // Clocks jump over it; and come to it twice.
        assert_eq!(time(config.clone(), "2024-03-31 02:30").unwrap(), "2024-03-31T01:30:00Z");
        assert_eq!(time(config, "2024-10-27 02:30").unwrap(), "2024-10-27T00:30:00Z");
    }

    #[test]
    fn a_time_without_a_year_is_near_the_clock() {
        let formats = json!({ "formats": ["%b %d %H:%M:%S"] });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = now.as_nanos() as i64;
        const DAY: i64 = 86_400_000_000_000;
        for ahead in [-360, -200, -1, 0] {
            let then = rfc3339((now + ahead * DAY) / 1_000_000_000 * 1_000_000_000);
            let months = [
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
            ];
            let month = months[then[5..7].parse::<usize>().unwrap() - 1];
            let text = format!("{month} {} {}", &then[8..10], &then[11..19]);
            if text.starts_with("Feb 29") {
                continue; // Not every year has it.
            }
            assert_eq!(time(formats.clone(), &text).unwrap(), then);
        }
    }

    #[test]
    fn the_first_format_that_fits_is_taken() {
        let config = json!({ "formats": ["unix", "rfc3339"] });
        assert_eq!(time(config.clone(), "1").unwrap(), "1970-01-01T00:00:01Z");
        assert_eq!(time(config.clone(), " 2024-02-29T12:00:00Z ").unwrap(), "2024-02-29T12:00:00Z");
        for wrong in ["", "noon", "1709208000x", "99999999999999999999", "NaN", "1e400"] {
            let reason = time(config.clone(), wrong).unwrap_err();
            assert!(reason.contains("is no time in these formats"), "{reason}");
        }
        let kept = time(json!({ "unmatched": "keep" }), "noon");
        assert_eq!(kept.unwrap(), rfc3339(1));
        let out = run::<ParseTime>(json!({ "from": "t" }), [record("x")]);
        assert_eq!(out.rejected[0].1, "it has no time to read");
        assert_eq!(parse_rfc3339(b"1970-01-01T00:00:01Z"), Ok(1_000_000_000));
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told = |mut config: Value| {
            config["from"] = "t".into();
            Opened::<ParseTime>::open(&config.to_string()).err().unwrap().message
        };
        assert!(told(json!({ "zone": "Berlin" })).contains("Europe/Berlin"));
        assert!(told(json!({ "formats": ["iso"] })).contains("iso"));
        assert!(told(json!({ "formats": ["%Y-%E"] })).contains("%E"));
        assert!(told(json!({ "formats": ["%H:%M"] })).contains("date"));
        assert!(told(json!({ "formats": ["%Y-%m-%d %M"] })).contains("the hour"));
        assert!(told(json!({ "formats": [] })).contains("empty"));
    }
}

use std::time::SystemTime;

use chrono_tz::Tz;
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, NO_TIME, Out, Part, Record, Rejection, Setup, Stage, rfc3339};
use syslog_loose::{IncompleteDate, Message, ProcId, Variant};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The protocol; without it, either.
    protocol: Option<Protocol>,
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default = "value")]
    from: Part,
    /// The time zone of times that do not say their own, as those of RFC 3164: such as
    /// `Europe/Berlin`.
    #[serde(default = "zone")]
    zone: String,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Protocol {
    /// `<34>1 2003-10-11T22:14:15.003Z host app 1 ID47 - message`
    Rfc5424,
    /// `<34>Oct 11 22:14:15 host app[1]: message`
    Rfc3164,
}

fn value() -> Part {
    Part::Value
}

fn zone() -> String {
    "UTC".to_owned()
}

/// The message becomes the value, the time that of the record, and the rest the attributes
/// `facility`, `severity`, `hostname`, `appname`, `procid`, `msgid`, and `ID.NAME` for each
/// parameter of structured data.
pub struct ParseSyslog {
    from: Field,
    variant: Variant,
    zone: Tz,
    now: i64,
}

impl Stage for ParseSyslog {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let zone = config.zone.parse().map_err(|_| {
            format!(
                "`zone`, {:?}, is no time zone: write one such as \"Europe/Berlin\"",
                config.zone
            )
        })?;
        let variant = match config.protocol {
            None => Variant::Either,
            Some(Protocol::Rfc5424) => Variant::RFC5424,
            Some(Protocol::Rfc3164) => Variant::RFC3164,
        };
        Ok(Self { from: setup.part(&config.from), variant, zone, now: 0 })
    }

    fn begin_batch(&mut self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.from).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
        if !line.starts_with('<') {
            return Err(
                "it is no syslog message: it does not begin with a priority such as <34>".into()
            );
        }
        let year = |date| year_of(date, self.now);
        let message = syslog_loose::parse_message_with_year_exact_tz(
            line,
            year,
            Some(self.zone),
            self.variant,
        )
        .map_err(|_| "it is no syslog message")?;
        let Message {
            facility,
            severity,
            timestamp,
            hostname,
            appname,
            procid,
            msgid,
            structured_data,
            msg,
            ..
        } = message;
        let mut row = out.keep().value(msg);
        if let Some(time) = timestamp {
            let time = time.timestamp_nanos_opt().filter(|time| *time != NO_TIME);
            row = row.timestamp(time.ok_or("its time is not between the years 1677 and 2262")?);
        }
        let procid = procid.map(|id| match id {
            ProcId::PID(number) => number.to_string(),
            ProcId::Name(name) => name.to_owned(),
        });
        for (name, text) in [
            ("facility", facility.map(|facility| facility.as_str())),
            ("severity", severity.map(|severity| severity.as_str())),
            ("hostname", hostname),
            ("appname", appname),
            ("procid", procid.as_deref()),
            ("msgid", msgid),
        ] {
            if let Some(text) = text {
                row = row.attribute(name, text);
            }
        }
        for element in &structured_data {
            for (name, text) in element.params() {
                row = row.attribute(&format!("{}.{name}", element.id), text);
            }
        }
        Ok(())
    }
}

/// The year of a date without one: the latest in which it is at most a day ahead of the clock.
fn year_of((month, day, ..): IncompleteDate, now: i64) -> i32 {
    const DAY: i64 = 86_400_000_000_000;
    let latest = rfc3339(now.saturating_add(DAY));
    let number = |range: std::ops::Range<usize>| latest[range].parse::<u32>().unwrap_or(1970);
    let year = number(0..4) as i32;
    let latest = if (month, day) > (number(5..7), number(8..10)) { year - 1 } else { year };
    let is_leap = |year: &i32| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match (month, day) {
        (2, 29) => (latest - 8..=latest).rev().find(is_leap).unwrap_or(latest),
        _ => latest,
    }
}

pipehost_plugin::export!(ParseSyslog);

#[cfg(test)]
mod tests {
    use super::{ParseSyslog, year_of};
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::parse_rfc3339;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{TestRecord, record, run};

    fn parse(config: Value, line: &str) -> Result<TestRecord, String> {
        let out = run::<ParseSyslog>(config, [record(line)]);
        match out.rejected.first() {
            Some((_, reason)) => Err(reason.clone()),
            None => Ok(out.port("out")[0].clone()),
        }
    }

    fn message(text: &str, attributes: &[(&str, &str)]) -> TestRecord {
        let mut expected = record(text);
        for (name, text) in attributes {
            expected = expected.attribute(name, text);
        }
        expected
    }

    /// The examples of RFC 5424, section 6.5.
    #[test]
    fn messages_of_rfc_5424() {
        let line = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8";
        let found = parse(json!({}), line).unwrap();
        assert_eq!(found.timestamp, parse_rfc3339(b"2003-10-11T22:14:15.003Z").ok());
        let attributes = [
            ("facility", "auth"),
            ("severity", "crit"),
            ("hostname", "mymachine.example.com"),
            ("appname", "su"),
            ("msgid", "ID47"),
        ];
        let expected = message("\u{feff}'su root' failed for lonvick on /dev/pts/8", &attributes);
        assert_eq!(TestRecord { timestamp: None, ..found }, expected);
        let line = "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.";
        let found = parse(json!({ "protocol": "rfc5424" }), line).unwrap();
        assert_eq!(found.timestamp, parse_rfc3339(b"2003-08-24T05:14:15.000003-07:00").ok());
        let attributes = [
            ("facility", "local4"),
            ("severity", "notice"),
            ("hostname", "192.0.2.1"),
            ("appname", "myproc"),
            ("procid", "8710"),
        ];
        assert_eq!(
            TestRecord { timestamp: None, ..found },
            message("%% It's time to make the do-nuts.", &attributes)
        );
        let line = r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\"x\"" eventID="1011"][examplePriority@32473 class="high"] An application event"#;
        let found = parse(json!({}), line).unwrap();
        let attributes = [
            ("facility", "local4"),
            ("severity", "notice"),
            ("hostname", "mymachine.example.com"),
            ("appname", "evntslog"),
            ("msgid", "ID47"),
            ("exampleSDID@32473.iut", "3"),
            ("exampleSDID@32473.eventSource", "App\"x\""),
            ("exampleSDID@32473.eventID", "1011"),
            ("examplePriority@32473.class", "high"),
        ];
        assert_eq!(
            TestRecord { timestamp: None, ..found },
            message("An application event", &attributes)
        );
    }

    /// Lines of OpenSSH, of cron and of a Cisco router.
    #[test]
    fn messages_of_rfc_3164() {
        let line = "<38>Feb 29 12:00:00 web1 sshd[4711]: Failed password for root from 192.0.2.7 port 41000 ssh2";
        let found = parse(json!({ "protocol": "rfc3164" }), line).unwrap();
        let attributes = [
            ("facility", "auth"),
            ("severity", "info"),
            ("hostname", "web1"),
            ("appname", "sshd"),
            ("procid", "4711"),
        ];
        assert_eq!(
            TestRecord { timestamp: None, ..found },
            message("Failed password for root from 192.0.2.7 port 41000 ssh2", &attributes)
        );
        let line = "<78>Oct  1 03:17:01 web1 CRON[12]: (root) CMD (run-parts /etc/cron.hourly)";
        let found = parse(json!({}), line).unwrap();
        assert_eq!(&*found.value.unwrap(), b"(root) CMD (run-parts /etc/cron.hourly)");
    }

    #[test]
    fn a_time_without_a_year_is_near_the_clock() {
        let year = |date: (u32, u32), now: &str| {
            year_of((date.0, date.1, 0, 0, 0), parse_rfc3339(now.as_bytes()).unwrap())
        };
        assert_eq!(year((2, 29), "2024-02-29T12:00:00Z"), 2024);
        assert_eq!(year((12, 31), "2024-01-01T00:00:00Z"), 2023);
        assert_eq!(year((1, 1), "2023-12-31T12:00:00Z"), 2024);
        assert_eq!(year((1, 2), "2023-12-31T12:00:00Z"), 2023);
        assert_eq!(year((2, 29), "2027-02-28T12:00:00Z"), 2024);
        assert_eq!(year((2, 29), "2103-02-28T12:00:00Z"), 2096);
        // In winter, Berlin is an hour ahead.
        let time = |zone: &str| {
            parse(json!({ "zone": zone }), "<38>Jan 15 12:00:00 h a: m").unwrap().timestamp.unwrap()
        };
        assert_eq!(time("UTC") - time("Europe/Berlin"), 3_600_000_000_000);
    }

    #[test]
    fn what_is_no_syslog_is_rejected() {
        for line in ["", "plain text", "<999>x", "<34", "2024-02-29T12:00:00Z host app: x"] {
            assert!(parse(json!({}), line).unwrap_err().contains("no syslog message"), "{line:?}");
        }
        let strict = json!({ "protocol": "rfc5424" });
        assert!(parse(strict, "<38>Feb 29 12:00:00 web1 sshd[4711]: x").is_err());
        let opened = Opened::<ParseSyslog>::open(r#"{ "zone": "Berlin" }"#);
        assert!(opened.err().unwrap().message.contains("Europe/Berlin"));
    }
}

mod rfc3164;
mod rfc5424;

use jiff::tz::TimeZone;
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Row, Setup, Stage, now};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The protocol; without it, either.
    protocol: Option<Protocol>,
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default)]
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

fn zone() -> String {
    "UTC".to_owned()
}

/// The message becomes the value, the time that of the record, and the rest the attributes
/// `facility`, `severity`, `hostname`, `appname`, `procid`, `msgid`, and `ID.NAME` for each
/// parameter of structured data.
pub struct ParseSyslog {
    from: Field,
    protocol: Option<Protocol>,
    zone: TimeZone,
    now: i64,
}

impl Stage for ParseSyslog {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let zone = TimeZone::get(&config.zone).map_err(|_| {
            format!(
                "`zone`, {:?}, is no time zone: write one such as \"Europe/Berlin\"",
                config.zone
            )
        })?;
        Ok(Self { from: setup.part(&config.from), protocol: config.protocol, zone, now: 0 })
    }

    fn begin_batch(&mut self) {
        self.now = now();
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.from).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?.trim_end_matches('\0');
        let (priority, text) = priority(line)?;
        let has_version = text.starts_with("1 ");
        match self.protocol {
            Some(Protocol::Rfc5424) if !has_version => {
                Err("it is no message of RFC 5424: no version 1 is behind the priority".into())
            }
            Some(Protocol::Rfc5424) | None if has_version => {
                let message = rfc5424::parse(text)
                    .map_err(|why| format!("it is no message of RFC 5424: {why}"))?;
                let mut row = with_priority(out.keep().value(message.text), priority);
                if let Some(time) = message.time {
                    row = row.timestamp(time);
                }
                for (name, text) in message.parts() {
                    row = row.attribute(name, text);
                }
                for (name, text) in &message.data {
                    row = row.attribute(name, text);
                }
                Ok(())
            }
            _ => {
                let message = rfc3164::parse(text, &self.zone, self.now);
                if priority.is_none() && message.time.is_none() {
                    return Err(
                        "it is no syslog message: it begins neither with a priority, such as \
                                <34>, nor with a time"
                            .into(),
                    );
                }
                let mut row = with_priority(out.keep().value(message.text), priority);
                if let Some(time) = message.time {
                    row = row.timestamp(time);
                }
                for (name, text) in [
                    ("hostname", message.hostname),
                    ("appname", message.appname),
                    ("procid", message.procid),
                ] {
                    if let Some(text) = text {
                        row = row.attribute(name, text);
                    }
                }
                Ok(())
            }
        }
    }
}

/// The priority at the begin of a line, if there is one, and what is behind it.
fn priority(line: &str) -> Result<(Option<u8>, &str), Rejection> {
    let Some(rest) = line.strip_prefix('<') else { return Ok((None, line)) };
    // RFC 5424, section 6.2.1: 23 facilities of 8 severities.
    const MOST: u8 = 191;
    let none = || "it is no syslog message: a priority is a number up to 191, as in <34>";
    let (digits, text) = rest.split_once('>').ok_or_else(none)?;
    let valid = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = valid.then(|| digits.parse().ok()).flatten().filter(|number| *number <= MOST);
    Ok((Some(number.ok_or_else(none)?), text))
}

fn with_priority(row: Row<'_>, priority: Option<u8>) -> Row<'_> {
    // RFC 5424, section 6.2.1, by the names that syslog.h has for them.
    const FACILITIES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "ntp", "audit", "alert", "clockd", "local0", "local1", "local2",
        "local3", "local4", "local5", "local6", "local7",
    ];
    const SEVERITIES: [&str; 8] =
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let Some(priority) = priority.map(usize::from) else { return row };
    row.attribute("facility", FACILITIES[priority / 8])
        .attribute("severity", SEVERITIES[priority % 8])
}

pipehost_plugin::export!(ParseSyslog);

#[cfg(test)]
mod tests {
    use super::ParseSyslog;
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
        let expected = message("'su root' failed for lonvick on /dev/pts/8", &attributes);
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

    /// Lines as rsyslog writes them to files have no priority; Heroku leaves out a part.
    #[test]
    fn messages_that_lack_parts() {
        let found =
            parse(json!({ "zone": "Europe/Berlin" }), "Mar 29 02:30:00 h app: gap").unwrap();
        assert!(found.timestamp.is_some());
        assert_eq!(
            TestRecord { timestamp: None, ..found },
            message("gap", &[("hostname", "h"), ("appname", "app")])
        );
        let heroku = "<40>1 2012-11-30T06:45:29+00:00 host app web.3 - State changed";
        let found = parse(json!({}), heroku).unwrap();
        let attributes = [
            ("facility", "syslog"),
            ("severity", "emerg"),
            ("hostname", "host"),
            ("appname", "app"),
            ("procid", "web.3"),
        ];
        assert_eq!(TestRecord { timestamp: None, ..found }, message("State changed", &attributes));
        // What begins like structured data is none without a value.
        for text in ["[ERROR] db down", "\tat com.x.Foo  ", "[GET] /x [200]"] {
            let found = parse(json!({}), &format!("<40>1 - - - - - {text}")).unwrap();
            assert_eq!(found, message(text, &[("facility", "syslog"), ("severity", "emerg")]));
        }
        let line = r#"<40>1 - - - 0012 - [a@1 x="1" y="\]" x="2"][warn]  two "#;
        let found = parse(json!({}), line).unwrap();
        let attributes = [
            ("facility", "syslog"),
            ("severity", "emerg"),
            ("procid", "0012"),
            ("a@1.x", "1,2"),
            ("a@1.y", "]"),
            ("warn", ""),
        ];
        assert_eq!(found, message(" two ", &attributes));
        let found = parse(json!({}), "<191>no header").unwrap();
        assert_eq!(found, message("no header", &[("facility", "local7"), ("severity", "debug")]));
    }

    #[test]
    fn what_is_no_syslog_is_rejected() {
        for line in ["", "plain text", "<999>x", "<34"] {
            assert!(parse(json!({}), line).unwrap_err().contains("no syslog message"), "{line:?}");
        }
        let strict = json!({ "protocol": "rfc5424" });
        assert!(parse(strict, "<38>Feb 29 12:00:00 web1 sshd[4711]: x").is_err());
        for (line, why) in [
            ("<192>1 2003-10-11T22:14:15Z h a - - - x", "up to 191"),
            ("<34>1 2003-10-11 h a - - - x", "its time, \"2003-10-11\","),
            ("<34>1 2003-10-11T22:14:15Z h a", "it ends before the procid"),
            ("<34>1 2003-10-11T22:14:15Z h a - - [x a=\"", "its structured data"),
        ] {
            let reason = parse(json!({}), line).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        }
        let opened = Opened::<ParseSyslog>::open(r#"{ "zone": "Berlin" }"#);
        assert!(opened.err().unwrap().message.contains("Europe/Berlin"));
    }
}

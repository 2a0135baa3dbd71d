use std::collections::BTreeMap;

use grok::{Grok, Pattern};
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("examples" = [{ "pattern": "%{IP:client} %{WORD:method} %{NOTSPACE:path}" }]))]
pub struct Config {
    /// A pattern such as `%{IPORHOST:client} %{NUMBER:bytes}`: what has a name becomes an
    /// attribute. The patterns that come with Logstash are known.
    pattern: String,
    /// Own patterns, by the names that others use them by.
    #[serde(default)]
    patterns: BTreeMap<String, String>,
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default)]
    from: Part,
    /// What happens to a record that the pattern does not match.
    #[serde(default)]
    unmatched: Unmatched,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Unmatched {
    /// It is rejected.
    #[default]
    Reject,
    /// It goes on as it is.
    Keep,
}

/// A pattern may be found anywhere in the text: `^` and `$` bind it to the begin and the end.
pub struct ParseGrok {
    from: Field,
    pattern: Pattern,
    /// What the pattern names, and the attribute of each, in an order that is the same in each run.
    names: BTreeMap<String, String>,
    keeps_unmatched: bool,
}

impl Stage for ParseGrok {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let mut grok = Grok::with_default_patterns();
        for (name, pattern) in config.patterns {
            grok.add_pattern(name, pattern);
        }
        let pattern = grok.compile(&config.pattern, true);
        let pattern = pattern.map_err(|error| format!("`pattern`: {error}"))?;
        let names: BTreeMap<_, _> =
            pattern.capture_names().map(|name| (name.to_owned(), attribute(name))).collect();
        if names.is_empty() {
            return Err(
                "`pattern` names nothing: write %{NUMBER:bytes} for an attribute `bytes`".into()
            );
        }
        let from = setup.part(&config.from);
        Ok(Self { from, pattern, names, keeps_unmatched: config.unmatched == Unmatched::Keep })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let text = match record.get(self.from).map(std::str::from_utf8) {
            Some(Ok(text)) => Ok(text),
            Some(Err(_)) => Err("it is not UTF-8, which a Grok pattern needs"),
            None => Err("there is nothing to match"),
        };
        let found = text
            .and_then(|text| self.pattern.match_against(text).ok_or("the pattern does not match"));
        let found = match found {
            Ok(found) => found,
            Err(why) if !self.keeps_unmatched => return Err(why.into()),
            Err(_) => {
                out.keep();
                return Ok(());
            }
        };
        let mut row = out.keep();
        for (name, attribute) in &self.names {
            if let Some(text) = found.get(name) {
                row = row.attribute(attribute, text);
            }
        }
        Ok(())
    }
}

/// The attribute for a name: `client.ip` for `[client][ip]`, which is a member of a member in
/// Logstash.
fn attribute(name: &str) -> String {
    let path = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    path.map_or_else(|| name.to_owned(), |path| path.replace("][", "."))
}

pipehost_plugin::export!(ParseGrok);

#[cfg(test)]
mod tests {
    use super::ParseGrok;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[track_caller]
    fn becomes(config: Value, line: &str, attributes: &[(&str, &str)]) {
        let out = run::<ParseGrok>(config, [record(line)]);
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let mut expected = record(line);
        for (name, text) in attributes {
            expected = expected.attribute(name, text);
        }
        assert_eq!(out.port("out"), [expected]);
    }

    #[test]
    fn the_usual_patterns_are_there() {
        becomes(
            json!({ "pattern": "%{COMMONAPACHELOG}" }),
            r#"192.0.2.7 - jo [29/Feb/2024:12:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 512"#,
            &[
                ("clientip", "192.0.2.7"),
                ("ident", "-"),
                ("auth", "jo"),
                ("verb", "GET"),
                ("timestamp", "29/Feb/2024:12:00:00 +0000"),
                ("request", "/a?b=1"),
                ("httpversion", "1.1"),
                ("response", "200"),
                ("bytes", "512"),
            ],
        );
        becomes(
            json!({ "pattern": "^%{TIMESTAMP_ISO8601:time} +%{LOGLEVEL:level} %{GREEDYDATA:message}$" }),
            "2024-02-29T12:00:00,123 WARN  slow query",
            &[("time", "2024-02-29T12:00:00,123"), ("level", "WARN"), ("message", " slow query")],
        );
        becomes(
            json!({ "pattern": "%{IP:client} %{WORD:method} %{URIPATHPARAM:request} %{NUMBER:bytes} %{NUMBER:duration}" }),
            "55.3.244.1 GET /index.html 15824 0.043",
            &[
                ("client", "55.3.244.1"),
                ("method", "GET"),
                ("request", "/index.html"),
                ("bytes", "15824"),
                ("duration", "0.043"),
            ],
        );
    }

    #[test]
    fn own_patterns_and_what_does_not_match() {
        let config = json!({ "pattern": "%{ORDER:order}", "patterns": { "ORDER": "[A-Z]{2}-\\d+" }, "unmatched": "keep" });
        becomes(config.clone(), "order AB-17 is late", &[("order", "AB-17")]);
        becomes(config, "nothing", &[]);
        let named = json!({ "pattern": "%{IP:[client][ip]} %{NUMBER:n:int}" });
        becomes(named, "10.0.0.1 5", &[("client.ip", "10.0.0.1"), ("n", "5")]);
        let all = json!({ "pattern": "%{GREEDYDATA:x}", "unmatched": "keep", "from": "key" });
        let records = || [record("no key"), record("bytes").key(b"\xff")];
        assert_eq!(run::<ParseGrok>(all, records()).port("out"), records());
        let out =
            run::<ParseGrok>(json!({ "pattern": "^%{INT:n}$" }), [record("x"), record(b"\xff")]);
        assert_eq!(out.rejected[0].1, "the pattern does not match");
        assert!(out.rejected[1].1.contains("not UTF-8"));
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told =
            |config: Value| Opened::<ParseGrok>::open(&config.to_string()).err().unwrap().message;
        let message = told(json!({ "pattern": "%{NOSUCH:x}" }));
        assert!(message.contains("NOSUCH"), "{message}");
        assert!(told(json!({ "pattern": "plain" })).contains("names nothing"));
        told(json!({ "pattern": "(%{INT:x}" }));
        // A pattern that contains itself.
        told(json!({ "pattern": "%{A:x}", "patterns": { "A": "%{B}", "B": "%{A}" } }));
    }
}

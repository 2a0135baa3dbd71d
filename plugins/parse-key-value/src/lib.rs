mod pairs;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};

use pairs::{Pair, Pairs};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default)]
    from: Part,
    /// Names that become attributes; without it, all of them.
    attributes: Option<Vec<String>>,
    /// The character between a name and its value.
    #[serde(default = "equals")]
    between: char,
    /// The character between two pairs. Spaces around a pair are no part of it.
    #[serde(default = "space")]
    delimiter: char,
}

fn equals() -> char {
    '='
}

fn space() -> char {
    ' '
}

/// Attributes of a record.
const MOST: usize = 1000;

/// A value in double quotes may hold anything; escapes in it are those of JSON and of Go, such as
/// `\"`, `\n`, `\u0041` and `\x1b`. A name without a value has the value `true`.
pub struct ParseKeyValue {
    from: Field,
    attributes: Option<Vec<String>>,
    pairs: Pairs,
}

impl Stage for ParseKeyValue {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let ascii = |name, c: char| {
            let byte =
                u8::try_from(c).ok().filter(|byte| byte.is_ascii() && !b"\"\\".contains(byte));
            byte.ok_or_else(|| Error::from(format!("`{name}` is one ASCII character, no quote")))
        };
        let between = ascii("between", config.between)?;
        let delimiter = ascii("delimiter", config.delimiter)?;
        if between == delimiter {
            return Err("`between` and `delimiter` are the same".into());
        }
        Ok(Self {
            from: setup.part(&config.from),
            attributes: config.attributes,
            pairs: Pairs { between, delimiter },
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut row = out.keep();
        let mut text = record.get(self.from).unwrap_or_default();
        let mut count = 0;
        while let Some(pair) = self.pairs.next(&mut text) {
            let Pair { name, value } = pair?;
            let name =
                std::str::from_utf8(name).map_err(|_| "the name of an attribute is not UTF-8")?;
            if self.attributes.as_ref().is_none_or(|wanted| wanted.iter().any(|w| w == name)) {
                // Each name is a column of the batch: plain text would make one of each word.
                count += 1;
                if count > MOST {
                    return Err(format!("it has more than {MOST} pairs").into());
                }
                row = row.attribute(name, value);
            }
        }
        Ok(())
    }
}

pipehost_plugin::export!(ParseKeyValue);

#[cfg(test)]
mod tests {
    use super::ParseKeyValue;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[track_caller]
    fn becomes(config: Value, line: &str, pairs: &[(&str, &str)]) {
        let out = run::<ParseKeyValue>(config, [record(line)]);
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let mut expected = record(line);
        for (name, value) in pairs {
            expected = expected.attribute(name, value);
        }
        assert_eq!(out.port("out"), [expected]);
    }

    /// Lines of Heroku's router, of Grafana, of Go's `slog` and of Caddy's authors.
    #[test]
    fn lines_of_real_programs() {
        becomes(
            json!({}),
            r#"at=info method=GET path="/a b?x=1" host=example.com dyno=web.1 connect=1ms status=200 bytes=653"#,
            &[
                ("at", "info"),
                ("method", "GET"),
                ("path", "/a b?x=1"),
                ("host", "example.com"),
                ("dyno", "web.1"),
                ("connect", "1ms"),
                ("status", "200"),
                ("bytes", "653"),
            ],
        );
        becomes(
            json!({}),
            r#"logger=context t=2024-02-29T12:00:00.5Z level=error msg="Request \"failed\"" error="a\\b\nc\u00e9\ud83d\ude00""#,
            &[
                ("logger", "context"),
                ("t", "2024-02-29T12:00:00.5Z"),
                ("level", "error"),
                ("msg", "Request \"failed\""),
                ("error", "a\\b\nc\u{e9}\u{1f600}"),
            ],
        );
        becomes(
            json!({}),
            "time=1 verbose  x= y=a=b",
            &[("time", "1"), ("verbose", "true"), ("x", ""), ("y", "a=b")],
        );
        becomes(json!({}), "", &[]);
        becomes(json!({}), "  ", &[]);
        becomes(json!({}), "a=1 a=2", &[("a", "2")]);
        // Of logrus and of slog's TextHandler; spaces, tabs and single quotes.
        becomes(
            json!({}),
            r#"msg="\x1b[31mred\x1b[0m\a" face="\U0001f600" it="\'s""#,
            &[("msg", "\u{1b}[31mred\u{1b}[0m\u{7}"), ("face", "\u{1f600}"), ("it", "'s")],
        );
        becomes(json!({}), "a = 1 b= c=2", &[("a", "1"), ("b", ""), ("c", "2")]);
        becomes(json!({}), "a=1\tb=2\n", &[("a", "1"), ("b", "2")]);
        becomes(json!({}), "a='x y' b='tis c=1", &[("a", "x y"), ("b", "'tis"), ("c", "1")]);
    }

    #[test]
    fn other_separators_and_some_names() {
        let config = json!({ "between": ":", "delimiter": ",", "attributes": ["b", "none"] });
        becomes(config.clone(), "a:1, b: \"x, y\" ,c:2", &[("b", "x, y")]);
        becomes(config, "b:two words", &[("b", "two words")]);
        becomes(json!({ "delimiter": "\t" }), "a=x y\tb=2", &[("a", "x y"), ("b", "2")]);
        let config = json!({ "from": "labels" });
        let out =
            run::<ParseKeyValue>(config, [record("x=1").attribute("labels", "y=2"), record("x=1")]);
        let first = record("x=1").attribute("labels", "y=2").attribute("y", "2");
        assert_eq!(out.port("out"), [first, record("x=1")]);
    }

    #[test]
    fn what_cannot_be_right_is_rejected() {
        let lines = [
            r#"a="open"#,
            r#"a="b"c"#,
            r#"a="\xg0""#,
            r#"a="\ud800""#,
            r#"a="\q""#,
            "=1",
            r#"a="x", b=1"#,
        ];
        let out = run::<ParseKeyValue>(json!({}), lines.map(record));
        let reasons: Vec<_> = out.rejected.iter().map(|(_, reason)| &**reason).collect();
        assert_eq!(
            reasons,
            [
                "a quote is not closed",
                "a closing quote is not followed by a space",
                "`\\xg0` is no escape",
                "`\\ud800` is no character",
                "`\\q` is no escape",
                "a value has no name",
                "a closing quote is not followed by a space; if ',' is between pairs, set `delimiter` \
                 to ','",
            ]
        );
        assert!(out.port("out").is_empty());
        let words = |count: usize| record((0..count).map(|n| format!("w{n} ")).collect::<String>());
        let out = run::<ParseKeyValue>(json!({}), [words(1000), words(1001)]);
        assert_eq!(out.port("out").len(), 1);
        assert_eq!(out.rejected, [(1, "it has more than 1000 pairs".to_owned())]);
        for config in
            [r#"{ "between": " " }"#, r#"{ "delimiter": "é" }"#, r#"{ "delimiter": "\"" }"#]
        {
            assert!(Opened::<ParseKeyValue>::open(config).is_err(), "{config}");
        }
    }
}

use std::fmt::Display;

use pipehost_plugin::json::{Member, Members};
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage, parse_rfc3339};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// Members that become attributes; without it, all of them.
    attributes: Option<Vec<String>>,
    /// The member that becomes the key.
    key: Option<String>,
    /// The member that becomes the time, in RFC 3339.
    timestamp: Option<String>,
    /// The member that becomes the value; without it, the value stays what it is.
    value: Option<String>,
}

/// Texts are taken as they are, anything else as it is written; null is as if it were not there.
pub struct ParseJson {
    input: Field,
    config: Config,
}

impl Stage for ParseJson {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { input: setup.value(), config })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let Config { attributes, key, timestamp, value } = &self.config;
        let text = record.get(self.input).unwrap_or_default();
        let object = Members::parse(text)?;
        let find = |name: &String| match object.get(name) {
            None => Ok(None),
            Some(member) => member.value().map_err(|why| wrong(name, &why)),
        };
        let time = match timestamp.as_ref().and_then(|name| Some((name, object.get(name)?))) {
            Some((name, time)) if !time.is_null() => {
                Some(nanoseconds(time).map_err(|why| wrong(name, &why.message))?)
            }
            _ => None,
        };
        let mut row = out.keep();
        if let Some(time) = time {
            row = row.timestamp(time);
        }
        if let Some(key) = key.as_ref().map(find).transpose()?.flatten() {
            row = row.key(&*key);
        }
        if let Some(value) = value.as_ref().map(find).transpose()?.flatten() {
            row = row.value(&*value);
        }
        match attributes {
            Some(names) => {
                for name in names {
                    if let Some(text) = find(name)? {
                        row = row.attribute(name, &*text);
                    }
                }
            }
            None => {
                for (name, member) in object.iter().filter(|(name, _)| !name.is_empty()) {
                    if let Some(text) = member.value().map_err(|why| wrong(&name, &why))? {
                        row = row.attribute(&name, &*text);
                    }
                }
            }
        }
        Ok(())
    }
}

fn wrong(member: &str, why: &dyn Display) -> Rejection {
    Rejection::new(format!("the member `{member}` is {why}"))
}

fn nanoseconds(member: Member) -> Result<i64, Error> {
    let text = member.text()?.ok_or("not a text with an RFC 3339 time")?;
    Ok(parse_rfc3339(text.as_bytes())?)
}

pipehost_plugin::export!(ParseJson);

#[cfg(test)]
mod tests {
    use super::ParseJson;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn members_become_what_the_configuration_says() {
        let text = r#"{"at":"1970-01-01T00:00:01Z","id":12345678901234567890123,"level":"INFO","none":null,"x":[1]}"#;
        let config =
            json!({ "key": "id", "timestamp": "at", "attributes": ["level", "x", "none"] });
        let out = run::<ParseJson>(config, [record(text)]);
        let expected = record(text)
            .key("12345678901234567890123")
            .timestamp(1_000_000_000)
            .attribute("level", "INFO")
            .attribute("x", "[1]");
        assert_eq!(out.port("out"), [expected]);
    }

    #[test]
    fn without_a_list_all_members_become_attributes() {
        let out = run::<ParseJson>(json!({ "value": "b" }), [record(r#"{"a":1,"b":"text"}"#)]);
        let expected = record("text").attribute("a", "1").attribute("b", "text");
        assert_eq!(out.port("out"), [expected]);
    }

    #[test]
    fn what_is_no_object_is_rejected() {
        let config = json!({ "timestamp": "t" });
        let out = run::<ParseJson>(config, ["", "[1]", "{", r#"{"t":5}"#].map(record));
        let rows: Vec<_> = out.rejected.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [0, 1, 2, 3]);
        assert_eq!(out.rejected[3].1, "the member `t` is not a text with an RFC 3339 time");
    }
}

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::ser::{SerializeMap as _, Serializer as _};
use pipehost_plugin::serde::{Deserialize, Serialize};
use pipehost_plugin::serde_json::Value;
use pipehost_plugin::serde_json::value::RawValue;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage, Time, rfc3339};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// Attributes that become members, in this order; one that a record lacks is left out.
    attributes: Vec<String>,
    /// The member that takes the key.
    key: Option<String>,
    /// The member that takes the time, in RFC 3339.
    timestamp: Option<String>,
    /// The member that takes the value.
    value: Option<String>,
    /// Attributes whose text is JSON already: numbers, lists, objects.
    #[serde(default)]
    raw: Vec<String>,
}

enum Part {
    Field(Field),
    Raw(Field),
    Time(Time),
}

/// The object becomes the value.
pub struct ToJson {
    members: Vec<(String, Part)>,
}

impl Stage for ToJson {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let mut members = Vec::new();
        members.extend(config.timestamp.map(|name| (name, Part::Time(setup.timestamp()))));
        members.extend(config.key.map(|name| (name, Part::Field(setup.key()))));
        for name in config.attributes {
            let field = setup.attribute(&name);
            let raw = config.raw.contains(&name);
            members.push((name, if raw { Part::Raw(field) } else { Part::Field(field) }));
        }
        members.extend(config.value.map(|name| (name, Part::Field(setup.value()))));
        let twice = members
            .iter()
            .enumerate()
            .find(|(i, (name, _))| members[..*i].iter().any(|(before, _)| before == name));
        if let Some((_, (name, _))) = twice {
            return Err(format!("two members are called {name:?}").into());
        }
        if let Some(name) = config.raw.iter().find(|name| !members.iter().any(|(n, _)| n == *name))
        {
            return Err(format!("`raw` names {name:?}, which is not among `attributes`").into());
        }
        Ok(Self { members })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut members = Vec::with_capacity(self.members.len());
        for (name, part) in &self.members {
            let value = match part {
                Part::Time(time) => record.timestamp(*time).map(|time| Json::Time(rfc3339(time))),
                Part::Field(field) => {
                    record.get(*field).map(|bytes| text(name, bytes)).transpose()?
                }
                Part::Raw(field) => {
                    record.get(*field).map(|bytes| json(name, bytes)).transpose()?
                }
            };
            members.extend(value.map(|value| (name, value)));
        }
        out.keep().value_with(|value| write(&members, value).expect("a vector takes all"));
        Ok(())
    }
}

/// What a member holds.
#[derive(Serialize)]
#[serde(crate = "pipehost_plugin::serde", untagged)]
enum Json<'a> {
    Text(&'a str),
    Time(String),
    /// As it is written: numbers keep all of their digits.
    Written(&'a RawValue),
    Parsed(Value),
}

fn write(
    members: &[(&String, Json<'_>)],
    out: &mut Vec<u8>,
) -> pipehost_plugin::serde_json::Result<()> {
    let mut serializer = pipehost_plugin::serde_json::Serializer::new(out);
    let mut map = serializer.serialize_map(None)?;
    for (name, value) in members {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<Json<'a>, Rejection> {
    let text = std::str::from_utf8(bytes);
    text.map(Json::Text).map_err(|_| Rejection::new(format!("`{name}` is not UTF-8")))
}

fn json<'a>(name: &str, bytes: &'a [u8]) -> Result<Json<'a>, Rejection> {
    // An object is one line, whoever wrote a part of it.
    let read = if bytes.contains(&b'\n') || bytes.contains(&b'\r') {
        pipehost_plugin::serde_json::from_slice(bytes).map(Json::Parsed)
    } else {
        pipehost_plugin::serde_json::from_slice(bytes).map(Json::Written)
    };
    read.map_err(|error| Rejection::new(format!("`{name}` is not JSON: {error}")))
}

pipehost_plugin::export!(ToJson);

#[cfg(test)]
mod tests {
    use super::ToJson;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn a_record_becomes_an_object() {
        let config = json!({
            "timestamp": "at", "key": "id", "attributes": ["level", "n", "none"], "raw": ["n"],
            "value": "text"
        });
        let input = record("a \"quote\"").key("k").timestamp(0);
        let input = input.attribute("level", "INFO").attribute("n", "12345678901234567890.10");
        let out = run::<ToJson>(config, [input.clone()]);
        let json = r#"{"at":"1970-01-01T00:00:00Z","id":"k","level":"INFO","n":12345678901234567890.10,"text":"a \"quote\""}"#;
        assert_eq!(out.port("out"), [input.value(json)]);
    }

    #[test]
    fn an_object_is_one_line() {
        let config = json!({ "attributes": ["n"], "raw": ["n"] });
        let input = record("").attribute("n", "[1,\n 2]");
        let out = run::<ToJson>(config, [input.clone()]);
        assert_eq!(out.port("out"), [input.value(r#"{"n":[1,2]}"#)]);
    }

    #[test]
    fn what_json_cannot_hold_is_rejected() {
        let config = json!({ "attributes": ["a", "n"], "raw": ["n"] });
        let records = [record("").attribute("a", b"\xff"), record("").attribute("n", "1 and more")];
        let out = run::<ToJson>(config, records);
        assert_eq!(out.rejected[0].1, "`a` is not UTF-8");
        assert!(out.rejected[1].1.starts_with("`n` is not JSON: "));
    }

    #[test]
    fn raw_names_what_is_written_and_no_member_comes_twice() {
        assert!(Opened::<ToJson>::open(r#"{ "attributes": [], "raw": ["x"] }"#).is_err());
        let twice = Opened::<ToJson>::open(r#"{ "attributes": ["a"], "value": "a" }"#);
        assert_eq!(twice.err().unwrap().message, "two members are called \"a\"");
    }
}

//! A JSON object a line.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pipehost_plugin::json::{Member, Members as Object};
use serde_json::{Map, Value, json};

use super::{Decoded, Undecodable};
use crate::config::{JsonAttributes, JsonMembers};
use crate::record::{Batch, MAX_ATTRIBUTES, Record};
use crate::template::rfc3339;

/// Turns members of an object into parts of a record.
pub struct Members(JsonMembers);

impl Members {
    pub(super) fn new(members: JsonMembers) -> Self {
        Self(members)
    }

    pub(super) fn decode(&self, place: &Arc<str>, number: u64, line: &[u8], out: &mut Decoded) {
        match self.parts(line) {
            Ok(Parts { timestamp, key, value, attributes }) => {
                let key = key.as_deref().map(str::as_bytes);
                // Without a member that is the value, the line is.
                let value = value.as_ref().map_or(Some(line), |v| v.as_deref().map(str::as_bytes));
                let attributes = attributes.iter().map(|(name, text)| (&**name, text.as_bytes()));
                out.batch.push(place, number, timestamp, key, value, attributes);
            }
            Err(reason) => {
                let record = Record { value: Some(line.to_vec()), ..Record::default() };
                out.undecodable.push(Undecodable { number, reason, record });
            }
        }
    }

    fn parts<'a>(&'a self, line: &'a [u8]) -> Result<Parts<'a>, String> {
        let object = Object::parse(line)?;
        let at = |name: &str, why: String| format!("the member `{name}` is {why}");
        let text = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(member) => member.value().map_err(|why| at(name, why)),
        };
        let timestamp = match &self.0.timestamp {
            None => None,
            Some(name) => match object.get(name).filter(|member| !member.is_null()) {
                None => None,
                Some(member) => Some(time(member).map_err(|why| at(name, why))?),
            },
        };
        let key = self.0.key.as_deref().map(text).transpose()?.flatten();
        let value = self.0.value.as_deref().map(text).transpose()?;
        let mut attributes = Vec::new();
        match &self.0.attributes {
            JsonAttributes::None => {}
            JsonAttributes::All => {
                for (name, member) in object.iter() {
                    let text = member.value().map_err(|why| at(&name, why))?;
                    attributes.extend(text.map(|text| (name, text)));
                }
            }
            JsonAttributes::Named(names) => {
                for name in names {
                    attributes.extend(text(name)?.map(|text| (Cow::Borrowed(&**name), text)));
                }
            }
        }
        if attributes.len() > MAX_ATTRIBUTES {
            let count = attributes.len();
            return Err(format!(
                "it has {count} members, and at most {MAX_ATTRIBUTES} can be attributes"
            ));
        }
        Ok(Parts { timestamp, key, value, attributes })
    }
}

/// What a line makes of a record.
struct Parts<'a> {
    timestamp: Option<i64>,
    key: Option<Cow<'a, str>>,
    /// None if no member is the value.
    value: Option<Option<Cow<'a, str>>>,
    attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

fn time(member: Member<'_>) -> Result<i64, String> {
    let text = member.text()?.ok_or("not a text with an RFC 3339 time")?;
    let time: jiff::Timestamp =
        text.parse().map_err(|error| format!("not an RFC 3339 time: {error}"))?;
    i64::try_from(time.as_nanosecond())
        .map_err(|_| "not between the years 1677 and 2262".to_owned())
}

/// Writes `timestamp`, `key`, `value` and `attributes`, of those that a record has.
/// Bytes that are not UTF-8 become `{"base64": "…"}`.
pub(super) fn encode(batch: &Batch, out: &mut Vec<u8>) {
    for row in 0..batch.len {
        let record = batch.record(row);
        let mut object = Map::new();
        if let Some(time) = record.timestamp {
            object.insert("timestamp".to_owned(), rfc3339(time).into());
        }
        for (name, bytes) in [("key", record.key), ("value", record.value)] {
            if let Some(bytes) = bytes {
                object.insert(name.to_owned(), text(bytes));
            }
        }
        if !record.attributes.is_empty() {
            let attributes: Map<_, _> =
                record.attributes.into_iter().map(|(name, bytes)| (name, text(bytes))).collect();
            object.insert("attributes".to_owned(), attributes.into());
        }
        serde_json::to_writer(&mut *out, &object).expect("a vector takes all, and keys are texts");
        out.push(b'\n');
    }
}

fn text(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => json!({ "base64": BASE64_STANDARD.encode(error.as_bytes()) }),
    }
}

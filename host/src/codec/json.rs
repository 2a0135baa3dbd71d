//! A JSON object a line.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
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
        match self.record(line) {
            Ok(record) => out.batch.push_record(place, number, &record),
            Err(reason) => {
                let record = Record { value: Some(line.to_vec()), ..Record::default() };
                out.undecodable.push(Undecodable { number, reason, record });
            }
        }
    }

    fn record(&self, line: &[u8]) -> Result<Record, String> {
        let mut object: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
        let timestamp = match &self.0.timestamp {
            None => None,
            Some(member) => {
                time(object.get(member)).map_err(|why| format!("the member `{member}` {why}"))?
            }
        };
        let key = self.0.key.as_ref().and_then(|member| bytes(object.get(member)?));
        let value = match &self.0.value {
            None => Some(line.to_vec()),
            Some(member) => object.get(member).and_then(bytes),
        };
        let attributes = match &self.0.attributes {
            JsonAttributes::None => Vec::new(),
            JsonAttributes::All => object
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), bytes(value)?)))
                .collect(),
            JsonAttributes::Named(names) => names
                .iter()
                .filter_map(|name| Some((name.clone(), bytes(&object.remove(name)?)?)))
                .collect(),
        };
        if attributes.len() > MAX_ATTRIBUTES {
            let count = attributes.len();
            return Err(format!(
                "it has {count} members, and at most {MAX_ATTRIBUTES} can be attributes"
            ));
        }
        Ok(Record { timestamp, key, value, attributes })
    }
}

/// A text as it is, anything else as JSON; null is no value.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

fn time(value: Option<&Value>) -> Result<Option<i64>, String> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err("is not a text with an RFC 3339 time".to_owned()),
    };
    let time: jiff::Timestamp =
        text.parse().map_err(|error| format!("is not an RFC 3339 time: {error}"))?;
    i64::try_from(time.as_nanosecond())
        .map(Some)
        .map_err(|_| "is not between the years 1677 and 2262".to_owned())
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

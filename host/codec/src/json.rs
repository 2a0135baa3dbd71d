//! One JSON object per line (RFC 8259). Empty lines are skipped.

use std::borrow::Cow;
use std::fmt::Display;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pipehost_plugin::json::{Member, Members as Object};
use pipehost_plugin::parse_rfc3339;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::decoded::Place;
use crate::{Decoded, Undecodable};
use pipehost_config::{JsonAttributes, JsonMembers, JsonParts, PartSet};
use pipehost_record::check_name;
use pipehost_record::time::rfc3339;
use pipehost_record::{Batch, Record};

/// Maps the members of an object to the parts of a record.
pub struct Members(JsonMembers);

impl Members {
    pub(super) fn new(members: JsonMembers) -> Self {
        Self(members)
    }

    /// Decodes a line; skips an empty one.
    pub(super) fn decode(&self, place: Place<'_>, line: &[u8], out: &mut Decoded) {
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return;
        }
        match self.parts(line, out.most_attributes()) {
            Ok(Parts { timestamp, key, value, attributes }) => {
                let key = key.as_deref().map(str::as_bytes);
                // If no member is configured as the value, the value is the line.
                let value = value.as_ref().map_or(Some(line), |v| v.as_deref().map(str::as_bytes));
                let attributes = attributes.iter().map(|(name, text)| (&**name, text.as_bytes()));
                out.push(place, timestamp, key, value, attributes);
            }
            Err(reason) => {
                let record = Record { value: Some(line.to_vec()), ..Record::default() };
                let (number, reason) = (place.number, reason.to_string());
                out.refuse(Undecodable { number, reason, record });
            }
        }
    }

    fn parts<'a>(&'a self, line: &'a [u8], most: usize) -> Result<Parts<'a>, Malformed> {
        let object = Object::parse(line).map_err(|error| Malformed(error.to_string()))?;
        let at = |name: &str, why: &dyn Display| Malformed(format!("the member `{name}` is {why}"));
        let text = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(member) => member.value().map_err(|why| at(name, &why)),
        };
        let timestamp = match &self.0.timestamp {
            None => None,
            Some(name) => match object.get(name).filter(|member| !member.is_null()) {
                None => None,
                Some(member) => Some(time(member).map_err(|why| at(name, &why))?),
            },
        };
        let key = self.0.key.as_deref().map(text).transpose()?.flatten();
        let value = self.0.value.as_deref().map(text).transpose()?;
        let mut attributes = Vec::new();
        match &self.0.attributes {
            JsonAttributes::None => {}
            JsonAttributes::All => {
                for (name, member) in object.iter() {
                    let text = member.value().map_err(|why| at(&name, &why))?;
                    attributes.extend(text.map(|text| (name, text)));
                }
            }
            JsonAttributes::Named(names) => {
                for name in names {
                    attributes.extend(text(name)?.map(|text| (Cow::Borrowed(&**name), text)));
                }
            }
        }
        for (name, _) in &attributes {
            check_name(name).map_err(|error| Malformed(error.to_string()))?;
        }
        if attributes.len() > most {
            let count = attributes.len();
            return Err(Malformed(format!(
                "it has {count} members, and at most {most} can be attributes"
            )));
        }
        Ok(Parts { timestamp, key, value, attributes })
    }
}

/// Why a line is no record. Not an `anyhow::Error`, which may hold a backtrace: malformed lines may
/// come without end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Malformed(String);

/// The parts of a record that a line holds.
struct Parts<'a> {
    timestamp: Option<i64>,
    key: Option<Cow<'a, str>>,
    /// `None` if no member is configured as the value.
    value: Option<Option<Cow<'a, str>>>,
    attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

fn time(member: Member<'_>) -> Result<i64, Malformed> {
    let text = member.text().map_err(|error| Malformed(error.to_string()))?;
    let text = text.ok_or_else(|| Malformed("not a text with an RFC 3339 time".to_owned()))?;
    parse_rfc3339(text.as_bytes()).map_err(|error| Malformed(error.to_string()))
}

/// Writes those of `timestamp`, `key`, `value` and `attributes` that a record has.
/// Bytes that are not UTF-8 become `{"base64": "…"}`.
pub(super) fn encode(parts: &JsonParts, batch: &Batch, row: usize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, &Row { parts, batch, row })
        .expect("a vector takes all, and keys are texts");
    out.push(b'\n');
}

/// Serializes a record as an object, without copying it first.
struct Row<'a> {
    parts: &'a JsonParts,
    batch: &'a Batch,
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { parts, batch, row } = *self;
        let mut object = serializer.serialize_map(None)?;
        if let Some(time) = batch.timestamps.as_ref().and_then(|times| times.get(row)) {
            object.serialize_entry("timestamp", &rfc3339(time))?;
        }
        let kind = |of: fn(&PartSet) -> bool| Kind::of(of(&parts.numbers), of(&parts.raw));
        let columns = [
            ("key", &batch.key, kind(|parts| parts.key)),
            ("value", &batch.value, kind(|parts| parts.value)),
        ];
        for (name, column, kind) in columns {
            if let Some(bytes) = column.as_ref().and_then(|column| column.get(row)) {
                object.serialize_entry(name, &Text { bytes, kind })?;
            }
        }
        if batch.attributes_of(row).next().is_some() {
            object.serialize_entry("attributes", &Attributes(self))?;
        }
        object.end()
    }
}

struct Attributes<'a>(&'a Row<'a>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { parts, batch, row } = self.0;
        let has = |set: &PartSet, name: &str| set.attributes.iter().any(|other| other == name);
        let kind = |name: &str| Kind::of(has(&parts.numbers, name), has(&parts.raw, name));
        let attributes = batch.attributes_of(*row);
        serializer
            .collect_map(attributes.map(|(name, bytes)| (name, Text { bytes, kind: kind(name) })))
    }
}

struct Text<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

/// As what a part is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// As a number, if it is one in JSON.
    Number,
    /// As it is, if it is JSON.
    Raw,
}

impl Kind {
    fn of(is_number: bool, is_raw: bool) -> Self {
        match (is_raw, is_number) {
            (true, _) => Self::Raw,
            (false, true) => Self::Number,
            (false, false) => Self::Text,
        }
    }

    /// Whether a text that begins like this may be written without quotes.
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Text => false,
            Self::Number => text.starts_with(|c: char| c == '-' || c.is_ascii_digit()),
            Self::Raw => true,
        }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.bytes) {
            Ok(text) if self.kind.fits(text) => {
                // Written as it is, with all digits of a number. A line break in it would be one
                // in the line.
                match serde_json::from_str::<&RawValue>(text) {
                    Ok(json) if json.get() == text && !text.contains(['\n', '\r']) => {
                        json.serialize(serializer)
                    }
                    _ => serializer.serialize_str(text),
                }
            }
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_map([("base64", BASE64_STANDARD.encode(self.bytes))]),
        }
    }
}

//! The members of a JSON object (RFC 8259), as they are written: numbers keep all of their digits,
//! and members that are not asked for are skipped. The host's codec uses this too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why a text is not JSON, or not of the expected type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonError {}

/// A JSON object.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses an object; nothing may follow it.
    ///
    /// # Errors
    /// If it is not an object.
    pub fn parse(json: &'a [u8]) -> Result<Self, JsonError> {
        serde_json::from_slice(json)
            .map_err(|error| JsonError(format!("not a JSON object: {error}")))
    }

    /// A member; the last one, if there are several of that name.
    pub fn get(&self, name: &str) -> Option<Member<'a>> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| Member(value))
    }

    /// All members, each name once.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Member<'a>)> {
        let mut unique: Vec<(Cow<'a, str>, Member<'a>)> = Vec::with_capacity(self.0.len());
        let mut places = BTreeMap::new();
        for (name, value) in &self.0 {
            match places.entry(&**name) {
                Entry::Vacant(place) => {
                    place.insert(unique.len());
                    unique.push((name.clone(), Member(value)));
                }
                Entry::Occupied(place) => unique[*place.get()].1 = Member(value),
            }
        }
        unique.into_iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object).map(Self)
    }
}

/// A name, borrowed unless it has escapes: serde would copy a plain `Cow`.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a member.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a>(&'a RawValue);

impl<'a> Member<'a> {
    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    /// The text of a string; `None` for any other value.
    ///
    /// # Errors
    /// If an escape in it is not a valid character.
    pub fn text(self) -> Result<Option<Cow<'a, str>>, JsonError> {
        let json = self.0.get();
        match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
            None => Ok(None),
            Some(text) if !text.as_bytes().contains(&b'\\') => Ok(Some(text.into())),
            Some(_) => serde_json::from_str(json)
                .map(|text: String| Some(text.into()))
                .map_err(|error| JsonError(format!("not a text: {error}"))),
        }
    }

    /// A string without its quotes and escapes, any other value as it is written; `None` for null.
    ///
    /// # Errors
    /// As [`Member::text`].
    pub fn value(self) -> Result<Option<Cow<'a, str>>, JsonError> {
        if self.is_null() {
            return Ok(None);
        }
        Ok(Some(self.text()?.unwrap_or(self.0.get().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_is_written() {
        let json =
            br#" {"n": 123456789012345678901234567890.10, "t": "a\n\u00e9", "l": [1, {"x": 2}],
            "none": null, "e\u0073c": true, "n ": ""} "#;
        let members = Members::parse(json).unwrap();
        let value = |name| members.get(name).unwrap().value().unwrap();
        assert_eq!(value("n").unwrap(), "123456789012345678901234567890.10");
        assert_eq!(value("t").unwrap(), "a\né");
        assert_eq!(value("l").unwrap(), r#"[1, {"x": 2}]"#);
        assert_eq!(value("esc").unwrap(), "true");
        assert_eq!(value("none"), None);
        assert_eq!(value("n ").unwrap(), "");
        assert!(members.get("x").is_none());
        assert_eq!(members.get("n").unwrap().text(), Ok(None));
    }

    #[test]
    fn the_last_of_a_name_counts_and_takes_the_place_of_the_first() {
        let members = Members::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(members.get("a").unwrap().value(), Ok(Some("3".into())));
        let all: Vec<_> = members.iter().map(|(n, m)| (n, m.value().unwrap().unwrap())).collect();
        assert_eq!(all, [("a".into(), "3".into()), ("b".into(), "2".into())]);
    }

    #[test]
    fn what_is_no_object_is_said() {
        for json in ["", "[1]", "{", r#"{"a":01}"#, "{} x", "{\"a\":\"\u{1}\"}", r#"{"a" 1}"#] {
            let why = Members::parse(json.as_bytes()).unwrap_err();
            assert!(why.0.starts_with("not a JSON object: "), "{json}: {why}");
        }
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_err());
        let half = Members::parse(br#"{"a":"\ud800"}"#).unwrap();
        assert!(half.get("a").unwrap().value().unwrap_err().0.starts_with("not a text: "));
        // At any depth: the parser is not recursive.
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Members::parse(deep.as_bytes()).is_ok());
    }
}

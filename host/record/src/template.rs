//! Text with places for parts of a record: `"{timestamp} {level} {value}"`.

use crate::Batch;
use crate::time::rfc3339;
use anyhow::{Result, bail};

/// A parsed template. `{value}`, `{key}` and `{timestamp}` (RFC 3339) stand for these parts of a
/// record, any other name for an attribute. `{attribute:value}` is the attribute `value`, and so
/// on; `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// # Errors
    /// If the text is not a template; the message says why.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => literal.push(c),
                '{' => {
                    let mut is_closed = false;
                    let is_of_name = |&c: &char| {
                        is_closed = c == '}';
                        !is_closed
                    };
                    let name: String = chars.by_ref().take_while(is_of_name).collect();
                    if name.is_empty() || name.contains('{') || !is_closed {
                        bail!("a `{{` needs a name and a `}}`; write `{{{{` for a brace");
                    }
                    if name.trim() != name {
                        bail!("no spaces stand around a name: `{{{}}}`", name.trim());
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Name(name));
                }
                '}' => bail!("a `}}` without a `{{`; write `}}}}` for a brace"),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The names in the template, except `allowed`.
    pub fn names_except<'a>(&'a self, allowed: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.parts.iter().filter_map(move |part| match part {
            Part::Name(name) if !allowed.contains(&name.as_str()) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the template ends with a part of the record.
    pub fn ends_with_name(&self) -> bool {
        matches!(self.parts.last(), Some(Part::Name(_)))
    }

    pub fn has_name(&self, name: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Name(n) if n == name))
    }

    /// Appends the text for a row. A part that the record lacks is left empty.
    pub fn render(&self, batch: &Batch, row: usize, out: &mut Vec<u8>) {
        self.render_with(out, |name, out| match name {
            "value" => extend(out, batch.value.as_ref().and_then(|column| column.get(row))),
            "timestamp" => {
                if let Some(time) = batch.timestamps.as_ref().and_then(|times| times.get(row)) {
                    out.extend_from_slice(rfc3339(time).as_bytes());
                }
            }
            name => extend(out, key_or_attribute(batch, row, name)),
        });
    }

    /// Appends the text; calls `write` for each name.
    pub fn render_with(&self, out: &mut Vec<u8>, mut write: impl FnMut(&str, &mut Vec<u8>)) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Name(name) => write(name, out),
            }
        }
    }
}

/// The prefix of an attribute that has the name of another part of a record.
const ATTRIBUTE: &str = "attribute:";

/// The name of an attribute without the prefix.
pub fn without_prefix(name: &str) -> &str {
    name.strip_prefix(ATTRIBUTE).unwrap_or(name)
}

/// What `{name}` stands for in a row: the key, or an attribute.
pub fn key_or_attribute<'a>(batch: &'a Batch, row: usize, name: &str) -> Option<&'a [u8]> {
    let attribute = match name {
        "key" => return batch.key.as_ref().and_then(|column| column.get(row)),
        name => without_prefix(name),
    };
    batch.attribute(attribute).and_then(|column| column.get(row))
}

fn extend(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend_from_slice(bytes.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchBuilder;

    #[test]
    fn names_stand_for_what_a_record_holds() {
        let mut builder = BatchBuilder::default();
        let attributes = [("level", &b"INFO"[..]), ("value", b"v"), ("key", b"k")];
        builder.push(&"t".into(), 1, Some(0), None, Some(b"started"), attributes.into_iter());
        let batch = builder.take();
        let render = |text: &str| {
            let mut out = Vec::new();
            Template::parse(text).unwrap().render(&batch, 0, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(render("{timestamp} {level}: {value}"), "1970-01-01T00:00:00Z INFO: started");
        assert_eq!(render("{{{value}}} [{key}]"), "{started} []");
        assert_eq!(render("{attribute:value} {attribute:key} {attribute:level}"), "v k INFO");
    }

    #[test]
    fn braces_come_in_pairs() {
        for wrong in ["{value", "{}", "value}", "{a{b}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}

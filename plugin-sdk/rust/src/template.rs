//! Text with places for parts of a record: `"{timestamp} {level} {value}"`.

use crate::part::without_prefix;
use crate::{Error, Field, Record, Setup, Time, rfc3339};

/// A text in which `{value}`, `{key}` and `{timestamp}` (RFC 3339, in UTC) stand for these parts of
/// a record, and any other name for an attribute. `{attribute:value}` is the attribute that is
/// called `value`, and so on; `{{` and `}}` stand for braces. The codecs of pipehost have the same
/// templates.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(Field),
    Time(Time),
}

impl Template {
    /// Parses a template, and declares what it reads.
    ///
    /// # Errors
    /// If the text is not a template; the message says why.
    pub fn open(text: &str, setup: &mut Setup) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => literal.push(c),
                '{' => {
                    let mut is_closed = false;
                    let name = |&c: &char| {
                        is_closed = c == '}';
                        !is_closed
                    };
                    let name: String = chars.by_ref().take_while(name).collect();
                    if name.is_empty() || name.contains('{') || !is_closed {
                        return Err("a `{` needs a name and a `}`; write `{{` for a brace".into());
                    }
                    if name.trim() != name {
                        return Err(format!(
                            "no spaces stand around a name: `{{{}}}`",
                            name.trim()
                        )
                        .into());
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(match &*name {
                        "value" => Piece::Field(setup.value()),
                        "key" => Piece::Field(setup.key()),
                        "timestamp" => Piece::Time(setup.timestamp()),
                        name => Piece::Field(setup.attribute(without_prefix(name))),
                    });
                }
                '}' => return Err("a `}` without a `{`; write `}}` for a brace".into()),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// Appends the text for a record. A part that the record lacks is left empty.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => {
                    out.extend_from_slice(record.get(*field).unwrap_or_default());
                }
                Piece::Time(time) => {
                    if let Some(time) = record.timestamp(*time) {
                        out.extend_from_slice(rfc3339(time).as_bytes());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_come_in_pairs() {
        for wrong in ["{value", "{}", "value}", "{a{b}", "}} {a", "{ value }"] {
            assert!(Template::open(wrong, &mut Setup::new()).is_err(), "{wrong}");
        }
        let mut setup = Setup::new();
        Template::open("{{x}} {timestamp} {level} {attribute:key} {value}", &mut setup).unwrap();
        assert_eq!(setup.plan.attributes, ["level", "key"]);
        assert!(setup.plan.value && setup.plan.timestamps && !setup.plan.key);
    }
}

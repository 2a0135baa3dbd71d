//! Reads a TOML table field by field, and collects mistakes instead of stopping at
//! the first.

use anyhow::{Result, anyhow};
use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::shape::{Shape, Type};
use crate::At;
use crate::mistake::{Mistake, Span};
use crate::quantity;

/// A table, and the keys that were read so far: any other key is unknown.
pub(super) struct TableReader<'a> {
    /// For messages: "a stage", "`limits`".
    what: &'a str,
    table: &'a DeTable<'a>,
    span: Span,
    asked: Vec<&'a str>,
    mistakes: &'a mut Vec<Mistake>,
    /// Set if what is asked for is recorded, and the table is empty.
    shape: Option<&'a RefCell<Shape>>,
}

pub(super) type Item<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> TableReader<'a> {
    pub(super) fn new(
        what: &'a str,
        table: &'a DeTable<'a>,
        span: Span,
        mistakes: &'a mut Vec<Mistake>,
    ) -> Self {
        Self { what, table, span, asked: Vec::new(), mistakes, shape: None }
    }

    /// Records what `read` asks for.
    pub(super) fn record(read: impl FnMut(TableReader<'_>)) -> Vec<Shape> {
        let mut read = read;
        Shape::all(|shape| {
            let (empty, mut mistakes) = (DeTable::default(), Vec::new());
            let reader = TableReader::new("", &empty, None, &mut mistakes);
            read(TableReader { shape: Some(shape), ..reader });
        })
    }

    /// Whether what is asked for is recorded.
    pub(super) fn is_recorded(&self) -> bool {
        self.shape.is_some()
    }

    /// Records that a setting may have a type.
    pub(super) fn note(&self, key: &str, of: impl FnOnce() -> Type) {
        if let Some(shape) = self.shape {
            let of = of();
            shape.borrow_mut().note(key, of);
        }
    }

    /// Whether there are no mistakes so far.
    pub(super) fn is_whole(&self) -> bool {
        self.mistakes.is_empty()
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    pub(super) fn get(&mut self, key: &'a str) -> Option<Item<'a>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Whether there is a table of this name, and not a text or a number.
    pub(super) fn is_table(&self, key: &str) -> bool {
        matches!(self.table.get(key).map(Spanned::get_ref), Some(DeValue::Table(_)))
    }

    fn wrong<T>(&mut self, item: Item<'_>, key: &str, wanted: &str) -> Option<T> {
        let found = item.get_ref().type_str();
        let message = format!("`{key}` must be {wanted}, not {} {found}", article(found));
        self.mistakes.push(Mistake::new(span(item), message));
        None
    }

    pub(super) fn string(&mut self, key: &'a str) -> Option<At<String>> {
        self.note(key, || Type::Text);
        self.text(key, "a text in quotes")
    }

    fn text(&mut self, key: &'a str, wanted: &str) -> Option<At<String>> {
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::String(text) => Some(At::new(text.to_string(), span(item))),
            _ => self.wrong(item, key, wanted),
        }
    }

    /// A string that is required.
    pub(super) fn required(&mut self, key: &'a str, help: &str) -> Option<At<String>> {
        if let Some(shape) = self.shape {
            shape.borrow_mut().note(key, Type::Text);
            shape.borrow_mut().require(key);
        }
        if self.table.get(key).is_none() {
            self.asked.push(key);
            let message = format!("{} needs `{key}`", self.what);
            self.mistakes.push(Mistake::new(self.span.clone(), message).help(help));
            return None;
        }
        self.string(key)
    }

    /// One of a few words; required.
    pub(super) fn required_choice<T: Copy>(
        &mut self,
        key: &'a str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        if let Some(shape) = self.shape {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let pick = shape.borrow_mut().choose(key, &words);
            return Some(choices[pick].1);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let text = self.required(key, &any_of(&words))?;
        self.choose(key, &text, choices)
    }

    /// A string, or a list of strings.
    pub(super) fn strings(&mut self, key: &'a str) -> Option<Vec<At<String>>> {
        self.note(key, || Type::Texts);
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::String(text) => Some(vec![At::new(text.to_string(), span(item))]),
            DeValue::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|item| match item.get_ref() {
                        DeValue::String(text) => Some(At::new(text.to_string(), span(item))),
                        _ => self.wrong(item, key, "a list of texts in quotes"),
                    })
                    .collect(),
            ),
            _ => self.wrong(item, key, "a text in quotes, or a list of them"),
        }
    }

    pub(super) fn bool(&mut self, key: &'a str) -> Option<bool> {
        self.note(key, || Type::Boolean);
        let item = self.get(key)?;
        match (item.get_ref(), of_reference(item)) {
            (DeValue::Boolean(value), _) => Some(*value),
            (_, Some("true")) => Some(true),
            (_, Some("false")) => Some(false),
            _ => self.wrong(item, key, "true or false"),
        }
    }

    /// As [`TableReader::count`], with an upper limit: for what the host creates, such as instances
    /// and places in a queue.
    pub(super) fn few(&mut self, key: &'a str) -> Option<usize> {
        const MOST: u64 = 4096;
        self.note(key, || Type::Count { least: 1, most: Some(MOST) });
        let count = self.count(key, 1)?;
        if count > MOST {
            let span = self.table.get(key).and_then(span);
            self.mistakes.push(Mistake::new(span, format!("`{key}` must be at most {MOST}")));
            return None;
        }
        Some(count as usize)
    }

    /// An integer that is at least `least`.
    pub(super) fn count(&mut self, key: &'a str, least: u64) -> Option<u64> {
        self.note(key, || Type::Count { least, most: None });
        let item = self.get(key)?;
        let value = match (item.get_ref(), of_reference(item)) {
            (DeValue::Integer(number), _) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            (_, Some(text)) => text.parse().ok(),
            _ => return self.wrong(item, key, "a whole number"),
        };
        match value {
            Some(value) if value >= least => Some(value),
            _ => {
                let message = format!("`{key}` must be a whole number of at least {least}");
                self.mistakes.push(Mistake::new(span(item), message));
                None
            }
        }
    }

    pub(super) fn duration(&mut self, key: &'a str) -> Option<Duration> {
        self.note(key, || Type::Duration);
        let text = self.text(key, "a duration in quotes, such as \"500ms\"")?;
        self.parse(key, &text, |text| match quantity::duration(text)? {
            // A longer one could overflow when it is added to a time.
            long if long > Duration::from_secs(10 * 365 * 86400) => {
                Err(anyhow!("{text:?} is more than ten years"))
            }
            duration => Ok(duration),
        })
    }

    pub(super) fn bytes(&mut self, key: &'a str) -> Option<u64> {
        self.note(key, || Type::Size);
        let text = self.text(key, "a size in quotes, such as \"16MiB\"")?;
        self.parse(key, &text, quantity::bytes)
    }

    /// The size of something that must fit into a column: offsets have 32 bits.
    pub(super) fn column_bytes(&mut self, key: &'a str) -> Option<usize> {
        self.note(key, || Type::Size);
        let text = self.text(key, "a size in quotes, such as \"16MiB\"")?;
        self.parse(key, &text, |text| match quantity::bytes(text)? {
            0 => Err(anyhow!("{text:?} is nothing; it must be at least 1 byte")),
            bytes @ ..=0x4000_0000 => Ok(bytes as usize),
            _ => Err(anyhow!("{text:?} is more than 1 GiB")),
        })
    }

    /// Parses a string; a failure is a mistake.
    pub(super) fn parse<T>(
        &mut self,
        key: &str,
        text: &At<String>,
        parse: impl FnOnce(&str) -> Result<T>,
    ) -> Option<T> {
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistakes.push(Mistake::new(text.span.clone(), format!("`{key}`: {why:#}")));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'a str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.word(key, choices)?;
        self.choose(key, &text, choices)
    }

    /// The text of a setting that is to be one of a few words.
    pub(super) fn word<T>(&mut self, key: &'a str, choices: &[(&str, T)]) -> Option<At<String>> {
        let words = || choices.iter().map(|(word, _)| (*word).to_owned()).collect();
        self.note(key, || Type::OneOf(words()));
        self.string(key)
    }

    pub(super) fn choose<T: Copy>(
        &mut self,
        key: &str,
        text: &At<String>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let chosen = choices.iter().find(|(word, _)| *word == text.value);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let message = format!("`{key}` is {}, not {:?}", any_of(&words), text.value);
            let words = choices.iter().map(|(word, _)| *word);
            self.mistakes
                .push(Mistake::new(text.span.clone(), message).did_you_mean(&text.value, words));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A table in which nothing is set, for a value that is short for one.
    pub(super) fn short<T>(
        &mut self,
        what: &str,
        span: Span,
        read: impl FnOnce(&mut TableReader<'_>) -> T,
    ) -> T {
        let empty = DeTable::default();
        read(&mut TableReader::new(what, &empty, span, self.mistakes))
    }

    /// A table within this one.
    pub(super) fn table<T>(
        &mut self,
        key: &'a str,
        what: &'a str,
        mut read: impl FnMut(TableReader<'_>) -> T,
    ) -> Option<T> {
        self.note(key, || Type::Table(TableReader::record(|table| drop(read(table)))));
        let item = self.get(key)?;
        match item.get_ref() {
            DeValue::Table(table) => {
                Some(read(TableReader::new(what, table, span(item), self.mistakes)))
            }
            _ => self.wrong(item, key, "a table"),
        }
    }

    /// Every table of an array of tables: `[[key]]`. Those for which `read` returns `None` are left
    /// out, and `incomplete` is set.
    pub(super) fn tables<T>(
        &mut self,
        key: &'a str,
        what: &'a str,
        incomplete: &mut bool,
        mut read: impl FnMut(TableReader<'_>) -> Option<T>,
    ) -> Vec<T> {
        self.note(key, || Type::Tables(TableReader::record(|table| drop(read(table)))));
        let Some(item) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = item.get_ref() else {
            *incomplete = true;
            return self.wrong(item, key, &format!("written `[[{key}]]`")).unwrap_or_default();
        };
        let mut out = Vec::new();
        for item in items.iter() {
            let made = match item.get_ref() {
                DeValue::Table(table) => {
                    read(TableReader::new(what, table, span(item), self.mistakes))
                }
                _ => self.wrong(item, key, &format!("a list of tables, `[[{key}]]`")),
            };
            *incomplete |= made.is_none();
            out.extend(made);
        }
        out
    }

    /// Strings by name, in the order of the file.
    pub(super) fn map(&mut self, key: &'a str) -> Vec<(String, At<String>)> {
        self.note(key, || Type::Map);
        let Some(item) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = item.get_ref() else {
            return self.wrong(item, key, "a table of names and texts").unwrap_or_default();
        };
        let mut out = Vec::new();
        for (name, item) in table.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    let text = At::new(text.to_string(), span(item));
                    out.push((name.get_ref().to_string(), text));
                }
                _ => drop(self.wrong::<()>(item, name.get_ref(), "a text in quotes")),
            }
        }
        out
    }

    /// Strings or tables by name, in the order of the file.
    pub(super) fn named<T>(
        &mut self,
        key: &'a str,
        wanted: &str,
        mut read: impl FnMut(&str, Result<At<String>, TableReader<'_>>) -> Option<T>,
    ) -> Vec<T> {
        self.note(key, || {
            let mut shapes = TableReader::record(|table| drop(read("", Err(table))));
            Type::Named(shapes.remove(0))
        });
        let Some(item) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = item.get_ref() else {
            return self.wrong(item, key, "a table of names").unwrap_or_default();
        };
        let mut out = Vec::new();
        for (name, item) in table.iter() {
            let name = name.get_ref().as_ref();
            out.extend(match item.get_ref() {
                DeValue::String(text) => read(name, Ok(At::new(text.to_string(), span(item)))),
                DeValue::Table(table) => {
                    read(name, Err(TableReader::new(name, table, span(item), self.mistakes)))
                }
                _ => self.wrong(item, name, wanted),
            });
        }
        out
    }

    /// Ends the table: every key that was not read is a mistake.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(&name) {
                let message = format!("{} has no setting `{name}`", self.what);
                let mistake = Mistake::new(Some(key.span()), message);
                let mistake = mistake.did_you_mean(name, self.asked.iter().copied());
                self.mistakes.push(match mistake.help {
                    Some(_) => mistake,
                    None => {
                        // Some are asked for in two ways.
                        let mut names: Vec<String> = Vec::new();
                        for name in self.asked.iter().map(|name| format!("`{name}`")) {
                            if !names.contains(&name) {
                                names.push(name);
                            }
                        }
                        mistake.help(format!("it has {}", names.join(", ")))
                    }
                });
            }
        }
    }
}

/// A text that is not as it was written: one with references, which may stand for a number.
fn of_reference<'a>(item: Item<'a>) -> Option<&'a str> {
    match item.get_ref() {
        DeValue::String(Cow::Owned(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn span(item: Item<'_>) -> Span {
    Some(item.span())
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

pub(super) fn any_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Parses a file as far as it is TOML; what is not is a mistake.
pub(super) fn document<'t>(text: &'t str, mistakes: &mut Vec<Mistake>) -> Spanned<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.push(Mistake::new(error.span(), format!("not valid TOML: {}", error.message())));
    }
    document
}

/// The places of the parts of a JSON value, by JSON pointer.
#[derive(Default)]
pub(super) struct Places {
    pub spans: Vec<(String, Span)>,
    /// Texts with references.
    pub references: Vec<String>,
}

/// Converts a TOML value to JSON, and collects the places of its parts.
pub(super) fn json(item: Item<'_>, pointer: &str, places: &mut Places) -> Value {
    places.spans.push((pointer.to_owned(), span(item)));
    if of_reference(item).is_some() {
        places.references.push(pointer.to_owned());
    }
    match item.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .or_else(|_| u64::from_str_radix(number.as_str(), number.radix()).map(Value::from))
            // Beyond what TOML and JSON have. As a text, a message about it shows it.
            .unwrap_or_else(|_| Value::from(number.as_str())),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => (items.iter().enumerate())
            .map(|(index, item)| json(item, &format!("{pointer}/{index}"), places))
            .collect(),
        DeValue::Table(table) => {
            let mut map = serde_json::Map::new();
            for (key, item) in table.iter() {
                let name = key.get_ref().as_ref();
                let inner = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                map.insert(name.to_owned(), json(item, &inner, places));
                // For an unknown name, it is better to point at the name than at its value.
                places.spans.push((format!("{inner}#"), Some(key.span())));
            }
            Value::Object(map)
        }
    }
}

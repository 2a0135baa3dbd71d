//! From TOML to codecs.

use anyhow::{Result, anyhow};
use std::time::Duration;

use toml::de::DeValue;

use super::shape::Type;
use super::table::{self, TableReader};
use crate::mistake::Mistake;
use crate::{
    At, Charset, Csv, CsvColumns, CsvFields, DecodeFormat, Decoding, Encoding, JsonAttributes,
    JsonLayout, JsonMembers, JsonParts, LineRule, Multiline, PartSet, TooLong,
};
use pipehost_record::template::{Template, without_prefix};
use pipehost_record::{MAX_ATTRIBUTES, check_name};

pub(super) fn decoding(table: &mut TableReader<'_>) -> Decoding {
    let mut out = Decoding::default();
    codec(table, &DECODERS, |kind, table| {
        match kind {
            "csv" => out.format = DecodeFormat::Csv(csv(table)),
            "json" => out.format = DecodeFormat::Json(json(table)),
            "frames" => out.format = DecodeFormat::Frames,
            _ => {
                let multiline = table.table("multiline", "`multiline`", multiline).flatten();
                out.format = multiline.map_or(DecodeFormat::Lines, DecodeFormat::Multiline);
            }
        }
        if kind == "frames" {
            return;
        }
        max_line(table, kind, &mut out);
        if let Some(label) = table.string("charset") {
            out.charset = table.parse("charset", &label, charset).unwrap_or_default();
        }
    });
    out
}

/// `max_line = "1MiB"`, or `max_line = { bytes = "1MiB", then = "truncate" }`.
fn max_line(table: &mut TableReader<'_>, kind: &str, out: &mut Decoding) {
    if !table.is_table("max_line") && !table.is_recorded() {
        out.max_line_bytes = table.column_bytes("max_line").unwrap_or(out.max_line_bytes);
        return;
    }
    table.note("max_line", || Type::Size);
    let limit = table.table("max_line", "`max_line`", |mut table| {
        let bytes = table.column_bytes("bytes");
        let then =
            table.choice("then", &[("reject", TooLong::Reject), ("truncate", TooLong::Truncate)]);
        if kind != "lines" && then == Some(TooLong::Truncate) {
            let message = format!(
                "`then`: half a record of {kind} is none, so only `lines` can be truncated"
            );
            table.mistake(Mistake::new(table.span(), message));
        }
        table.finish();
        (bytes, then)
    });
    let (bytes, then) = limit.unwrap_or_default();
    out.max_line_bytes = bytes.unwrap_or(out.max_line_bytes);
    out.too_long = then.unwrap_or_default();
}

fn charset(label: &str) -> Result<Charset> {
    match label.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => return Ok(Charset::Utf8),
        "utf-16" | "utf16" => return Ok(Charset::Utf16),
        _ => {}
    }
    let found = encoding_rs::Encoding::for_label(label.as_bytes());
    let is_utf_16 = |found| found == encoding_rs::UTF_16LE || found == encoding_rs::UTF_16BE;
    match found.filter(|found| found.is_single_byte() || is_utf_16(*found)) {
        Some(found) => Ok(Charset::Other(found)),
        None => Err(anyhow!(
            "{label:?} is not known: write \"utf-16\", \"utf-16le\", \"utf-16be\", \"latin1\", or \
             another set with one byte for each character, such as \"windows-1252\" or \"koi8-r\""
        )),
    }
}

fn multiline(mut table: TableReader<'_>) -> Option<Multiline> {
    type Rule = fn(String) -> LineRule;
    let rules = [
        ("begins", LineRule::Begins as Rule),
        ("continues", LineRule::Continues),
        ("ends", LineRule::Ends),
    ];
    let mut given = Vec::new();
    for (key, rule) in rules {
        let Some(text) = table.string(key) else { continue };
        let valid = table.parse(key, &text, |text| Ok(regex::bytes::Regex::new(text).map(drop)?));
        given.push(valid.map(|()| rule(text.value)));
    }
    if given.len() != 1 {
        let message = "`multiline` needs one of `begins`, `continues` and `ends`: a regular \
                       expression of the lines that begin a record, belong to the one before, or end one";
        table.mistake(Mistake::new(table.span(), message));
    }
    table.note("timeout", || Type::Duration);
    table.note("timeout", || Type::OneOf(vec!["none".to_owned()]));
    let timeout = match table.string("timeout") {
        Some(text) if text.value == "none" => None,
        Some(_) => table.duration("timeout"),
        None => Some(MULTILINE_TIMEOUT),
    };
    let most = table.count("most", 1).unwrap_or(MULTILINE_MOST);
    table.finish();
    (given.len() == 1).then(|| given.pop()).flatten().flatten().map(|rule| Multiline {
        rule,
        timeout,
        most,
    })
}

/// What is written at once is there within it.
const MULTILINE_TIMEOUT: Duration = Duration::from_secs(1);
const MULTILINE_MOST: u64 = 1000;

/// Attributes that a source may add itself.
const METADATA: usize = 4;

fn csv(table: &mut TableReader<'_>) -> Csv {
    let header = table.bool("header").unwrap_or(false);
    let columns = table.strings("columns");
    let columns = match columns {
        Some(_) if header => {
            let message = "give either `header = true` or `columns`: both name the fields";
            table.mistake(Mistake::new(table.span(), message));
            CsvColumns::Header
        }
        Some(names) => CsvColumns::Named(names.into_iter().map(|name| name.value).collect()),
        None if header => CsvColumns::Header,
        None => CsvColumns::None,
    };
    if let CsvColumns::Named(names) = &columns {
        let twice = |(at, name): (usize, &String)| !name.is_empty() && names[..at].contains(name);
        if let Some((_, name)) = names.iter().enumerate().find(|&column| twice(column)) {
            let message = format!("`columns` names {name:?} twice");
            table.mistake(Mistake::new(table.span(), message));
        }
        let most = MAX_ATTRIBUTES - METADATA;
        if names.len() > most {
            let message = format!("`columns` has {} names, and may have {most}", names.len());
            table.mistake(Mistake::new(table.span(), message));
        }
        for name in names.iter().filter(|name| !name.is_empty()) {
            if let Err(why) = check_name(name) {
                table.mistake(Mistake::new(table.span(), format!("`columns`: {why:#}")));
            }
        }
    }
    let key = table.string("key");
    if let Some(key) = &key {
        let why = match &columns {
            CsvColumns::None => Some("needs `header = true` or `columns`, which name the fields"),
            CsvColumns::Named(names) if !names.contains(&key.value) => Some("is none of `columns`"),
            CsvColumns::Named(_) | CsvColumns::Header => None,
        };
        if let Some(why) = why {
            let message = format!("`key`, {:?}, {why}", key.value);
            table.mistake(Mistake::new(key.span.clone(), message));
        }
    }
    Csv { delimiter: delimiter(table), columns, key: key.map(|key| key.value) }
}

fn delimiter(table: &mut TableReader<'_>) -> u8 {
    let text = table.string("delimiter");
    text.and_then(|text| table.parse("delimiter", &text, csv_delimiter)).unwrap_or(b',')
}

fn json(table: &mut TableReader<'_>) -> JsonMembers {
    let attributes = table.strings("attributes").map(|names| match &names[..] {
        [all] if all.value == "*" => JsonAttributes::All,
        _ => JsonAttributes::Named(names.into_iter().map(|name| name.value).collect()),
    });
    let layouts = [("lines", JsonLayout::Lines), ("values", JsonLayout::Values)];
    let layout = table.choice("layout", &layouts).unwrap_or_default();
    let mut member = |key| table.string(key).map(|name| name.value);
    JsonMembers {
        key: member("key"),
        timestamp: member("timestamp"),
        value: member("value"),
        attributes: attributes.unwrap_or_default(),
        layout,
    }
}

pub(super) fn encoding(table: &mut TableReader<'_>) -> Encoding {
    let mut out = Encoding::Lines(None);
    codec(table, &ENCODERS, |kind, table| match kind {
        "json" => {
            out = Encoding::Json(JsonParts {
                numbers: parts(table, "numbers"),
                raw: parts(table, "raw"),
            });
        }
        "csv" => out = Encoding::Csv(csv_fields(table)),
        "frames" => out = Encoding::Frames,
        _ => {
            let template = table.string("template");
            out = Encoding::Lines(
                template.and_then(|text| table.parse("template", &text, Template::parse)),
            );
        }
    });
    out
}

fn csv_fields(table: &mut TableReader<'_>) -> CsvFields {
    let columns = table.strings("columns").unwrap_or_default();
    if columns.is_empty() {
        let message = "the codec `csv` of a sink needs `columns`: what each field takes, such as \
                       [\"timestamp\", \"level\", \"value\"]";
        table.mistake(Mistake::new(table.span(), message));
    }
    CsvFields {
        delimiter: delimiter(table),
        columns: columns.into_iter().map(|column| column.value).collect(),
        header: table.bool("header").unwrap_or(true),
        quotes_all: table.choice("quotes", &[("needed", false), ("all", true)]).unwrap_or(false),
    }
}

fn csv_delimiter(text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(anyhow!("{text:?} is not one ASCII character that can stand between fields")),
    }
}

fn parts(table: &mut TableReader<'_>, key: &'static str) -> PartSet {
    let mut parts = PartSet::default();
    for name in table.strings(key).unwrap_or_default() {
        match &*name.value {
            "value" => parts.value = true,
            "key" => parts.key = true,
            attribute => parts.attributes.push(without_prefix(attribute).to_owned()),
        }
    }
    parts
}

const ENCODERS: [(&str, &str); 4] =
    [("lines", "lines"), ("csv", "csv"), ("json", "json"), ("frames", "frames")];
const DECODERS: [(&str, &str); 4] =
    [("lines", "lines"), ("csv", "csv"), ("json", "json"), ("frames", "frames")];

/// `codec = "lines"`, or `codec = { type = "lines", … }`.
fn codec(
    table: &mut TableReader<'_>,
    codecs: &[(&'static str, &'static str)],
    mut read: impl FnMut(&str, &mut TableReader<'_>),
) {
    table
        .note("codec", || Type::OneOf(codecs.iter().map(|(word, _)| (*word).to_owned()).collect()));
    table.note("codec", || {
        Type::Table(TableReader::record(|mut table| {
            let kind = table.required_choice("type", codecs).expect("one is picked");
            read(kind, &mut table);
        }))
    });
    let Some(item) = table.get("codec") else { return };
    match item.get_ref() {
        DeValue::String(text) => {
            let text = At::new(text.to_string(), table::span(item));
            if let Some(kind) = table.choose("codec", &text, codecs) {
                table.short("`codec`", text.span.clone(), |table| read(kind, table));
            }
        }
        _ => {
            table.table("codec", "`codec`", |mut table| {
                let words: Vec<_> = codecs.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                let kind = table.required("type", &table::any_of(&words));
                if let Some(kind) = kind.and_then(|kind| table.choose("type", &kind, codecs)) {
                    read(kind, &mut table);
                    table.finish();
                }
            });
        }
    }
}

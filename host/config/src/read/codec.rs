//! From TOML to codecs.

use anyhow::{Result, anyhow};
use toml::de::{DeTable, DeValue};

use super::table::{self, TableReader};
use crate::{At, DecodeFormat, Decoding, Encoding, JsonAttributes, JsonMembers, JsonNumbers};
use pipehost_record::template::{Template, without_prefix};

pub(super) fn decoding(table: &mut TableReader<'_>) -> Decoding {
    let mut out = Decoding::default();
    codec(table, &DECODERS, |kind, table| {
        match kind {
            "csv" => {
                let delimiter = table.string("delimiter");
                let delimiter =
                    delimiter.and_then(|text| table.parse("delimiter", &text, csv_delimiter));
                out.format = DecodeFormat::Csv { delimiter: delimiter.unwrap_or(b',') };
            }
            "json" => {
                let attributes = table.strings("attributes").map(|names| match &names[..] {
                    [all] if all.value == "*" => JsonAttributes::All,
                    _ => JsonAttributes::Named(names.into_iter().map(|name| name.value).collect()),
                });
                let mut member = |key| table.string(key).map(|name| name.value);
                out.format = DecodeFormat::Json(JsonMembers {
                    key: member("key"),
                    timestamp: member("timestamp"),
                    value: member("value"),
                    attributes: attributes.unwrap_or_default(),
                });
            }
            "frames" => out.format = DecodeFormat::Frames,
            _ => {}
        }
        if let Some(bytes) = table.column_bytes("max_line") {
            out.max_line_bytes = bytes;
        }
    });
    out
}

pub(super) fn encoding(table: &mut TableReader<'_>) -> Encoding {
    let mut out = Encoding::Lines(None);
    codec(table, &ENCODERS, |kind, table| match kind {
        "json" => out = Encoding::Json(json_numbers(table)),
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

fn csv_delimiter(text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(anyhow!("{text:?} is not one ASCII character that can stand between fields")),
    }
}

fn json_numbers(table: &mut TableReader<'_>) -> JsonNumbers {
    let mut numbers = JsonNumbers::default();
    for name in table.strings("numbers").unwrap_or_default() {
        match &*name.value {
            "value" => numbers.value = true,
            "key" => numbers.key = true,
            attribute => numbers.attributes.push(without_prefix(attribute).to_owned()),
        }
    }
    numbers
}

const ENCODERS: [(&str, &str); 3] = [("lines", "lines"), ("json", "json"), ("frames", "frames")];
const DECODERS: [(&str, &str); 4] =
    [("lines", "lines"), ("csv", "csv"), ("json", "json"), ("frames", "frames")];

/// `codec = "lines"`, or `codec = { type = "lines", … }`.
fn codec(
    table: &mut TableReader<'_>,
    codecs: &[(&'static str, &'static str)],
    read: impl FnOnce(&str, &mut TableReader<'_>),
) {
    let Some(item) = table.get("codec") else { return };
    match item.get_ref() {
        DeValue::String(text) => {
            let text = At::new(text.to_string(), table::span(item));
            let empty = DeTable::default();
            if let Some(kind) = table.choose("codec", &text, codecs) {
                let mut unused = Vec::new();
                read(kind, &mut TableReader::new("`codec`", &empty, None, &mut unused));
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

//! Writes what came out into a case, as what is expected.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use pipehost_record::Record;
use pipehost_record::time::rfc3339;

use super::run::Came;

pub(super) fn blessed(text: &str, came: &Came) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("the case is not valid TOML")?;
    for key in ["output", "rejected", "refused"] {
        document.remove(key);
    }
    if let Some(why) = &came.refused {
        // In front of all tables, as it belongs to none of them.
        document.insert("refused", value(why.as_str()));
    }
    let mut output = ArrayOfTables::new();
    // The first port is the default one.
    for (index, port) in came.ports.iter().enumerate() {
        for record in &port.records {
            let mut table = record_table(record);
            if index > 0 {
                table.insert("port", value(port.name.as_str()));
            }
            output.push(table);
        }
    }
    let mut rejected = ArrayOfTables::new();
    for rejection in &came.rejected {
        let mut table = Table::new();
        table.insert("input", value(rejection.input as i64));
        table.insert("reason", value(rejection.reason.as_str()));
        if rejection.retryable {
            table.insert("retryable", value(true));
        }
        rejected.push(table);
    }
    for (key, mut tables) in [("output", output), ("rejected", rejected)] {
        for table in tables.iter_mut() {
            table.decor_mut().set_prefix("\n");
        }
        if !tables.is_empty() {
            document.insert(key, Item::ArrayOfTables(tables));
        }
    }
    let written = document.to_string();
    // Comments at the head belong to the file, and go with what was removed if it came first.
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim().starts_with('#');
    let head: String = text.split_inclusive('\n').take_while(is_comment).collect();
    let is_lost = !head.trim().is_empty() && !written.contains(head.trim());
    Ok(if is_lost { format!("{}\n\n{}", head.trim_end(), written.trim_start()) } else { written })
}

fn record_table(record: &Record) -> Table {
    let mut table = Table::new();
    if let Some(time) = record.timestamp {
        table.insert("time", time_value(time));
    }
    for (name, bytes) in [("key", &record.key), ("value", &record.value)] {
        if let Some(bytes) = bytes {
            table.insert(name, Item::Value(content(bytes)));
        }
    }
    if !record.attributes.is_empty() {
        let named = record.attributes.iter().map(|(name, bytes)| (name.as_str(), content(bytes)));
        let attributes: InlineTable = named.collect();
        table.insert("attributes", value(attributes));
    }
    table
}

/// A date and time of TOML, which has years up to 9999; nanoseconds of others.
fn time_value(nanoseconds: i64) -> Item {
    let text = rfc3339(nanoseconds);
    match text.parse::<toml_edit::Datetime>() {
        Ok(time) => value(time),
        Err(_) => value(nanoseconds),
    }
}

fn content(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let encoded = BASE64_STANDARD.encode(bytes);
            Value::from(InlineTable::from_iter([("base64", encoded)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{Port, Rejection};
    use super::*;

    #[test]
    fn a_blessed_case_expects_what_came() {
        let text = "# about it\n[config]\nlevel = \"a\"\n\n[[input]]\nvalue = \"x\" # first\n\n[[output]]\nvalue = \"old\"\n";
        let record = Record {
            timestamp: Some(1_709_208_000_000_000_000),
            key: None,
            value: Some(b"\xff".to_vec()),
            attributes: vec![("n".to_owned(), b"1".to_vec())],
        };
        let port = |name: &str| Port {
            name: name.to_owned(),
            records: vec![record.clone()],
            is_new: vec![false],
        };
        let came = Came {
            ports: vec![port("out"), port("other")],
            rejected: vec![Rejection { input: 2, reason: "boom".to_owned(), retryable: true }],
            ..Came::default()
        };
        let text = blessed(text, &came).unwrap();
        assert!(text.starts_with("# about it\n[config]") && text.contains("# first"), "{text}");
        let (case, mistakes) = pipehost_config::read_case(&text);
        assert!(mistakes.is_empty(), "{mistakes:?}\n{text}");
        let ports: Vec<_> = case.output.iter().map(|output| output.port.as_deref()).collect();
        assert_eq!(ports, [None, Some("other")]);
        assert_eq!(case.output[0].record, record, "{text}");
        assert_eq!((case.rejected[0].input, case.rejected[0].retryable), (2, Some(true)));
    }

    #[test]
    fn comments_at_the_head_stay() {
        let refused = || Came { refused: Some("no".to_owned()), ..Came::default() };
        for rest in ["refused = \"old\"\n", "[[output]]\nvalue = \"old\"\n", "[config]\na = 1\n"] {
            let text = format!("# about it\n\n# more\n{rest}");
            for came in [Came::default(), refused()] {
                let text = blessed(&text, &came).unwrap();
                assert_eq!(text.matches("# about it").count(), 1, "{text}");
                assert_eq!(text.matches("# more").count(), 1, "{text}");
                let (case, mistakes) = pipehost_config::read_case(&text);
                assert!(mistakes.is_empty() && case.refused == came.refused, "{text}");
            }
        }
    }

    #[test]
    fn a_refusal_is_written_before_the_tables() {
        let came = Came { refused: Some("no".to_owned()), ..Came::default() };
        let text = blessed("[config]\na = 1\n", &came).unwrap();
        let (case, mistakes) = pipehost_config::read_case(&text);
        assert!(mistakes.is_empty() && case.refused.as_deref() == Some("no"), "{text}");
    }
}

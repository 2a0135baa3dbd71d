use csv_core::{ReadFieldResult, Reader, ReaderBuilder, Terminator};
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The attributes that take the fields of a line, in its order; an empty name skips a
    /// field.
    columns: Vec<String>,
    /// What stands between two fields.
    #[serde(default = "delimiter")]
    delimiter: char,
    /// The column that becomes the key.
    key: Option<String>,
}

fn delimiter() -> char {
    ','
}

/// Fields may be quoted as in RFC 4180. The value is one record: with the codec `csv`, the fields
/// of one may hold line breaks.
pub struct ParseCsv {
    line: Field,
    reader: Reader,
    delimiter: u8,
    columns: Vec<String>,
    key: Option<usize>,
    /// What the fields of a line hold, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Stage for ParseCsv {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let Config { columns, delimiter, key } = config;
        let delimiter = u8::try_from(delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\"\r\n".contains(byte))
            .ok_or("`delimiter` must be an ASCII character that can stand between fields")?;
        let twice = |(i, name): (usize, &String)| !name.is_empty() && columns[..i].contains(name);
        if let Some(name) = columns.iter().enumerate().find(|&column| twice(column)) {
            return Err(format!("`columns` names {:?} twice", name.1).into());
        }
        let place = |key| columns.iter().position(|column| *column == key);
        let key = match key {
            None => None,
            Some(key) => {
                Some(place(key.clone()).ok_or_else(|| format!("`key`, {key:?}, is no column"))?)
            }
        };
        Ok(Self {
            line: setup.value(),
            reader: ReaderBuilder::new()
                .delimiter(delimiter)
                .terminator(Terminator::Any(b'\n'))
                .build(),
            delimiter,
            columns,
            key,
            fields: Vec::new(),
            ends: Vec::new(),
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.line).unwrap_or_default();
        check(line, self.delimiter)?;
        self.split(line);
        let (wanted, found) = (self.columns.len(), self.ends.len());
        if found != wanted {
            return Err(Rejection::new(format!("it has {found} fields, and `columns` {wanted}")));
        }
        let mut row = out.keep();
        let mut start = 0;
        for (index, (name, &end)) in self.columns.iter().zip(&self.ends).enumerate() {
            let field = &self.fields[start..end];
            start = end;
            if self.key == Some(index) {
                row = row.key(field);
            }
            if !name.is_empty() {
                row = row.attribute(name, field);
            }
        }
        Ok(())
    }
}

/// Refuses what cannot be right, and would be read as something else. (The host's codec has the
/// same rules, as it looks for the end of a record.)
fn check(line: &[u8], delimiter: u8) -> Result<(), Rejection> {
    const SPECIAL: [u8; 2] = *b"\"\n";
    let mut at = 0;
    while let Some(found) = line[at..].iter().position(|byte| SPECIAL.contains(byte)) {
        let quote = at + found;
        if line[quote] == b'\n' {
            return Err(Rejection::new("a line break stands outside of quotes"));
        }
        if quote > 0 && line[quote - 1] != delimiter {
            return Err(Rejection::new("a quote stands in a field that is not quoted"));
        }
        // To the quote that closes it, which no other follows.
        at = quote + 1;
        loop {
            let Some(found) = line[at..].iter().position(|&byte| byte == b'"') else {
                return Err(Rejection::new("a quote is not closed"));
            };
            at += found + 1;
            match line.get(at) {
                Some(b'"') => at += 1,
                None => return Ok(()),
                Some(&byte) if byte == delimiter => break,
                Some(_) => {
                    return Err(Rejection::new("a closing quote is not followed by a delimiter"));
                }
            }
        }
    }
    Ok(())
}

impl ParseCsv {
    fn split(&mut self, mut line: &[u8]) {
        self.reader.reset();
        self.ends.clear();
        // A field is never longer than what stands for it.
        self.fields.resize(line.len() + 1, 0);
        let mut filled = 0;
        loop {
            let (result, read, written) = self.reader.read_field(line, &mut self.fields[filled..]);
            line = &line[read..];
            filled += written;
            match result {
                ReadFieldResult::InputEmpty => {} // An empty input next says that this is the end.
                ReadFieldResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadFieldResult::Field { record_end } => {
                    self.ends.push(filled);
                    if record_end {
                        return;
                    }
                }
                ReadFieldResult::End => return,
            }
        }
    }
}

pipehost_plugin::export!(ParseCsv);

#[cfg(test)]
mod tests {
    use super::ParseCsv;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn fields_become_attributes() {
        let line = r#"7,"Smith, ""Jo""",,x"#;
        let config = json!({ "columns": ["id", "name", "none", ""], "key": "id" });
        let out = run::<ParseCsv>(config, [record(line), record("8,,,")]);
        let row = |line: &str, id, name| {
            record(line).key(id).attribute("id", id).attribute("name", name).attribute("none", "")
        };
        assert_eq!(out.port("out"), [row(line, "7", "Smith, \"Jo\""), row("8,,,", "8", "")]);
    }

    #[test]
    fn another_delimiter() {
        let out =
            run::<ParseCsv>(json!({ "columns": ["a", "b"], "delimiter": ";" }), [record("1;2")]);
        assert_eq!(out.port("out"), [record("1;2").attribute("a", "1").attribute("b", "2")]);
    }

    #[test]
    fn a_line_with_more_or_fewer_fields_is_rejected() {
        let out =
            run::<ParseCsv>(json!({ "columns": ["a", "b"] }), ["1", "1,2,3", "1,2"].map(record));
        let reasons: Vec<_> = out.rejected.iter().map(|(_, reason)| &**reason).collect();
        assert_eq!(
            reasons,
            ["it has 1 fields, and `columns` 2", "it has 3 fields, and `columns` 2"]
        );
    }

    /// What the host's codec makes of an input, and what each of its records is.
    const TABLE: &str = include_str!("../../../tests/tables/csv.jsonl");

    #[test]
    fn records_are_what_the_table_says() {
        for line in TABLE.lines() {
            let case: pipehost_plugin::serde_json::Value =
                pipehost_plugin::serde_json::from_str(line).unwrap();
            for expected in case["records"].as_array().unwrap() {
                let raw = expected["raw"].as_str().unwrap();
                let out = run::<ParseCsv>(json!({ "columns": ["a", "b"] }), [record(raw)]);
                let Some(fields) = expected["fields"].as_array() else {
                    assert_eq!(out.rejected.len(), 1, "{raw:?}");
                    continue;
                };
                let field = |at: usize| fields[at].as_str().unwrap();
                let expected = record(raw).attribute("a", field(0)).attribute("b", field(1));
                assert_eq!(out.port("out"), [expected]);
            }
        }
    }

    #[test]
    fn fields_may_hold_line_breaks_and_what_cannot_be_right_is_rejected() {
        let config = json!({ "columns": ["a", "b"] });
        let lines = ["1,\"one\nline \"\"two\"\"\"", "1,\"open", "1,in\"side", "1,\"a\"b", "1\n,2"];
        let out = run::<ParseCsv>(config, lines.map(record));
        let expected = record(lines[0]).attribute("a", "1").attribute("b", "one\nline \"two\"");
        assert_eq!(out.port("out"), [expected]);
        let reasons: Vec<_> = out.rejected.iter().map(|(_, reason)| &**reason).collect();
        assert_eq!(
            reasons,
            [
                "a quote is not closed",
                "a quote stands in a field that is not quoted",
                "a closing quote is not followed by a delimiter",
                "a line break stands outside of quotes",
            ]
        );
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let open = |config: &str| Opened::<ParseCsv>::open(config).map(drop);
        assert!(open(r#"{ "columns": ["a", "a"] }"#).unwrap_err().message.contains("twice"));
        assert!(
            open(r#"{ "columns": ["a"], "key": "b" }"#).unwrap_err().message.contains("no column")
        );
        assert!(
            open(r#"{ "columns": ["a"], "delimiter": "é" }"#)
                .unwrap_err()
                .message
                .contains("ASCII")
        );
    }
}

//! Shows dead letters in full, and exports them.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{ExportFormat, Selection, each};
use crate::error::Error;
use pipehost_codec::frames::write_record;
use pipehost_record::Letter;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use pipehost_serve::record::Record;

/// Shows one letter in full.
pub(super) fn show(out: &mut impl Write, number: u64, letter: &Letter) -> io::Result<()> {
    // The file and its contents are untrusted.
    let mut line =
        |name: &str, text: &str| writeln!(out, "{name:<12}{}", Foreign::new(text).whole());
    line("letter", &number.to_string())?;
    line("refused by", &format!("{} of {}", letter.stage, letter.pipeline))?;
    line("reason", &letter.reason)?;
    line("attempts", &letter.attempts.to_string())?;
    line("at", &rfc3339(letter.time))?;
    line("origin", &format!("{}, record {}", letter.place, letter.number))?;
    if !letter.component.is_empty() {
        line("component", &letter.component)?;
    }
    let record = &letter.record;
    if let Some(time) = record.timestamp {
        line("timestamp", &rfc3339(time))?;
    }
    if let Some(key) = &record.key {
        line("key", &String::from_utf8_lossy(key))?;
    }
    for (name, bytes) in &record.attributes {
        line("attribute", &format!("{name} = {}", String::from_utf8_lossy(bytes)))?;
    }
    line("value", &record.value.as_deref().map_or("none".into(), String::from_utf8_lossy))?;
    writeln!(out)
}

/// Writes the records of letters.
pub(super) fn export(
    file: &Path,
    format: ExportFormat,
    selection: &Selection,
    out: &mut impl Write,
) -> Result<(), Error> {
    each(file, selection, |_, letter| match format {
        ExportFormat::Lines => {
            out.write_all(letter.record.value.as_deref().unwrap_or_default())?;
            out.write_all(b"\n")
        }
        ExportFormat::Frames => {
            let mut frame = Vec::new();
            write_record(&letter.record, &mut frame);
            out.write_all(&frame)
        }
        ExportFormat::Json => {
            writeln!(out, "{}", Foreign::json(&to_json(&letter).to_string()))
        }
    })
}

/// A letter as JSON.
pub(super) fn to_json(letter: &Letter) -> Value {
    json!({
        "pipeline": letter.pipeline,
        "stage": letter.stage,
        "input": letter.input,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "time": rfc3339(letter.time),
        "place": letter.place,
        "number": letter.number,
        "component": letter.component,
        "record": Record::from(&letter.record),
    })
}

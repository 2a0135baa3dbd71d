//! `pipehost dead-letter`.

mod replay;

use anyhow::anyhow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::error::Error;
use pipehost_codec::frames::write_record;
use pipehost_observe::log::stderr;
use pipehost_pipeline::dead_letter::LetterReader;
use pipehost_record::Letter;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use replay::Selection;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the dead letters, one per line.
    List { file: PathBuf },
    /// Show one dead letter, or all of them, in full.
    Show {
        file: PathBuf,
        /// Its number in the list, from 1.
        number: Option<u64>,
    },
    /// Send records back to the node that rejected them.
    ///
    /// Records that pass leave the file; those that are rejected again stay, with their
    /// attempts counted. The pipeline's sources are not read; its files are appended to.
    Replay {
        file: PathBuf,
        /// The pipeline that refused them, or one with the same stages.
        #[arg(long, value_name = "PIPELINE.toml")]
        pipeline: PathBuf,
        /// Only dead letters of this source, stage or sink.
        #[arg(long, value_name = "NAME")]
        stage: Option<String>,
        /// Only dead letters whose reason contains this text.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Write the records to stdout.
    Export {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
        format: ExportFormat,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// One JSON object per line: the record, and why it was rejected.
    Json,
    /// The values, one per line.
    Lines,
    /// The records as frames, which `codec = "frames"` reads.
    Frames,
}

pub fn dead_letter(verb: Verb) -> Result<u8, Error> {
    // Not locked: a pipeline that letters are replayed into may write to stdout, too.
    let mut out = io::BufWriter::new(io::stdout());
    match verb {
        Verb::List { file } => {
            let mut letters = 0;
            each(&file, |number, letter| {
                letters = number;
                list(&mut out, number, &letter)
            })?;
            if letters == 0 {
                writeln!(out, "no dead letters").map_err(Error::stdout)?;
            }
        }
        Verb::Show { file, number } => {
            let mut shown = 0;
            each(&file, |n, letter| {
                if number.is_none_or(|number| number == n) {
                    shown += 1;
                    show(&mut out, n, &letter)?;
                }
                Ok(())
            })?;
            if let (Some(number), 0) = (number, shown) {
                return Err(Error::Usage(anyhow!("{} has no letter {number}", file.display())));
            }
        }
        Verb::Replay { file, pipeline, stage, reason } => {
            return replay::replay(&file, &pipeline, &Selection { stage, reason });
        }
        Verb::Export { file, format } => export(&file, format, &mut out)?,
    }
    out.flush().map_err(Error::stdout)?;
    Ok(0)
}

/// Calls `use_it` for every letter. A truncated end is reported, and is no error; damage is.
fn each(path: &Path, mut use_it: impl FnMut(u64, Letter) -> io::Result<()>) -> Result<(), Error> {
    let mut reader = LetterReader::open(path).map_err(Error::Usage)?;
    let mut number = 0;
    for letter in reader.by_ref() {
        let letter = letter.map_err(|why| Error::Failed(anyhow!("{}: {why:#}", path.display())))?;
        number += 1;
        use_it(number, letter).map_err(Error::stdout)?;
    }
    if reader.torn() > 0 {
        stderr::say(&format!(
            "note: the last letter of {} is torn ({} bytes of it are there): its writer was stopped",
            path.display(),
            reader.torn()
        ));
    }
    Ok(())
}

fn list(out: &mut impl Write, number: u64, letter: &Letter) -> io::Result<()> {
    let Letter { place, number: row, stage, reason, attempts, time, .. } = letter;
    let tries = if *attempts == 1 { String::new() } else { format!(" after {attempts} attempts") };
    writeln!(
        out,
        "{number:>5}  {}  {}  {}:{row}{tries}  {}",
        rfc3339(*time),
        Foreign::new(stage),
        Foreign::new(place),
        Foreign::new(reason)
    )
}

fn show(out: &mut impl Write, number: u64, letter: &Letter) -> io::Result<()> {
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

fn export(file: &Path, format: ExportFormat, out: &mut impl Write) -> Result<(), Error> {
    each(file, |_, letter| match format {
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

fn to_json(letter: &Letter) -> Value {
    let text = |bytes: &Vec<u8>| match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    };
    let record = &letter.record;
    let attributes: Map<_, _> =
        record.attributes.iter().map(|(name, bytes)| (name.clone(), text(bytes))).collect();
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
        "record": {
            "timestamp": record.timestamp.map(rfc3339),
            "key": record.key.as_ref().map(text),
            "value": record.value.as_ref().map(text),
            "attributes": attributes,
        },
    })
}

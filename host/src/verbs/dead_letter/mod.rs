//! `pipehost dead-letter`.

mod change;
mod claim;
mod count;
mod live;
mod replay;
mod show;

use anyhow::anyhow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use pipehost_observe::log::stderr;
use pipehost_pipeline::dead_letter::LetterReader;
use pipehost_record::Letter;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use pipehost_serve::address::Address;

/// Which dead letters are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Only dead letters of this source, stage or sink.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stage: Option<String>,
    /// Only dead letters whose reason contains this text.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Only this number in the list, from 1; may be given several times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Vec<u64>,
}

/// How a pipeline that runs is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Live {
    /// Where the run that writes the file is: what `pipehost run --control` was given. Others are
    /// found without it.
    #[arg(long, value_name = "ADDR")]
    control: Option<Address>,
}

impl Selection {
    fn has(&self, number: u64, letter: &Letter) -> bool {
        self.stage.as_ref().is_none_or(|stage| letter.stage == *stage)
            && self.reason.as_ref().is_none_or(|reason| letter.reason.contains(&**reason))
            && (self.number.is_empty() || self.number.contains(&number))
    }

    /// What is said if there are none.
    fn none(&self) -> &'static str {
        if self.is_all() { "no dead letters" } else { "no dead letters that match" }
    }

    /// Whether it has all.
    fn is_all(&self) -> bool {
        self.stage.is_none() && self.reason.is_none() && self.number.is_empty()
    }
}

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the dead letters, one per line.
    List {
        file: PathBuf,
        #[command(flatten)]
        selection: Selection,
    },
    /// Count the dead letters by source, stage or sink, and by reason.
    ///
    /// Reasons that differ in numbers and in quoted text alone are one.
    Count {
        file: PathBuf,
        #[command(flatten)]
        selection: Selection,
    },
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
    ///
    /// If the pipeline runs, it takes the records itself, beside those of its sources. Its file is
    /// closed first, and gets a number; what is rejected again is in the new one, and its attempts
    /// begin anew.
    Replay {
        file: PathBuf,
        /// The pipeline that refused them, or one with the same stages.
        #[arg(long, value_name = "PIPELINE.toml")]
        pipeline: PathBuf,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        live: Live,
    },
    /// Remove dead letters for good.
    Discard {
        file: PathBuf,
        #[command(flatten)]
        selection: Selection,
        /// All of them.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        live: Live,
    },
    /// Edit dead letters as JSON, and put them back.
    ///
    /// Opens them, one a line, with the program that $VISUAL or $EDITOR names. The record of each may
    /// be changed; a line that is removed discards its letter. `replay` then sends them.
    Edit {
        file: PathBuf,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        live: Live,
    },
    /// Write the records to stdout.
    Export {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
        format: ExportFormat,
        #[command(flatten)]
        selection: Selection,
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
        Verb::List { file, selection } => {
            let mut letters = 0;
            each(&file, &selection, |number, letter| {
                letters = number;
                list(&mut out, number, &letter)
            })?;
            if letters == 0 {
                writeln!(out, "{}", selection.none()).map_err(Error::stdout)?;
            }
        }
        Verb::Show { file, number } => {
            let mut shown = 0;
            each(&file, &Selection::default(), |n, letter| {
                if number.is_none_or(|number| number == n) {
                    shown += 1;
                    show::show(&mut out, n, &letter)?;
                }
                Ok(())
            })?;
            if let (Some(number), 0) = (number, shown) {
                return Err(Error::Usage(anyhow!("{} has no letter {number}", file.display())));
            }
        }
        Verb::Count { file, selection } => count::count(&file, &selection, &mut out)?,
        Verb::Replay { file, pipeline, selection, live } => {
            return replay::replay(&file, &pipeline, &selection, &live);
        }
        Verb::Discard { file, selection, all, live } => {
            return change::discard(&file, &selection, all, &live);
        }
        Verb::Edit { file, selection, live } => return change::edit(&file, &selection, &live),
        Verb::Export { file, format, selection } => {
            show::export(&file, format, &selection, &mut out)?;
        }
    }
    out.flush().map_err(Error::stdout)?;
    Ok(0)
}

/// Calls `use_it` for every letter that is selected. A truncated end is reported, and is no error;
/// damage is.
fn each(
    path: &Path,
    selection: &Selection,
    mut use_it: impl FnMut(u64, Letter) -> io::Result<()>,
) -> Result<(), Error> {
    let mut reader = LetterReader::open(path).map_err(Error::Usage)?;
    let mut number = 0;
    for letter in reader.by_ref() {
        let letter = letter.map_err(|why| Error::Failed(anyhow!("{}: {why:#}", path.display())))?;
        number += 1;
        if selection.has(number, &letter) {
            use_it(number, letter).map_err(Error::stdout)?;
        }
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

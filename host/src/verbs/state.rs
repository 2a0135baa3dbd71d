//! `pipehost state`.

use anyhow::anyhow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use bytesize::ByteSize;
use hyper::Method;
use serde_json::Value;

use crate::control;
use crate::error::{Error, print};
use crate::runtime::one_thread;
use crate::summary::number;
use pipehost_connectors::{Extent, extent, written_extent};
use pipehost_pipeline::state::{self, Checkpoint, Division, Store};
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use pipehost_serve::address::Address;
use pipehost_serve::status::Status;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Show the last checkpoint, also of a pipeline that runs: the positions of sources and sinks, and the states of stages.
    Show {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// As JSON, with the positions in full.
        #[arg(long)]
        json: bool,
        /// Where the run that uses it is: what `pipehost run --control` was given. Others are found
        /// without it.
        #[arg(long, value_name = "ADDR")]
        control: Option<Address>,
    },
    /// Remove the state, or that of one node, so that the next run starts from the beginning.
    Reset {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Only this source, stage or sink: it starts from the beginning, the others go on. The
        /// saved state of a stage is lost.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
}

pub fn state(verb: Verb) -> Result<u8, Error> {
    match verb {
        Verb::Show { directory, json, control } => {
            let checkpoint = match live(&directory, control.as_ref())? {
                Some(checkpoint) => checkpoint,
                None => open(&directory)?.1,
            };
            let text = match (checkpoint, json) {
                (None, _) => "no checkpoint yet\n".to_owned(),
                (Some(checkpoint), true) => {
                    let json = serde_json::to_value(&checkpoint).expect("its keys are texts");
                    format!("{}\n", Foreign::json(&format!("{json:#}")))
                }
                (Some(checkpoint), false) => show(&checkpoint),
            };
            print(text.as_bytes())
        }
        Verb::Reset { directory, node: None } => {
            if !state::exists(&directory) {
                return Err(nothing(&directory));
            }
            state::remove(&directory).map_err(Error::Failed)?;
            print(format!("removed the state in {}\n", directory.display()).as_bytes())
        }
        Verb::Reset { directory, node: Some(node) } => {
            let (mut store, checkpoint) = open(&directory)?;
            let mut checkpoint = checkpoint.ok_or_else(|| nothing(&directory))?;
            store.forget(&mut checkpoint, &node).map_err(Error::Usage)?;
            print(format!("removed the state of `{node}`\n").as_bytes())
        }
    }
}

/// The last checkpoint of the pipeline that runs with this directory, if one does.
fn live(directory: &Path, control: Option<&Address>) -> Result<Option<Option<Checkpoint>>, Error> {
    one_thread()?.block_on(async {
        let of = |status: &Status| status.state.clone();
        let found = control::with_file(directory, control, of).await?;
        let Some((client, _)) = found else { return Ok(None) };
        client.call(Method::GET, "/state", Bytes::new()).await.map(Some)
    })
}

/// Checks that the directory exists: opening it would create it.
fn open(directory: &Path) -> Result<(Store, Option<Checkpoint>), Error> {
    if !state::exists(directory) {
        return Err(nothing(directory));
    }
    Store::open(directory).map_err(Error::Failed)
}

fn nothing(directory: &Path) -> Error {
    Error::Usage(anyhow!("there is no state in {}", directory.display()))
}

fn show(checkpoint: &Checkpoint) -> String {
    let mut rows: Vec<(&str, &str, String)> = Vec::new();
    for (name, source) in &checkpoint.sources {
        rows.push((name, &source.kind, source_position(&source.kind, source.position.as_ref())));
    }
    for (name, stage) in &checkpoint.stages {
        let held = &stage.saved_bytes;
        let bytes = ByteSize::b(held.values().sum::<usize>() as u64);
        let workers = match (&stage.division, held.len()) {
            (Division::Workers { .. }, n @ 2..) => format!(" of {n} workers"),
            (Division::Nothing | Division::Workers { .. }, _) => String::new(),
            (Division::KeyGroups { count }, n) => format!(" in {n} of {count} key groups"),
        };
        let what = match (stage.finished, held.is_empty()) {
            (true, true) => "has finished".to_owned(),
            (true, false) => format!("has finished, and keeps {bytes}{workers}"),
            (false, true) => "keeps no state".to_owned(),
            (false, false) => format!("{bytes} saved{workers}"),
        };
        rows.push((name, "stage", what));
    }
    for (name, sink) in &checkpoint.sinks {
        let what = sink_position(&sink.kind, sink.position.as_ref());
        rows.push((name, &sink.kind, what));
    }
    let width = |column: fn(&(&str, &str, String)) -> usize| rows.iter().map(column).max();
    let names = width(|row| row.0.chars().count()).unwrap_or(0);
    let kinds = width(|row| row.1.chars().count()).unwrap_or(0);
    let mut out = format!(
        "{}: checkpoint {} of {}\n\n",
        Foreign::new(&checkpoint.pipeline),
        number(checkpoint.number),
        rfc3339(checkpoint.time)
    );
    for (name, kind, what) in &rows {
        let line = format!("  {name:<names$}  {kind:<kinds$}  {what}");
        let _ = writeln!(out, "{}", Foreign::new(&line).whole());
    }
    out
}

fn sink_position(kind: &str, position: Option<&Value>) -> String {
    let Some(position) = position else {
        return "cannot be truncated: at least once".to_owned();
    };
    match written_extent(position) {
        Err(error) => format!("no position of a sink: {error}"),
        Ok((_, bytes)) if !kind.contains('{') => format!("{} bytes", number(bytes)),
        Ok((files, bytes)) => format!("{} bytes in {} files", number(bytes), number(files as u64)),
    }
}

fn source_position(kind: &str, position: Option<&Value>) -> String {
    let Some(position) = position else {
        return "cannot be rewound: what was read is not read again".to_owned();
    };
    match extent(kind, position) {
        Err(error) => format!("no position of a source: {error}"),
        Ok(Extent::Files { files, records, bytes }) => {
            let files = match files {
                1 => "1 file".to_owned(),
                n => format!("{n} files"),
            };
            format!("{} records, {} bytes of {files}", number(records), number(bytes))
        }
        Ok(Extent::Table { last: None }) => "no row yet".to_owned(),
        Ok(Extent::Table { last: Some(last) }) => format!("read to row {last}"),
        Ok(Extent::Records(records)) => format!("{} records", number(records)),
    }
}

//! Compares what came with what a case expects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::build::{DEAD, Watched};
use pipehost_codec::frames::{self, Frame};
use pipehost_config::case::{Leaving, PipelineCase, Reason, numbered};
use pipehost_config::graph::node_and_port;
use pipehost_config::{Config, FileSource, Metadata, SourceKind};
use pipehost_kit::cases::difference_of;
use pipehost_pipeline::dead_letter::LetterReader;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use pipehost_record::{Letter, Record};

/// What differs from what the case expects; empty if nothing does.
pub(super) fn complaint(
    config: &Config,
    case: &PipelineCase,
    watched: &[Watched],
    folder: &Path,
) -> Result<String> {
    let mut told = String::new();
    let named: BTreeSet<&str> = (case.output.iter().map(|leaving| &leaving.from))
        .chain(&case.nothing)
        .map(|from| &*from.value)
        .collect();
    for name in named {
        let Some(watched) = watched.iter().find(|watched| watched.name == name) else { continue };
        let mut came = records(&watched.file)?;
        came.iter_mut().for_each(|record| fix_metadata(record, config, case));
        let expected = case.output.iter().filter(|leaving| leaving.from.value == name);
        let mut expected: Vec<Record> = expected.flat_map(all).collect();
        if has_several_ways(config, case, name) {
            // Which record is first is a matter of chance.
            came.sort();
            expected.sort();
        }
        if let Some(lines) = difference_of(&expected, &came) {
            told.push_str(&format!("`{name}`:\n{lines}"));
        }
    }
    let mut rejected: Vec<Letter> = match folder.join(DEAD) {
        file if file.exists() => LetterReader::open(&file)?.collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    // What is said exactly comes first: it must not lose its letter to what fits several.
    let (exact, others): (Vec<_>, Vec<_>) =
        case.rejected.iter().partition(|expected| matches!(expected.reason, Reason::Is(_)));
    for expected in exact.into_iter().chain(others) {
        let fits = |letter: &Letter| {
            letter.stage == expected.by.value && expected.reason.fits(&letter.reason)
        };
        match rejected.iter().position(fits) {
            Some(at) => drop(rejected.remove(at)),
            None => told.push_str(&format!(
                "- `{}` is expected to reject a record, and does not, or for another reason\n",
                expected.by.value
            )),
        }
    }
    for letter in rejected.iter().take(MOST) {
        let Letter { stage, number, reason, .. } = letter;
        told.push_str(&format!("+ `{stage}` rejects record {number}: {}\n", Foreign::new(reason)));
    }
    if rejected.len() > MOST {
        told.push_str(&format!("  … {} more\n", rejected.len() - MOST));
    }
    Ok(told.trim_end().to_owned())
}

/// Puts what does not depend on the machine and the day where a source tells them.
fn fix_metadata(record: &mut Record, config: &Config, case: &PipelineCase) {
    for source in &config.sources {
        let SourceKind::File(FileSource { codec, paths, .. }) = &source.kind else { continue };
        let Metadata { path, host, ingested, .. } = &codec.metadata;
        let file = paths.first().map(|path| path.value.display().to_string());
        for (name, value) in &mut record.attributes {
            let is = |attribute: &Option<String>| attribute.as_deref() == Some(&**name);
            if is(path) && file.as_ref().is_some_and(|file| file.as_bytes() == *value) {
                *value = source.name.value.clone().into_bytes();
            } else if is(host) {
                *value = b"localhost".to_vec();
            } else if is(ingested) {
                *value = rfc3339(case.clock).into_bytes();
            }
        }
    }
}

/// Whether records come to a node, or leave it, by more than one way.
fn has_several_ways(config: &Config, case: &PipelineCase, name: &str) -> bool {
    let node = |text: &str| node_and_port(text).0.to_owned();
    let mut upstream = vec![node(name)];
    let mut next = 0;
    while let Some(name) = upstream.get(next).cloned() {
        next += 1;
        let stages = config.stages.iter().map(|stage| (&stage.name.value, &stage.input));
        let sinks = config.sinks.iter().map(|sink| (&sink.name.value, &sink.input));
        let inputs = stages.chain(sinks).find(|(other, _)| **other == name).map(|(_, input)| input);
        let from = inputs.map(|input| &input.from[..]).unwrap_or_default();
        if from.len() > 1 {
            return true;
        }
        for from in from.iter().map(|from| node(&from.value)) {
            if !upstream.contains(&from) {
                upstream.push(from);
            }
        }
    }
    let entered: BTreeSet<String> =
        case.input.iter().map(|entering| node(&entering.to.value)).collect();
    entered.iter().filter(|name| upstream.contains(name)).count() > 1
}

/// The most rejections that are shown.
const MOST: usize = 20;

fn all(leaving: &Leaving) -> Vec<Record> {
    (1..=leaving.times).map(|n| numbered(&leaving.record, leaving.times, n)).collect()
}

/// The records in a file of frames, their attributes by name, as those of a case are.
fn records(file: &Path) -> Result<Vec<Record>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let (mut records, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((frame, length)) = frames::read(rest)? {
        let Frame::Record(mut record) = frame else { bail!("a sink wrote a dead letter") };
        record.attributes.sort();
        records.push(record);
        rest = &rest[length..];
    }
    Ok(records)
}

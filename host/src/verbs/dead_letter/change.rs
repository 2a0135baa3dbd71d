//! `pipehost dead-letter discard` and `edit`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;

use super::claim::{Claim, Divided};
use super::replay::letters;
use super::show::to_json;
use super::{Live, Selection};
use crate::error::{Error, print};
use pipehost_record::{Letter, Record};
use pipehost_serve::record;

pub(super) fn discard(
    file: &Path,
    selection: &Selection,
    all: bool,
    live: &Live,
) -> Result<u8, Error> {
    if selection.is_all() != all {
        return Err(Error::Usage(match all {
            true => anyhow!("--all does not go with --stage, --reason and --number"),
            false => anyhow!("say which: --stage, --reason, --number, or --all"),
        }));
    }
    let Some(claim) = Claim::of(file, selection, live)? else {
        return print(b"no letters to discard\n");
    };
    let Divided { selected, others } = claim.letters(selection)?;
    if selected.is_empty() {
        return print(b"no letters to discard\n");
    }
    claim.rewrite(others.iter().map(|(_, letter)| letter))?;
    let text = format!("{} discarded, {} left\n", letters(selected.len()), letters(others.len()));
    print(text.as_bytes())
}

pub(super) fn edit(file: &Path, selection: &Selection, live: &Live) -> Result<u8, Error> {
    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(std::env::var_os);
    let editor = editor.filter(|editor| !editor.is_empty()).ok_or_else(|| {
        Error::Usage(anyhow!("set $EDITOR to the program that is to edit the letters, such as vi"))
    })?;
    let Some(claim) = Claim::of(file, selection, live)? else {
        return print(b"no letters to edit\n");
    };
    let Divided { selected, others } = claim.letters(selection)?;
    if selected.is_empty() {
        return print(b"no letters to edit\n");
    }
    let mut edited = tempfile::Builder::new()
        .prefix("letters-")
        .suffix(".jsonl")
        .tempfile()
        .map_err(|error| Error::Failed(anyhow!("cannot make a file to edit: {error}")))?;
    let mut text = String::new();
    for (number, letter) in &selected {
        let mut json = to_json(letter);
        json["letter"] = (*number).into();
        text.push_str(&format!("{json}\n"));
    }
    edited.write_all(text.as_bytes()).and_then(|()| edited.flush()).map_err(|error| {
        Error::Failed(anyhow!("cannot write {}: {error}", edited.path().display()))
    })?;
    // As other programs do it: it may have arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{} \"$@\"", editor.to_string_lossy()))
        .arg("sh")
        .arg(edited.path())
        .status();
    let is_done = status.as_ref().is_ok_and(|status| status.success());
    if !is_done {
        let editor = editor.display();
        return Err(Error::Failed(match status {
            Ok(status) => anyhow!("`{editor}` ended with {status}: no letter was changed"),
            Err(error) => anyhow!("cannot run `{editor}`: {error}: no letter was changed"),
        }));
    }
    let back = fs::read_to_string(edited.path()).map_err(anyhow::Error::from);
    let back = back.and_then(|text| put_back(&text, &selected));
    let (back, changed) = match back {
        Ok(back) => back,
        Err(why) => {
            let kept = edited.into_temp_path().keep();
            let kept = kept.map_or_else(
                |_| String::new(),
                |path| format!("; what you wrote is in {}", path.display()),
            );
            return Err(Error::Failed(anyhow!("{why:#}: no letter was changed{kept}")));
        }
    };
    let discarded = selected.len() - back.len();
    let others = others.iter().map(|(number, letter)| (*number, letter));
    let back = back.iter().map(|(number, letter)| (*number, letter));
    let all: BTreeMap<u64, &Letter> = others.chain(back).collect();
    claim.rewrite(all.into_values())?;
    let text = format!("{} changed, {} discarded\n", letters(changed), letters(discarded));
    print(text.as_bytes())
}

/// What of an edited letter counts.
#[derive(Deserialize)]
struct Edited {
    letter: u64,
    record: record::Record,
}

type Numbered = BTreeMap<u64, Letter>;

/// The letters as they were edited, and how many have changed.
fn put_back(text: &str, selected: &[(u64, Letter)]) -> Result<(Numbered, usize)> {
    let selected: BTreeMap<u64, &Letter> =
        selected.iter().map(|(number, letter)| (*number, letter)).collect();
    let mut back = Numbered::new();
    let mut changed = 0;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let at = || format!("line {number}");
        let Edited { letter, record } = serde_json::from_str(line).with_context(at)?;
        let Some(before) = selected.get(&letter) else {
            bail!("line {number}: there was no letter {letter}");
        };
        let record = to_record(&record).with_context(at)?;
        changed += usize::from(record != before.record);
        if back.insert(letter, Letter { record, ..(*before).clone() }).is_some() {
            bail!("line {number}: the letter {letter} is there twice");
        }
    }
    if back.is_empty() {
        bail!("there is no line left (`dead-letter discard` removes letters)");
    }
    Ok((back, changed))
}

fn to_record(record: &record::Record) -> Result<Record> {
    let bytes = |what: &str, bytes: &record::Bytes| {
        bytes.to_vec().ok_or_else(|| anyhow!("`{what}` is no base64"))
    };
    let timestamp = record.timestamp.as_deref().map(|text| {
        let time = text.parse::<jiff::Timestamp>().ok();
        let time = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
        time.ok_or_else(|| anyhow!("`timestamp` is no time of RFC 3339 from 1678 to 2262"))
    });
    let attributes = record.attributes.iter().map(|(name, value)| {
        pipehost_record::check_name(name).map_err(|why| anyhow!("`{name}`: {why}"))?;
        Ok((name.clone(), bytes(name, value)?))
    });
    Ok(Record {
        timestamp: timestamp.transpose()?,
        key: record.key.as_ref().map(|key| bytes("key", key)).transpose()?,
        value: record.value.as_ref().map(|value| bytes("value", value)).transpose()?,
        attributes: attributes.collect::<Result<_>>()?,
    })
}

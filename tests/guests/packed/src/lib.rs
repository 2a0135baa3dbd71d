//! Does to each record what its value says, in the shape of the contract with packed lists, which
//! the SDK does not use: languages like Python do.

#![cfg(target_family = "wasm")]

#[allow(clippy::all, unused_qualifications)]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "packed-timed-transform" });
}

use bindings::exports::pipehost::stage::{checkpoint, packed_stage, packed_watermark};
use bindings::pipehost::stage::declarations::{Columns, Keeps};
use bindings::pipehost::stage::packed_records::{
    AttributeChange, Change, Column, Excerpt, Outcome, Output, Rows, TimestampsChange,
};
use bindings::pipehost::stage::records::{Given, Rejection, Target};

struct Guest;

fn packed<const N: usize>(numbers: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    numbers.into_iter().flatten().collect()
}

fn u32s(numbers: &[u32]) -> Vec<u8> {
    packed(numbers.iter().map(|number| number.to_le_bytes()))
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// Where each row starts and ends; `None` if it is null.
fn rows(column: &Column) -> Vec<Option<(u32, u32)>> {
    let nulls = numbers(column.nulls.as_deref().unwrap_or_default());
    let mut start = 0;
    let row = |(row, end): (usize, u32)| {
        let range = (std::mem::replace(&mut start, end), end);
        (!nulls.contains(&(row as u32))).then_some(range)
    };
    numbers(&column.ends).into_iter().enumerate().map(row).collect()
}

fn output(rows: Rows) -> Output {
    Output {
        port: 0,
        rows,
        timestamps: None,
        key: None,
        value: None,
        attributes: Vec::new(),
        removed: Vec::new(),
        excerpts: Vec::new(),
    }
}

/// A value for each of some new records.
fn fresh(values: &[&str]) -> Outcome {
    let mut end = 0;
    let ends: Vec<u32> = values
        .iter()
        .map(|value| {
            end += value.len() as u32;
            end
        })
        .collect();
    let data = values.concat().into_bytes();
    let value = Change { ends: u32s(&ends), data, nulls: Vec::new(), inherited: Vec::new() };
    let output = Output { value: Some(value), ..output(Rows::Fresh(values.len() as u32)) };
    Outcome { outputs: vec![output], rejected: Vec::new() }
}

impl packed_stage::Guest for Guest {
    fn describe() -> packed_stage::Description {
        packed_stage::Description {
            name: "packed".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "A guest of the tests".to_owned(),
            config_schema: "{}".to_owned(),
        }
    }

    fn open(_: String) -> Result<packed_stage::Plan, String> {
        let reads = Columns { timestamps: true, key: false, value: true, attributes: Vec::new() };
        let (ports, inputs) = (vec!["out".to_owned()], Vec::new());
        Ok(packed_stage::Plan { reads, ports, inputs, keeps: Keeps::Anything })
    }

    fn process(batch: packed_stage::Batch) -> Result<Outcome, String> {
        let Some(value) = batch.value else { return Err("no value".to_owned()) };
        let times: Vec<i64> =
            (batch.timestamps.as_deref().unwrap_or_default().as_chunks().0.iter())
                .map(|bytes| i64::from_le_bytes(*bytes))
                .collect();
        let (mut picked, mut rejected) = (Vec::new(), Vec::new());
        let (mut ends, mut data) = (Vec::new(), Vec::new());
        let (mut nulls, mut inherited, mut later) = (Vec::new(), Vec::new(), Vec::new());
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        let mut lies = false;
        for (row, range) in (0..).zip(rows(&value)) {
            let (start, end) = range.unwrap_or_default();
            let text = &value.data[start as usize..end as usize];
            match text {
                b"drop" => continue,
                b"reject" => {
                    rejected.push(Rejection {
                        row,
                        reason: "as it says".to_owned(),
                        retryable: false,
                    });
                    continue;
                }
                b"keep" => inherited.push(ends.len() as u32),
                b"null" => nulls.push(ends.len() as u32),
                b"lie" => lies = true,
                text => data.extend(text.to_ascii_uppercase()),
            }
            picked.push(row);
            ends.push(data.len() as u32);
            starts.push(start);
            stops.push((start + 1).min(end));
            later.push(times[row as usize] + 1_000_000_000);
        }
        let changed =
            Change { ends: u32s(&ends), data, nulls: u32s(&nulls), inherited: u32s(&inherited) };
        let mut rows = u32s(&picked);
        if lies {
            rows.push(0);
        }
        let ends: Vec<u32> = (1..=picked.len() as u32).collect();
        let marks = Change {
            ends: u32s(&ends),
            data: vec![b'!'; picked.len()],
            nulls: Vec::new(),
            inherited: Vec::new(),
        };
        let timestamps = packed(later.iter().map(|time: &i64| time.to_le_bytes()));
        let output = Output {
            timestamps: Some(TimestampsChange { timestamps, inherited: Vec::new() }),
            value: Some(changed),
            attributes: vec![AttributeChange { name: "mark".to_owned(), change: marks }],
            excerpts: vec![Excerpt {
                to: Target::Attribute("first".to_owned()),
                from: Given::Value,
                starts: u32s(&starts),
                ends: u32s(&stops),
                nulls: Vec::new(),
                inherited: Vec::new(),
            }],
            ..output(Rows::Picked(rows))
        };
        Ok(Outcome { outputs: vec![output], rejected })
    }

    fn finish() -> Result<Outcome, String> {
        Ok(fresh(&["the", "end"]))
    }
}

impl packed_watermark::Guest for Guest {
    fn advance(_: Vec<u8>) -> Result<Outcome, String> {
        Ok(fresh(&["time passes"]))
    }
}

impl checkpoint::Guest for Guest {
    fn save(_: checkpoint::KeyGroups) -> Result<Vec<checkpoint::GroupState>, String> {
        Ok(Vec::new())
    }

    fn restore(_: Vec<checkpoint::GroupState>, _: checkpoint::SavedBy) -> Result<(), String> {
        Ok(())
    }
}

bindings::export!(Guest with_types_in bindings);

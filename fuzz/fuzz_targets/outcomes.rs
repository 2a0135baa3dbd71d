//! What a stage answers is refused, or it is a batch that holds together.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pipehost_sandbox::contract::bindings::records as contract;
use pipehost_codec::encode;
use pipehost_config::Encoding;
use pipehost_sandbox::contract::outcome;
use pipehost_sandbox::contract::plan::{Given, Plan};
use pipehost_record::BatchBuilder;

#[derive(Debug, Arbitrary)]
struct Change {
    ends: Vec<u32>,
    data: Vec<u8>,
    nulls: Vec<u32>,
    inherited: Vec<u32>,
}

impl From<Change> for contract::Change {
    fn from(change: Change) -> Self {
        let Change { ends, data, nulls, inherited } = change;
        Self { ends, data, nulls, inherited }
    }
}

#[derive(Debug, Arbitrary)]
enum Rows {
    All,
    Picked(Vec<u32>),
    /// More would only take memory: the host limits what a batch may hold.
    Fresh(u8),
}

#[derive(Debug, Arbitrary)]
struct Excerpt {
    to_value: bool,
    from_value: bool,
    starts: Vec<u32>,
    ends: Vec<u32>,
    nulls: Vec<u32>,
    inherited: Vec<u32>,
}

impl From<Excerpt> for contract::Excerpt {
    fn from(excerpt: Excerpt) -> Self {
        let Excerpt { to_value, from_value, starts, ends, nulls, inherited } = excerpt;
        let to = if to_value { contract::Target::Value } else { contract::Target::Key };
        let from = if from_value { contract::Given::Value } else { contract::Given::Attribute(0) };
        Self { to, from, starts, ends, nulls, inherited }
    }
}

#[derive(Debug, Arbitrary)]
struct Output {
    port: u32,
    rows: Rows,
    timestamps: Option<(Vec<i64>, Vec<u32>)>,
    key: Option<Change>,
    value: Option<Change>,
    attributes: Vec<(String, Change)>,
    removed: Vec<String>,
    excerpts: Vec<Excerpt>,
}

fuzz_target!(|input: (bool, Vec<Output>, Vec<u32>)| {
    let (has_input, outputs, rejected) = input;
    let mut builder = BatchBuilder::default();
    for number in 1..=4 {
        let attributes = [("level", &b"INFO"[..])].into_iter().filter(|_| number % 2 == 0);
        builder.push(&"fuzz".into(), number, Some(0), None, Some(b"value"), attributes);
    }
    let batch = builder.take();
    let plan = Plan { value: true, attributes: vec!["level".to_owned()], ..Plan::default() };
    let given = Given::new(&plan, &batch);
    let outputs = (outputs.into_iter())
        .map(|output| contract::Output {
            port: output.port,
            rows: match output.rows {
                Rows::All => contract::Rows::All,
                Rows::Picked(rows) => contract::Rows::Picked(rows),
                Rows::Fresh(count) => contract::Rows::Fresh(count.into()),
            },
            timestamps: output.timestamps.map(|(timestamps, inherited)| {
                contract::TimestampsChange { timestamps, inherited }
            }),
            key: output.key.map(Into::into),
            value: output.value.map(Into::into),
            attributes: (output.attributes.into_iter())
                .map(|(name, change)| contract::AttributeChange { name, change: change.into() })
                .collect(),
            removed: output.removed,
            excerpts: output.excerpts.into_iter().map(Into::into).collect(),
        })
        .collect();
    let rejected = (rejected.into_iter())
        .map(|row| contract::Rejection { row, reason: String::new(), retryable: false })
        .collect();
    let outcome = contract::Outcome { outputs, rejected };
    let answer = outcome::join(has_input.then_some((&batch, &given)), 2, &"stage".into(), outcome);
    for emitted in answer.into_iter().flat_map(|answer| answer.emitted) {
        let mut text = Vec::new();
        encode(&Encoding::Json(Default::default()), &emitted.batch, &mut text);
        assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), emitted.batch.len);
        (0..emitted.batch.len).for_each(|row| drop(emitted.batch.origin(row)));
    }
});

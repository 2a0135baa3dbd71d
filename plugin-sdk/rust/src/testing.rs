//! Runs a stage natively, in a unit test: records in, records out, no wasm.
//!
//! ```
//! # use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
//! # use pipehost_plugin::schemars;
//! # #[derive(pipehost_plugin::serde::Deserialize, schemars::JsonSchema)]
//! # #[serde(crate = "pipehost_plugin::serde")]
//! # struct Config { level: String }
//! # struct OnlyLevel { level: Field, wanted: String }
//! # impl Stage for OnlyLevel {
//! #     type Config = Config;
//! #     fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
//! #         Ok(Self { level: setup.attribute("level"), wanted: config.level })
//! #     }
//! #     fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//! #         if record.get(self.level) == Some(self.wanted.as_bytes()) { out.keep(); }
//! #         Ok(())
//! #     }
//! # }
//! use pipehost_plugin::testing::{record, run};
//! use pipehost_plugin::serde_json::json;
//!
//! let out = run::<OnlyLevel>(json!({ "level": "ERROR" }), [
//!     record("disk full").attribute("level", "ERROR"),
//!     record("all is well").attribute("level", "INFO"),
//! ]);
//! assert_eq!(out.port("out"), [record("disk full").attribute("level", "ERROR")]);
//! ```

use std::collections::BTreeMap;

use crate::driver::contract::{
    AttributeChange, Change, Excerpt, Given, Outcome, Output, Rows, Target,
};
use crate::driver::{Column, Input, KeyGroups, Opened, Plan};
use crate::{Field, NO_TIME, Stage};

/// A record of a test: build it with [`record`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestRecord {
    /// In nanoseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The attributes, by name.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

/// A record with this value and nothing else.
pub fn record(value: impl AsRef<[u8]>) -> TestRecord {
    TestRecord { value: Some(value.as_ref().to_vec()), ..TestRecord::default() }
}

impl TestRecord {
    /// With this value.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = Some(value.as_ref().to_vec());
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// With this attribute.
    pub fn attribute(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.attributes.insert(name.to_owned(), value.as_ref().to_vec());
        self
    }

    /// With this timestamp, in nanoseconds since the Unix epoch.
    pub fn timestamp(mut self, nanoseconds: i64) -> Self {
        self.timestamp = Some(nanoseconds);
        self
    }
}

/// What came out of a stage.
#[derive(Debug)]
pub struct Outputs {
    ports: Vec<(String, Vec<TestRecord>)>,
    /// The rows that were rejected, and why.
    pub rejected: Vec<(u32, String)>,
}

impl Outputs {
    /// The records that went to a port.
    ///
    /// # Panics
    /// If the stage has no such port.
    pub fn port(&self, name: &str) -> &[TestRecord] {
        let found = self.ports.iter().find(|(port, _)| port == name);
        &found.unwrap_or_else(|| panic!("the stage has no port {name:?}")).1
    }
}

/// Opens a stage, gives it the records in one batch, and finishes it.
///
/// # Panics
/// If the stage refuses its configuration or fails.
pub fn run<S: Stage>(
    config: serde_json::Value,
    records: impl IntoIterator<Item = TestRecord>,
) -> Outputs {
    let mut driven = Driven::<S>::open(config);
    let mut out = driven.process(records);
    for (port, finished) in out.ports.iter_mut().zip(driven.finish().ports) {
        port.1.extend(finished.1);
    }
    out
}

/// An opened stage, to call it as the host does, but without a host.
#[derive(Debug)]
pub struct Driven<S> {
    stage: Opened<S>,
}

impl<S: Stage> Driven<S> {
    /// # Panics
    /// If the stage refuses its configuration.
    pub fn open(config: serde_json::Value) -> Self {
        Self { stage: Opened::open(&config.to_string()).expect("the stage opens") }
    }

    /// Processes a batch from the first input, or the only one.
    pub fn process(&mut self, records: impl IntoIterator<Item = TestRecord>) -> Outputs {
        self.process_by(0, records)
    }

    /// Processes a batch from the input of this number.
    pub fn process_by(
        &mut self,
        input: u32,
        records: impl IntoIterator<Item = TestRecord>,
    ) -> Outputs {
        let records: Vec<_> = records.into_iter().collect();
        let plan = self.stage.plan().clone();
        let outcome = with_input(&plan, &records, |columns| {
            let columns = columns.by(input);
            let outcome = self.stage.process(&columns);
            written_out(outcome, &columns)
        });
        outputs(&plan, outcome, &records)
    }

    /// # Panics
    /// If the stage fails.
    pub fn finish(&mut self) -> Outputs {
        let outcome = self.stage.finish().expect("the stage finishes");
        outputs(self.stage.plan(), outcome, &[])
    }
}

impl<S: crate::Checkpoint> Driven<S> {
    /// The same stage after a restart, with its state restored.
    ///
    /// # Panics
    /// If the stage fails, or refuses its configuration or state.
    pub fn restarted(&self, config: serde_json::Value) -> Self {
        self.restarted_as(config).expect("the stage takes its state back")
    }

    /// The same stage after a restart, if it accepts the state that was saved under the
    /// configuration before.
    ///
    /// # Errors
    /// The error of the stage.
    ///
    /// # Panics
    /// If the stage fails, or refuses its configuration.
    pub fn restarted_as(&self, config: serde_json::Value) -> Result<Self, crate::Error> {
        let mut restarted = Self::open(config);
        let saved = self.stage.save(KeyGroups::ALL).expect("the stage saves its state");
        restarted.stage.restore(saved, "0.0.0", self.stage.config())?;
        Ok(restarted)
    }
}

impl<S: crate::Timed> Driven<S> {
    /// # Panics
    /// If the stage fails.
    pub fn advance(&mut self, watermark: i64) -> Outputs {
        let outcome = self.stage.advance(watermark).expect("the stage advances");
        outputs(self.stage.plan(), outcome, &[])
    }
}

fn outputs(plan: &Plan, outcome: Outcome, parents: &[TestRecord]) -> Outputs {
    let mut out = Outputs {
        ports: plan.ports.iter().map(|port| (port.clone(), Vec::new())).collect(),
        rejected: outcome.rejected.iter().map(|r| (r.row, r.reason.clone())).collect(),
    };
    for output in outcome.outputs {
        out.ports[output.port as usize].1.extend(join(output, parents));
    }
    out
}

/// The outcome, with excerpts replaced by changes.
fn written_out(mut outcome: Outcome, input: &Input<'_>) -> Outcome {
    for output in &mut outcome.outputs {
        for Excerpt { to, from, starts, ends, nulls, inherited } in output.excerpts.drain(..) {
            let column = match from {
                Given::Key => Field::KEY.0,
                Given::Value => Field::VALUE.0,
                Given::Attribute(index) => Field::FIRST_ATTRIBUTE + index as usize,
            };
            let mut change = Change { ends: Vec::new(), data: Vec::new(), nulls, inherited };
            for (start, end) in starts.into_iter().zip(ends) {
                change.data.extend_from_slice(input.bytes_at(column, start, end));
                change.ends.push(change.data.len() as u32);
            }
            match to {
                Target::Key => output.key = Some(change),
                Target::Value => output.value = Some(change),
                Target::Attribute(name) => {
                    output.attributes.push(AttributeChange { name, change });
                }
            }
        }
    }
    outcome
}

/// Builds the columns that the plan reads, and no others.
fn with_input<R>(plan: &Plan, records: &[TestRecord], use_it: impl FnOnce(Input<'_>) -> R) -> R {
    type Owned = (Vec<u32>, Vec<u8>, Vec<u32>);
    let column = |get: &dyn Fn(&TestRecord) -> Option<&Vec<u8>>| -> Owned {
        let (mut ends, mut data, mut nulls) = Owned::default();
        for (row, record) in (0..).zip(records) {
            match get(record) {
                Some(bytes) => data.extend_from_slice(bytes),
                None => nulls.push(row),
            }
            ends.push(data.len() as u32);
        }
        (ends, data, nulls)
    };
    fn view((ends, data, nulls): &Owned) -> Column<'_> {
        Column::new(ends, data, nulls)
    }
    let times: Vec<i64> = records.iter().map(|r| r.timestamp.unwrap_or(NO_TIME)).collect();
    let key = plan.key.then(|| column(&|record| record.key.as_ref()));
    let value = plan.value.then(|| column(&|record| record.value.as_ref()));
    let attributes: Vec<_> =
        plan.attributes.iter().map(|name| column(&|record| record.attributes.get(name))).collect();
    use_it(Input::new(
        records.len(),
        plan.timestamps.then_some(&times[..]),
        key.as_ref().map(view),
        value.as_ref().map(view),
        attributes.iter().map(|column| Some(view(column))),
    ))
}

/// As the host does with an output: fills in all that it did not change.
fn join(output: Output, parents: &[TestRecord]) -> Vec<TestRecord> {
    let mut rows: Vec<TestRecord> = match output.rows {
        Rows::All => parents.to_vec(),
        Rows::Picked(rows) => rows.iter().map(|&row| parents[row as usize].clone()).collect(),
        Rows::Fresh(len) => vec![TestRecord::default(); len as usize],
    };
    let mut apply = |change: Change, set: &dyn Fn(&mut TestRecord, Option<Vec<u8>>)| {
        for (row, record) in rows.iter_mut().enumerate() {
            let start = if row == 0 { 0 } else { change.ends[row - 1] as usize };
            let bytes = change.data[start..change.ends[row] as usize].to_vec();
            let row = row as u32;
            if !change.inherited.contains(&row) {
                set(record, (!change.nulls.contains(&row)).then_some(bytes));
            }
        }
    };
    if let Some(change) = output.key {
        apply(change, &|record, bytes| record.key = bytes);
    }
    if let Some(change) = output.value {
        apply(change, &|record, bytes| record.value = bytes);
    }
    for attribute in output.attributes {
        apply(attribute.change, &|record, bytes| {
            match bytes {
                Some(bytes) => record.attributes.insert(attribute.name.clone(), bytes),
                None => record.attributes.remove(&attribute.name),
            };
        });
    }
    for (row, record) in rows.iter_mut().enumerate() {
        for name in &output.removed {
            record.attributes.remove(name);
        }
        if let Some(times) = &output.timestamps
            && !times.inherited.contains(&(row as u32))
        {
            record.timestamp = Some(times.timestamps[row]).filter(|&time| time != NO_TIME);
        }
    }
    rows
}

//! Write a pipehost stage in Rust: a type, its configuration, and a method that sees one record at
//! a time.
//!
//! A crate that is a stage needs this one, a crate type of `cdylib`, and a line that says what it
//! does:
//!
//! ```toml
//! [package]
//! name = "only-level"
//! version = "0.1.0"
//! edition = "2024"
//! description = "Keeps the records of one level"
//!
//! [lib]
//! crate-type = ["cdylib", "lib"]
//!
//! [dependencies]
//! pipehost-plugin = "0.1"
//! ```
//!
//! ```
//! use pipehost_plugin::schemars::{self, JsonSchema};
//! use pipehost_plugin::serde::Deserialize;
//! use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
//! struct Config {
//!     /// The records of this level go on.
//!     level: String,
//! }
//!
//! struct OnlyLevel {
//!     level: Field,
//!     wanted: String,
//! }
//!
//! impl Stage for OnlyLevel {
//!     type Config = Config;
//!
//!     fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
//!         Ok(Self { level: setup.attribute("level"), wanted: config.level })
//!     }
//!
//!     fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//!         if record.get(self.level) == Some(self.wanted.as_bytes()) {
//!             out.keep();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! pipehost_plugin::export!(OnlyLevel);
//! ```
//!
//! A stage declares in [`Stage::open`] what it reads, and keeps the handles: a column without a
//! handle cannot be read, and never enters the sandbox. Columns that it does not change need no
//! code: the host adds them to the output.
//!
//! Build it with `cargo build --release --target wasm32-wasip2`; or name the source folder in a
//! pipeline, and pipehost builds it. Name, version and summary come from the crate's own
//! manifest. [`testing`] runs a stage in a unit test.
//!
//! # Errors
//!
//! A record that cannot be processed is rejected: `?` and `.into()` make a [`Rejection`] of every
//! error and of every text, and the pipeline decides what becomes of the record (`on_error`). One
//! that may succeed later is [retryable](Rejection::retryable).
//!
//! ```
//! # use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
//! # struct Double { value: Field }
//! # impl Stage for Double {
//! #     type Config = pipehost_plugin::serde_json::Value;
//! #     fn open(_: Self::Config, setup: &mut Setup) -> Result<Self, Error> {
//! #         Ok(Self { value: setup.value() })
//! #     }
//! fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//!     let value = record.get(self.value).ok_or("it has no value")?;
//!     let number: i64 = std::str::from_utf8(value)?.trim().parse()?;
//!     out.keep().value((2 * number).to_string());
//!     Ok(())
//! }
//! # }
//! # use pipehost_plugin::testing::{record, run};
//! # let out = run::<Double>(pipehost_plugin::serde_json::json!({}), [record("21"), record("x")]);
//! # assert_eq!(out.port("out"), [record("42")]);
//! # assert_eq!(out.rejected, [(1, "invalid digit found in string".to_owned())]);
//! ```
//!
//! # Ports
//!
//! Records go to the default port, `out`, unless the stage sends them to another one, which a
//! pipeline reads as `stage.port`:
//!
//! ```
//! # use pipehost_plugin::{Error, Field, Out, Port, Record, Rejection, Setup, Stage};
//! struct Split {
//!     value: Field,
//!     long: Port,
//! }
//!
//! impl Stage for Split {
//! #   type Config = pipehost_plugin::serde_json::Value;
//!     fn open(_: Self::Config, setup: &mut Setup) -> Result<Self, Error> {
//!         Ok(Self { value: setup.value(), long: setup.port("long") })
//!     }
//!
//!     fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//!         match record.get(self.value) {
//!             Some(value) if value.len() > 80 => out.send(self.long),
//!             _ => out.keep(),
//!         };
//!         Ok(())
//!     }
//! }
//! # use pipehost_plugin::testing::{record, run};
//! # let long = "x".repeat(81);
//! # let out = run::<Split>(pipehost_plugin::serde_json::json!({}), [record("a"), record(&long)]);
//! # assert_eq!(out.port("long"), [record(&long)]);
//! ```
//!
//! # State
//!
//! What a stage holds between records is lost with its instance: when it fails, and when the
//! pipeline ends. A [`Checkpoint`] can save this state and restore it. The saved bytes include
//! their own shape: a stage that expects another one gets an error, and misreads nothing. Such a
//! stage is exported with `export!(Counter, checkpoint)`.
//!
//! ```
//! use pipehost_plugin::{Checkpoint, Error, Save, Saved};
//! # use pipehost_plugin::{Out, Record, Rejection, Setup, Stage};
//! # struct Counter { count: u64 }
//! # impl Stage for Counter {
//! #     type Config = pipehost_plugin::serde_json::Value;
//! #     fn open(_: Self::Config, _: &mut Setup) -> Result<Self, Error> { Ok(Self { count: 0 }) }
//! #     fn process(&mut self, _: &Record, _: &mut Out) -> Result<(), Rejection> {
//! #         self.count += 1;
//! #         Ok(())
//! #     }
//! # }
//!
//! impl Checkpoint for Counter {
//!     fn save(&self, state: &mut Save) -> Result<(), Error> {
//!         state.put(&self.count)
//!     }
//!
//!     fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
//!         self.count = saved.get()?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A state that another configuration has made is refused, unless the stage
//! [accepts](Checkpoint::accepts) it.
//!
//! # All cores
//!
//! Only the stage knows how many instances of it may share the records. One that declares nothing
//! has one instance, which gets every record. One that [keeps nothing](Setup::keeps_nothing) has as
//! many as there are cores, as they are needed. One that [keeps by key](Setup::keeps_by_key) shares
//! the keys among its instances, and saves its state [by key](Save::put_by_key), so that keys can
//! move from one instance to another:
//!
//! ```
//! use std::collections::BTreeMap;
//! use pipehost_plugin::{Checkpoint, Error, Field, Out, Record, Rejection, Save, Saved, Setup, Stage};
//!
//! struct CountByKey {
//!     key: Field,
//!     counts: BTreeMap<Vec<u8>, u64>,
//! }
//!
//! impl Stage for CountByKey {
//! #   type Config = pipehost_plugin::serde_json::Value;
//!     fn open(_: Self::Config, setup: &mut Setup) -> Result<Self, Error> {
//!         let key = setup.key();
//!         setup.keeps_by_key(key);
//!         Ok(Self { key, counts: BTreeMap::new() })
//!     }
//!
//!     fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//!         let key = record.get(self.key).unwrap_or_default();
//!         let count = self.counts.entry(key.to_vec()).or_default();
//!         *count += 1;
//!         out.keep().attribute("count", count.to_string());
//!         Ok(())
//!     }
//! }
//!
//! impl Checkpoint for CountByKey {
//!     fn save(&self, state: &mut Save) -> Result<(), Error> {
//!         state.put_by_key(self.counts.iter().map(|(key, count)| (&key[..], count)))
//!     }
//!
//!     fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
//!         self.counts = saved.by_key()?.into_iter().collect();
//!         Ok(())
//!     }
//! }
//! # use pipehost_plugin::testing::{Driven, record};
//! # let config = pipehost_plugin::serde_json::json!({});
//! # let mut driven = Driven::<CountByKey>::open(config.clone());
//! # driven.process([record("a").key("k"), record("b").key("other")]);
//! # let out = driven.restarted(config).process([record("c").key("k")]);
//! # assert_eq!(out.port("out"), [record("c").key("k").attribute("count", "2")]);
//! ```
//!
//! # Time
//!
//! A [`Timed`] stage receives watermarks, and can close a window then. A record that it
//! [creates](Out::create) descends from no single record.
//!
//! ```
//! use pipehost_plugin::{Error, Out, Timed};
//! # use pipehost_plugin::{Checkpoint, Record, Rejection, Save, Saved, Setup, Stage};
//! # struct Window { end: i64, count: u64 }
//! # impl Stage for Window {
//! #     type Config = pipehost_plugin::serde_json::Value;
//! #     fn open(_: Self::Config, _: &mut Setup) -> Result<Self, Error> {
//! #         Ok(Self { end: 10, count: 0 })
//! #     }
//! #     fn process(&mut self, _: &Record, _: &mut Out) -> Result<(), Rejection> {
//! #         self.count += 1;
//! #         Ok(())
//! #     }
//! # }
//! # impl Checkpoint for Window {
//! #     fn save(&self, state: &mut Save) -> Result<(), Error> { state.put(&self.count) }
//! #     fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
//! #         self.count = saved.get()?;
//! #         Ok(())
//! #     }
//! # }
//!
//! impl Timed for Window {
//!     fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
//!         if watermark >= self.end {
//!             out.create().value(self.count.to_string());
//!             self.count = 0;
//!         }
//!         Ok(())
//!     }
//! }
//! # use pipehost_plugin::testing::{Driven, record};
//! # let mut driven = Driven::<Window>::open(pipehost_plugin::serde_json::json!({}));
//! # driven.process([record("a"), record("b")]);
//! # assert_eq!(driven.advance(10).port("out"), [record("2")]);
//! ```
//!
//! # Several inputs
//!
//! A stage that tells its inputs apart names them with [`Setup::input`], in the order in which the
//! pipeline gives them (`input = ["orders", "payments"]`), and asks each record
//! [whether it is from one](Record::is_from).
//!
//! # Grants
//!
//! A stage has no files, no network and no environment. It uses what a pipeline grants under
//! `[stage.grants]` through `std`: with a folder granted as `read = { "/tables" = "lookup" }`,
//! `std::fs::read("/tables/countries.csv")`; with a variable granted as `env`, `std::env::var`.
//! What it prints goes to the log.

#![deny(missing_docs)]

mod changed;
pub mod driver;
mod error;
mod export;
pub mod json;
pub mod metrics;
mod number;
mod opened;
mod output;
mod part;
mod period;
mod record;
mod saved;
mod setup;
mod state;
mod template;
pub mod testing;
mod time;

pub use error::{Error, Rejection};
pub use number::Number;
pub use output::{Out, Row};
pub use part::Part;
pub use period::Period;
pub use record::Record;
pub use saved::{Save, Saved};
pub use setup::{Field, InputId, Port, Setup, Time};
pub use template::Template;
pub use time::{TimeError, now, parse_rfc3339, rfc3339};

pub use {schemars, serde, serde_json};

#[doc(hidden)]
pub use export::{bindings, describe, glue};

/// Stands for "no time" in a column of timestamps.
pub const NO_TIME: i64 = i64::MIN;

/// A stage: what happens to each record.
pub trait Stage: Sized {
    /// What the pipeline's `config` table holds. Its JSON Schema is shown by
    /// `pipehost inspect` and checked before anything runs, so doc comments on its
    /// fields are documentation for operators.
    type Config: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// Builds the stage and declares, through `setup`, what it reads and which
    /// ports it has. An error is shown to the operator, and nothing runs.
    fn open(config: Self::Config, setup: &mut Setup) -> Result<Self, Error>;

    /// Called before the records of each batch: a place for what costs too much to be done for
    /// each record, such as to look whether a file has changed.
    fn begin_batch(&mut self) {}

    /// Processes one record. The record is emitted each time it is [kept](Out::keep); one that is
    /// never kept is dropped. Records that descend from no single record are
    /// [created](Out::create). An error rejects the record, and takes back what was emitted for it.
    fn process(&mut self, record: &Record<'_>, out: &mut Out) -> Result<(), Rejection>;

    /// Called after the last record: emits what the stage still holds. The records emitted here are
    /// new ones and inherit nothing.
    fn finish(&mut self, _out: &mut Out) -> Result<(), Error> {
        Ok(())
    }
}

/// A [`Stage`] whose state outlives its instance: exported with
/// `export!(Type, checkpoint)`.
pub trait Checkpoint: Stage {
    /// Saves the state. Must change nothing.
    fn save(&self, state: &mut Save) -> Result<(), Error>;

    /// Takes over a saved state; called after `open`, before the first record. It may come from
    /// several instances, or be a part of what one has saved, if the stage [keeps by
    /// key](Setup::keeps_by_key).
    fn restore(&mut self, saved: &Saved) -> Result<(), Error>;

    /// Whether the stage can go on with a state that another version of it or another configuration
    /// has made: called before `restore`. An error is shown to the operator, and nothing runs. The
    /// default refuses another configuration, and names the settings.
    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&[])
    }
}

/// A [`Checkpoint`] that receives watermarks: exported with `export!(Type, timed)`. The pipeline
/// must say where watermarks come from.
pub trait Timed: Checkpoint {
    /// All records before `watermark`, in nanoseconds since the Unix epoch, have come; one that
    /// still comes is late. The records emitted here are new ones and inherit nothing. After a
    /// failure or a restart, the same watermark may come a second time.
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error>;
}

//! Native versions of the stages of `plugins/`: `pipehost bench` compares the sandbox with them.
//!
//! They are the same crates with the same SDK, on columns that are borrowed and not copied. Their
//! answers are treated like those of a sandboxed stage.

use anyhow::Result;
use std::sync::Arc;

use pipehost_plugin::Stage;
use pipehost_plugin::driver::{Input, Opened, contract};

use pipehost_record::{Batch, Column};
use pipehost_sandbox::contract::bindings::records;
use pipehost_sandbox::contract::outcome::{self, Answer};
use pipehost_sandbox::contract::plan::{Given, Keeps, Plan};
use pipehost_sandbox::{Native, Runner};

/// The native stage of this name, opened with a configuration in JSON. `None` if there is none, or
/// if it receives watermarks, which native stages do not support.
///
/// # Errors
/// If the configuration is invalid; the message says why.
pub fn runner(name: &str, config: &str) -> Option<Result<Runner>> {
    Some(match name {
        "add-context" => make::<add_context::AddContext>(config),
        "add-prefix" => make::<add_prefix::AddPrefix>(config),
        "alert" => make::<alert::Alert>(config),
        "double" => make::<double::Double>(config),
        "filter" => make::<filter::Filter>(config),
        "json-path" => make::<json_path::JsonPath>(config),
        "parse-access-log" => make::<parse_access_log::ParseAccessLog>(config),
        "parse-csv" => make::<parse_csv::ParseCsv>(config),
        "parse-grok" => make::<parse_grok::ParseGrok>(config),
        "parse-json" => make::<parse_json::ParseJson>(config),
        "parse-key-value" => make::<parse_key_value::ParseKeyValue>(config),
        "parse-log" => make::<parse_log::ParseLog>(config),
        "parse-regex" => make::<parse_regex::ParseRegex>(config),
        "parse-syslog" => make::<parse_syslog::ParseSyslog>(config),
        "parse-time" => make::<parse_time::ParseTime>(config),
        "redact" => make::<redact::Redact>(config),
        "replace" => make::<replace::Replace>(config),
        "route" => make::<route::Route>(config),
        "set" => make::<set::Set>(config),
        "to-json" => make::<to_json::ToJson>(config),
        "to-upper" => make::<to_upper::ToUpper>(config),
        _ => return None,
    })
}

struct NativeStage<S> {
    opened: Opened<S>,
    plan: Arc<Plan>,
    name: Arc<str>,
}

fn make<S: Stage + Send + 'static>(config: &str) -> Result<Runner> {
    let plan = Opened::<S>::open(config)
        .map_err(|error| anyhow::Error::msg(error.message))?
        .plan()
        .clone();
    let plan = Arc::new(Plan {
        timestamps: plan.timestamps,
        key: plan.key,
        value: plan.value,
        attributes: plan.attributes,
        ports: plan.ports,
        inputs: plan.inputs,
        keeps: match plan.keeps {
            pipehost_plugin::driver::Keeps::Nothing => Keeps::Nothing,
            // No state of a native stage is saved.
            pipehost_plugin::driver::Keeps::Anything | pipehost_plugin::driver::Keeps::ByKey(_) => {
                Keeps::Anything
            }
        },
    });
    let (config, its_plan) = (config.to_owned(), plan.clone());
    let make = move || -> Box<dyn Native> {
        let opened = Opened::<S>::open(&config).expect("it was opened like this before");
        Box::new(NativeStage { opened, plan: its_plan.clone(), name: "native".into() })
    };
    Ok(Runner::Native { plan, make: Arc::new(make) })
}

impl<S: Stage + Send> Native for NativeStage<S> {
    fn process(&mut self, batch: &Batch) -> Result<Answer> {
        let given = Given::new(&self.plan, batch);
        let input = Input::new(
            batch.len,
            given.timestamps.as_deref().map(Vec::as_slice),
            given.key.as_deref().map(view),
            given.value.as_deref().map(view),
            given.attributes.iter().map(|column| column.as_deref().map(view)),
        );
        let outcome = convert(self.opened.process(&input));
        Ok(outcome::join(Some((batch, &given)), self.plan.ports.len(), &self.name, outcome)?)
    }

    fn finish(&mut self) -> Result<Answer> {
        let outcome =
            convert(self.opened.finish().map_err(|error| anyhow::Error::msg(error.message))?);
        Ok(outcome::join(None, self.plan.ports.len(), &self.name, outcome)?)
    }
}

fn view(column: &Column) -> pipehost_plugin::driver::Column<'_> {
    pipehost_plugin::driver::Column::new(&column.ends, &column.data, &column.nulls)
}

/// Converts the SDK's types to the host's: both are generated from the same contract.
fn convert(outcome: contract::Outcome) -> records::Outcome {
    let output = |output: contract::Output| records::Output {
        port: output.port,
        rows: match output.rows {
            contract::Rows::All => records::Rows::All,
            contract::Rows::Picked(rows) => records::Rows::Picked(rows),
            contract::Rows::Fresh(len) => records::Rows::Fresh(len),
        },
        timestamps: output.timestamps.map(|times| records::TimestampsChange {
            timestamps: times.timestamps,
            inherited: times.inherited,
        }),
        key: output.key.map(change),
        value: output.value.map(change),
        attributes: (output.attributes.into_iter())
            .map(|a| records::AttributeChange { name: a.name, change: change(a.change) })
            .collect(),
        removed: output.removed,
        excerpts: output.excerpts.into_iter().map(excerpt).collect(),
    };
    records::Outcome {
        outputs: outcome.outputs.into_iter().map(output).collect(),
        rejected: (outcome.rejected.into_iter())
            .map(|r| records::Rejection { row: r.row, reason: r.reason, retryable: r.retryable })
            .collect(),
    }
}

fn change(change: contract::Change) -> records::Change {
    let contract::Change { ends, data, nulls, inherited } = change;
    records::Change { ends, data, nulls, inherited }
}

fn excerpt(excerpt: contract::Excerpt) -> records::Excerpt {
    let contract::Excerpt { to, from, starts, ends, nulls, inherited } = excerpt;
    let to = match to {
        contract::Target::Key => records::Target::Key,
        contract::Target::Value => records::Target::Value,
        contract::Target::Attribute(name) => records::Target::Attribute(name),
    };
    let from = match from {
        contract::Given::Key => records::Given::Key,
        contract::Given::Value => records::Given::Value,
        contract::Given::Attribute(index) => records::Given::Attribute(index),
    };
    records::Excerpt { to, from, starts, ends, nulls, inherited }
}

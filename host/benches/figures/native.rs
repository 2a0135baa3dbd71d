//! Drives a stage of `plugins/` natively, through the same kit that the sandboxed
//! build uses, on columns that are borrowed and not copied.

use std::sync::Arc;

use pipehost::bindings::records;
use pipehost::outcome::{self, Answer};
use pipehost::record::{Batch, Column, Selected};
use pipehost::stage::{Native, Plan, Runner};
use pipehost_plugin::{Input, Opened, Stage, contract};

struct NativeStage<S> {
    opened: Opened<S>,
    name: Arc<str>,
}

/// A runner for a native stage.
pub fn runner<S: Stage + Send + 'static>(config: &serde_json::Value) -> Runner {
    let config = config.to_string();
    let open = move || Opened::<S>::open(&config).expect("the configuration is right");
    let plan = open().plan().clone();
    let plan = Plan {
        timestamps: plan.timestamps,
        key: plan.key,
        value: plan.value,
        attributes: plan.attributes,
        ports: plan.ports,
        inputs: plan.inputs,
    };
    let make = move || -> Box<dyn Native> {
        Box::new(NativeStage { opened: open(), name: "native".into() })
    };
    Runner::Native { plan: Arc::new(plan), make: Arc::new(make) }
}

impl<S: Stage + Send> Native for NativeStage<S> {
    fn process(&mut self, batch: &Batch) -> Result<Answer, String> {
        let plan = self.opened.plan();
        let contiguous = |wanted: bool, column: &Option<Selected<Column>>| {
            column.as_ref().filter(|_| wanted).map(Selected::contiguous)
        };
        let times = batch.timestamps.as_ref().filter(|_| plan.timestamps).map(Selected::contiguous);
        let key = contiguous(plan.key, &batch.key);
        let value = contiguous(plan.value, &batch.value);
        let attributes: Vec<_> = (plan.attributes.iter())
            .map(|name| batch.attribute(name).map(Selected::contiguous))
            .collect();
        let input = Input::new(
            batch.len,
            times.as_deref().map(Vec::as_slice),
            key.as_deref().map(view),
            value.as_deref().map(view),
            attributes.iter().map(|column| column.as_deref().map(view)),
        );
        let outcome = self.opened.process(&input);
        let ports = self.opened.plan().ports.len();
        outcome::join(Some(batch), ports, &self.name, convert(outcome))
    }

    fn finish(&mut self) -> Result<Answer, String> {
        let outcome = self.opened.finish()?;
        outcome::join(None, self.opened.plan().ports.len(), &self.name, convert(outcome))
    }
}

fn view(column: &Column) -> pipehost_plugin::Column<'_> {
    pipehost_plugin::Column::new(&column.ends, &column.data, &column.nulls)
}

/// The kit's types and the host's are generated from one contract, twice.
fn convert(outcome: contract::Outcome) -> records::Outcome {
    let change = |change: contract::Change| records::Change {
        ends: change.ends,
        data: change.data,
        nulls: change.nulls,
        inherited: change.inherited,
    };
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
    };
    records::Outcome {
        outputs: outcome.outputs.into_iter().map(output).collect(),
        rejected: (outcome.rejected.into_iter())
            .map(|r| records::Rejection { row: r.row, reason: r.reason, retryable: r.retryable })
            .collect(),
    }
}

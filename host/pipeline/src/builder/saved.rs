//! The state that an earlier run of the pipeline saved.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

use crate::state::{self, Checkpoint, Shape, SinkShape, SourceShape, StageShape, Store};
use pipehost_config::Config;
use pipehost_connectors::described;
use pipehost_files::content_hash;
use pipehost_sandbox::Runner;

/// Opens a state directory, and checks that its checkpoint fits this pipeline.
pub(super) fn open(directory: &Path, shape: &Shape) -> Result<(Option<Store>, Option<Checkpoint>)> {
    let at = directory.display();
    let (store, checkpoint) = Store::open(directory)?;
    let Some(checkpoint) = checkpoint else { return Ok((Some(store), None)) };
    let differences = state::differences(&checkpoint, shape);
    if !differences.is_empty() {
        bail!(
            "the state in {at} does not fit this pipeline:\n  {}\nTake what is gone out of it \
             (pipehost state reset {at} --node NAME), or start over (pipehost state reset {at})",
            differences.join("\n  ")
        );
    }
    let time = pipehost_record::time::rfc3339(checkpoint.time);
    tracing::info!("resuming from checkpoint {} of {time}", checkpoint.number);
    for name in shape.new_nodes(&checkpoint) {
        tracing::info!("`{name}` is not in the checkpoint: it starts from the beginning");
    }
    for name in shape.new_components(&checkpoint) {
        tracing::warn!(
            "the component of `{name}` is another than that of the checkpoint: it gets what the \
             other one saved"
        );
    }
    Ok((Some(store), Some(checkpoint)))
}

/// The properties that a pipeline must share with a checkpoint.
pub(super) fn shape(config: &Config, runners: &[Runner]) -> Shape {
    let stage = |(stage, runner): (&pipehost_config::Stage, &Runner)| {
        let shape = StageShape {
            component: runner.hash().to_string(),
            config: settings(&stage.config.value),
            workers: stage.workers,
            partition: stage.partition.as_ref().map(ToString::to_string),
        };
        (stage.name.value.clone(), shape)
    };
    Shape {
        pipeline: config.name.clone(),
        sources: (config.sources.iter())
            .map(|s| (s.name.value.clone(), SourceShape { kind: s.kind.name().to_owned() }))
            .collect(),
        stages: config.stages.iter().zip(runners).map(stage).collect(),
        sinks: (config.sinks.iter())
            .map(|s| (s.name.value.clone(), SinkShape { kind: described(&s.kind) }))
            .collect(),
    }
}

/// SHA-256 of each setting of a stage, by name.
fn settings(config: &serde_json::Value) -> BTreeMap<String, String> {
    let settings = config.as_object().into_iter().flatten();
    settings
        .map(|(name, value)| (name.clone(), content_hash(value.to_string().as_bytes())))
        .collect()
}

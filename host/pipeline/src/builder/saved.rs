//! The state that an earlier run of the pipeline saved.

use anyhow::{Result, bail};
use std::path::Path;

use crate::state::{self, Checkpoint, Division, Shape, SinkShape, SourceShape, StageShape, Store};
use pipehost_config::Config;
use pipehost_connectors::described;
use pipehost_sandbox::Runner;
use pipehost_sandbox::contract::plan::Keeps;

/// Opens a state directory.
pub(super) fn open(directory: &Path) -> Result<(Option<Store>, Option<Checkpoint>)> {
    let (store, checkpoint) = Store::open(directory)?;
    Ok((Some(store), checkpoint))
}

/// Key groups of a new state.
const KEY_GROUPS: u32 = 64;

/// How many key groups there are: as configured, as in the checkpoint, or the default.
pub(super) fn key_groups(config: &Config, checkpoint: Option<&Checkpoint>) -> u32 {
    let saved = checkpoint.into_iter().flat_map(|checkpoint| checkpoint.stages.values());
    let saved = saved.filter_map(|stage| match stage.division {
        Division::KeyGroups { count } => Some(count),
        Division::Nothing | Division::Workers { .. } => None,
    });
    config.key_groups.or(saved.max()).unwrap_or(KEY_GROUPS)
}

/// Checks that a checkpoint fits this pipeline.
pub(super) fn check(directory: &Path, checkpoint: &Checkpoint, shape: &Shape) -> Result<()> {
    let at = directory.display();
    let differences = state::differences(checkpoint, shape);
    if !differences.is_empty() {
        bail!(
            "the state in {at} does not fit this pipeline:\n  {}\nTake what is gone out of it \
             (pipehost state reset {at} --node NAME), or start over (pipehost state reset {at})",
            differences.join("\n  ")
        );
    }
    let time = pipehost_record::time::rfc3339(checkpoint.time);
    tracing::info!("resuming from checkpoint {} of {time}", checkpoint.number);
    for name in shape.new_nodes(checkpoint) {
        tracing::info!("`{name}` is not in the checkpoint: it starts from the beginning");
    }
    for name in shape.new_components(checkpoint) {
        tracing::warn!(
            "the component of `{name}` is another than that of the checkpoint: it gets what the \
             other one saved"
        );
    }
    Ok(())
}

/// What a pipeline goes on with, of the last checkpoint of the one that it replaces in this process.
///
/// # Errors
/// If something would be lost.
pub(super) fn check_going_on(
    mut checkpoint: Checkpoint,
    shape: &Shape,
    keeps_state: bool,
) -> Result<Checkpoint> {
    if !keeps_state {
        // No later run goes on from here: sources and sinks may come and go.
        checkpoint
            .sources
            .retain(|name, then| shape.sources.get(name).is_some_and(|now| now.kind == then.kind));
        checkpoint
            .sinks
            .retain(|name, then| shape.sinks.get(name).is_some_and(|now| now.kind == then.kind));
    }
    let differences = state::differences(&checkpoint, shape);
    if !differences.is_empty() {
        bail!("it does not go on from where the other one was:\n  {}", differences.join("\n  "));
    }
    Ok(checkpoint)
}

/// The properties that a pipeline must share with a checkpoint.
pub(super) fn shape(config: &Config, runners: &[Runner], groups: u32) -> Shape {
    let stage = |(stage, runner): (&pipehost_config::Stage, &Runner)| {
        let shape = StageShape {
            component: runner.hash().to_string(),
            saves_as: runner.saves_as(),
            division: match &runner.plan().keeps {
                Keeps::Nothing => Division::Nothing,
                Keeps::ByKey(_) => Division::KeyGroups { count: groups },
                Keeps::Anything => Division::Workers {
                    count: stage.workers.unwrap_or(1),
                    partition: stage.partition.as_ref().map(ToString::to_string),
                },
            },
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

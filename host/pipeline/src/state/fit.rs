//! Whether a checkpoint fits a pipeline, and what differs if not.

use std::collections::BTreeMap;

use crate::state::{Checkpoint, Division};
use pipehost_sandbox::contract::state::SavedBy;

/// The properties that a pipeline must share with a checkpoint to resume from it.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    pub pipeline: String,
    pub sources: BTreeMap<String, SourceShape>,
    pub stages: BTreeMap<String, StageShape>,
    pub sinks: BTreeMap<String, SinkShape>,
}

#[derive(Debug, Clone)]
pub struct SourceShape {
    pub kind: String,
}

#[derive(Debug, Clone)]
pub struct StageShape {
    pub component: String,
    /// Who a state of the stage is saved by.
    pub saves_as: SavedBy,
    pub division: Division,
}

#[derive(Debug, Clone)]
pub struct SinkShape {
    pub kind: String,
}

impl Shape {
    /// Stages that had saved state, and whose component has changed.
    pub fn new_components<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
    ) -> impl Iterator<Item = &'a str> {
        let held = checkpoint.stages.iter().filter(|(_, then)| then.has_saved());
        held.filter_map(|(name, then)| {
            let now = self.stages.get(name)?;
            (now.component != then.component).then_some(name.as_str())
        })
    }

    /// Sources, stages and sinks that are not in a checkpoint.
    pub fn new_nodes(&self, checkpoint: &Checkpoint) -> Vec<&str> {
        let sources = self.sources.keys().filter(|name| !checkpoint.sources.contains_key(*name));
        let stages = self.stages.keys().filter(|name| !checkpoint.stages.contains_key(*name));
        let sinks = self.sinks.keys().filter(|name| !checkpoint.sinks.contains_key(*name));
        sources.chain(stages).chain(sinks).map(String::as_str).collect()
    }
}

/// How the division of a stage's state differs. Its configuration is no difference: the stage
/// itself says whether it goes on with the state.
fn divided_otherwise(name: &str, then: &Division, now: &Division) -> Vec<String> {
    let mut found = Vec::new();
    match (then, now) {
        (Division::Nothing, _) => {}
        (_, Division::Nothing) => found.push(format!(
            "the stage `{name}` kept a state, which would be lost: now it says that it keeps nothing"
        )),
        (
            Division::Workers { count: then, partition: by_then },
            Division::Workers { count: now, partition: by_now },
        ) => {
            if now != then {
                found.push(format!(
                    "the stage `{name}` had {then} workers, and has {now}: what each held cannot \
                     be divided anew"
                ));
            }
            if by_now != by_then {
                let say = |partition: &Option<String>| match partition {
                    None => "none".to_owned(),
                    Some(by) => format!("\"{by}\""),
                };
                let (then, now) = (say(by_then), say(by_now));
                found.push(format!("the partition of the stage `{name}` was {then}, and is {now}"));
            }
        }
        (Division::KeyGroups { count: then }, Division::KeyGroups { count: now }) => {
            if now != then {
                found.push(format!(
                    "the state of the stage `{name}` has {then} key groups, and key_groups is {now}"
                ));
            }
        }
        (Division::Workers { .. }, Division::KeyGroups { .. }) => found.push(format!(
            "the stage `{name}` keeps its state by key, and in the checkpoint each worker has a part"
        )),
        (Division::KeyGroups { .. }, Division::Workers { .. }) => found.push(format!(
            "the state of the stage `{name}` is divided by key, and the stage does not keep by key"
        )),
    }
    found
}

/// Why a pipeline cannot resume from a checkpoint; empty if it can. A node that is not in the
/// checkpoint is no reason: it starts from the beginning. Nor is a removed sink, or a removed stage
/// that held no records.
pub fn differences(checkpoint: &Checkpoint, shape: &Shape) -> Vec<String> {
    if checkpoint.pipeline != shape.pipeline {
        let (theirs, ours) = (&checkpoint.pipeline, &shape.pipeline);
        return vec![format!("it is the state of the pipeline `{theirs}`, and this is `{ours}`")];
    }
    let mut found = Vec::new();
    for (name, then) in &checkpoint.sources {
        match shape.sources.get(name) {
            None => found.push(format!(
                "the source `{name}` ({}) is gone, and with it the place up to which it was read",
                then.kind
            )),
            Some(now) if now.kind != then.kind => {
                found.push(format!("the source `{name}` was {}, and is {}", then.kind, now.kind));
            }
            Some(_) => {}
        }
    }
    for (name, then) in checkpoint.stages.iter().filter(|(_, then)| then.has_saved()) {
        let Some(now) = shape.stages.get(name) else {
            if then.holds_records() {
                found.push(format!("the stage `{name}` is gone, and what it held would be lost"));
            }
            continue;
        };
        found.extend(divided_otherwise(name, &then.division, &now.division));
    }
    for (name, then) in &checkpoint.sinks {
        if let Some(now) = shape.sinks.get(name)
            && now.kind != then.kind
        {
            found.push(format!("the sink `{name}` wrote {}, and writes {}", then.kind, now.kind));
        }
    }
    found
}

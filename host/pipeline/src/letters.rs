//! Dead letters of a run, while it runs: they go back to the nodes that rejected them, and their file
//! is closed for whoever changes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::{Notify, oneshot};

use crate::dead_letter::{DeadLetters, RotationAnswer};
use crate::replace::{Purpose, Replacing};
use crate::run::Running;
use crate::view::Node;
use pipehost_config::graph::NodeId;
use pipehost_config::{Sink, SinkKind};
use pipehost_record::foreign::Foreign;
use pipehost_record::{Letter, check_name};

/// Dead letters to send to the nodes that rejected them, while the pipeline runs.
pub struct Replay {
    pub letters: Vec<Letter>,
    /// Whether it is only to be said whether they would be taken.
    pub only_check: bool,
    /// Gets the answer once all have gone through: to a sink, or to the dead letters again.
    pub answer: oneshot::Sender<Result<()>>,
}

/// The dead letters of a run.
pub(crate) struct RunLetters {
    pub(crate) file: Arc<DeadLetters>,
    /// Notified to make a checkpoint soon; none if there are no checkpoints.
    pub(crate) demand: Option<Arc<Notify>>,
}

impl Running {
    /// Whether letters can be replayed now.
    pub(crate) fn check_replay(&self, asked: &Replay, is_free: bool) -> Result<()> {
        if !is_free {
            bail!("the pipeline is about to end, or to be replaced, or replays others: try again");
        }
        if self.config.dead_letters.is_none() {
            bail!("the pipeline has no dead letters, for what would be rejected again");
        }
        // What such a sink writes is there once the run ends.
        let is_lost = |sink: &&Sink| matches!(sink.kind, SinkKind::File(_));
        if self.config.state.is_none()
            && let Some(sink) = self.config.sinks.iter().find(is_lost)
        {
            bail!(
                "the pipeline keeps no state, so that what its sink `{}` has written is lost if the \
                 run is killed: let it end before you replay, or give it a `state`",
                sink.name.value
            );
        }
        // There may be many letters, and the run does nothing else meanwhile.
        let nodes: HashMap<&str, &Node> =
            self.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let takes = |letter: &Letter| {
            let node = nodes.get(letter.stage.as_str());
            node.is_some_and(|node| !matches!(node.id, NodeId::Source(_)))
        };
        for name in asked.letters.iter().map(|letter| &letter.stage).collect::<BTreeSet<_>>() {
            let node = nodes.get(name.as_str());
            let reached = node.map(|node| self.prepared.graph.reached_from(node.id));
            let reached = reached.unwrap_or_default();
            let is_complete = |node: &&Node| {
                matches!(node.id, NodeId::Sink(_))
                    && reached.contains(&node.id)
                    && self.suspension.has_finished(&node.name)
            };
            if let Some(sink) = self.nodes.iter().find(is_complete) {
                bail!(
                    "the input of the sink `{}` has ended, and what it writes is complete: replay the \
                     letters of `{}` when the pipeline does not run",
                    sink.name,
                    Foreign::new(name)
                );
            }
        }
        for letter in &asked.letters {
            let node = nodes.get(letter.stage.as_str());
            if node.is_some_and(|node| letter.input as usize >= node.inputs.len().max(1)) {
                let stage = Foreign::new(&letter.stage);
                bail!("`{stage}` has no input number {}, from 0", letter.input);
            }
            for (name, _) in &letter.record.attributes {
                check_name(name)
                    .with_context(|| format!("the attribute {}", Foreign::new(name)))?;
            }
        }
        if let Some(letter) = asked.letters.iter().find(|letter| !takes(letter)) {
            bail!(
                "the pipeline has no stage or sink `{}`; letters of a source are replayed when the \
                 pipeline does not run",
                Foreign::new(&letter.stage)
            );
        }
        Ok(())
    }

    pub(crate) fn rotate_letters(&self, answer: RotationAnswer) {
        match &self.letters {
            None => {
                let _ = answer.send(Err(anyhow!("the pipeline has no dead letters")));
            }
            Some(RunLetters { file, demand: Some(demand) }) => {
                file.ask_rotation(answer);
                demand.notify_one();
            }
            Some(RunLetters { file, demand: None }) => {
                let file = file.clone();
                tokio::task::spawn_blocking(move || file.rotate_now(answer));
            }
        }
    }

    /// Whether dead letters are being replayed: another pipeline waits for their end.
    pub(crate) fn is_replaying(&self, replacing: Option<&Replacing>) -> bool {
        let is_for_letters = |replacing: &Replacing| {
            matches!(replacing.purpose, Purpose::Replay(_) | Purpose::EndReplay(_))
        };
        self.replaying.is_some() || replacing.is_some_and(is_for_letters)
    }
}

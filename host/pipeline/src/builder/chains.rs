//! Which stages run in lanes together.

use super::wiring::Wiring;
use pipehost_config::graph::{Edge, Graph, NodeId};
use pipehost_config::{Config, Stage, WhenFull};
use pipehost_sandbox::Runner;
use pipehost_sandbox::contract::plan::Keeps;

/// The most stages of a chain. A batch goes through all of them before the next one, so the
/// memory of all their instances should stay in a core's cache: a chain of 16 stages costs 6 %
/// more than queues between all of them, one of 8 costs as much as they do.
const LONGEST: usize = 8;

/// Whether the lanes of a stage may share its batches, whichever comes.
pub(super) fn shares_batches(stage: &Stage, runner: &Runner) -> bool {
    if stage.partition.is_some() || runner.has_watermark() {
        return false;
    }
    match runner.plan().keeps {
        Keeps::Nothing => true,
        // It does not say so, but the pipeline does.
        Keeps::Anything => stage.workers.unwrap_or(1) > 1,
        Keeps::ByKey(_) => false,
    }
}

/// The chains of a pipeline: stages whose lanes share the batches, each with the one behind it
/// where no queue is needed between them. In the order of their first stages.
pub(super) fn chains(
    config: &Config,
    runners: &[Runner],
    graph: &Graph,
    wiring: &Wiring,
) -> Vec<Vec<usize>> {
    let shares = |index: usize| shares_batches(&config.stages[index], &runners[index]);
    let behind = |index: usize| -> Option<usize> {
        let mut edges = graph.edges_from(NodeId::Stage(index));
        edges.find_map(|edge| match edge.to {
            NodeId::Stage(to) if shares(index) && shares(to) => {
                joins(config, runners, wiring, index, to, edge).then_some(to)
            }
            _ => None,
        })
    };
    let followers: Vec<Option<usize>> = (0..config.stages.len()).map(behind).collect();
    let is_first = |index: &usize| shares(*index) && !followers.contains(&Some(*index));
    (0..config.stages.len())
        .filter(is_first)
        .flat_map(|first| {
            let chain: Vec<usize> =
                std::iter::successors(Some(first), |&stage| followers[stage]).collect();
            chain.chunks(LONGEST).map(<[usize]>::to_vec).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether two stages need no queue between them.
fn joins(
    config: &Config,
    runners: &[Runner],
    wiring: &Wiring,
    from: usize,
    to: usize,
    edge: &Edge,
) -> bool {
    let (before, after) = (&config.stages[from], &config.stages[to]);
    edge.when_full == WhenFull::Block
        && wiring.inputs(NodeId::Stage(to)) == 1
        && (before.workers, before.ordered) == (after.workers, after.ordered)
        // Time is taken from the records where they are in order: at the end of a chain.
        && before.watermark.is_none()
        // Batches of another size are made from those of all lanes.
        && after.batch.is_none()
        && runners[to].plan().inputs.is_empty()
}

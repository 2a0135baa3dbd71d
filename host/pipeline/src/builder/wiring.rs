//! Creates the edges of a run.

use std::collections::BTreeMap;

use crate::flow::inlet::Receiver;
use crate::flow::queue::{AllBytes, Sender, edge};
use crate::view::{Node, Nodes};
use pipehost_config::graph::{Graph, NodeId};
use pipehost_record::Letter;

/// The ends of all edges, until the nodes take them.
pub(super) struct Wiring {
    /// The node and port that an edge starts at, the node that it leads to, and its end.
    senders: Vec<(NodeId, usize, NodeId, Sender)>,
    receivers: Vec<(NodeId, Receiver)>,
    bytes: AllBytes,
}

/// Dead letters to replay into the stage or sink that rejected them.
pub(super) struct Replayed {
    pub(super) letters: Vec<Letter>,
    pub(super) sender: Sender,
}

impl Wiring {
    pub(super) fn new(graph: &Graph, nodes: &Nodes) -> Self {
        let mut wiring =
            Self { senders: Vec::new(), receivers: Vec::new(), bytes: AllBytes::default() };
        for e in &graph.edges {
            let to = nodes.iter().find(|node| node.id == e.to).expect("edges lead to nodes");
            let (sender, queue) =
                edge(e.queue, e.when_full, wiring.bytes.clone(), to.metrics.clone());
            let input = wiring.receivers.iter().filter(|(id, _)| *id == e.to).count() as u32;
            wiring.senders.push((e.from, e.port.index(), e.to, sender));
            wiring.receivers.push((e.to, Receiver { input, queue }));
        }
        wiring
    }

    /// Adds an edge to each input of a stage or sink that has dead letters to replay.
    pub(super) fn replays(&mut self, nodes: &Nodes, letters: &[Letter]) -> Vec<Replayed> {
        let mut replays: Vec<Replayed> = Vec::new();
        let mut by_input: BTreeMap<(NodeId, u32), Vec<Letter>> = BTreeMap::new();
        for letter in letters {
            let stage = nodes.iter().find(|node| node.name == letter.stage);
            if let Some(Node { id: id @ (NodeId::Stage(_) | NodeId::Sink(_)), .. }) = stage {
                by_input.entry((*id, letter.input)).or_default().push(letter.clone());
            }
        }
        for ((id, input), letters) in by_input {
            let node = nodes.iter().find(|node| node.id == id).expect("it was just found");
            let (bytes, metrics) = (self.bytes.clone(), node.metrics.clone());
            let (sender, queue) = edge(
                pipehost_config::DEFAULT_QUEUE,
                pipehost_config::WhenFull::Block,
                bytes,
                metrics,
            );
            self.receivers.push((id, Receiver { input, queue }));
            replays.push(Replayed { letters, sender });
        }
        replays
    }

    /// How many edges lead to a node.
    pub(super) fn inputs(&self, node: NodeId) -> usize {
        self.receivers.iter().filter(|(to, _)| *to == node).count()
    }

    /// Whether an edge starts at a port.
    pub(super) fn leaves(&self, node: NodeId, port: usize) -> bool {
        self.senders.iter().any(|(from, its_port, ..)| (*from, *its_port) == (node, port))
    }

    /// Removes the edge between two stages of a chain.
    pub(super) fn join(&mut self, from: NodeId, to: NodeId) {
        self.receivers.retain(|(node, _)| *node != to);
        self.senders.retain(|(node, _, leads_to, _)| (*node, *leads_to) != (from, to));
    }

    pub(super) fn receivers(&mut self, node: NodeId) -> Vec<Receiver> {
        self.receivers.extract_if(.., |(to, _)| *to == node).map(|(_, receiver)| receiver).collect()
    }

    pub(super) fn senders(&mut self, node: NodeId, ports: usize) -> Vec<Vec<Sender>> {
        let mut by_port: Vec<Vec<Sender>> = Vec::new();
        by_port.resize_with(ports, Vec::new);
        for (_, port, _, sender) in self.senders.extract_if(.., |(from, ..)| *from == node) {
            by_port[port].push(sender);
        }
        by_port
    }
}

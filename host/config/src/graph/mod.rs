//! Makes a checked graph of a configuration.
//!
//! Pure: no files, no runtime, no wasm. Reports every mistake, not only the first.

mod check;

use std::collections::BTreeMap;

pub use check::check;

use crate::{At, Config, Partition, WhenFull};

/// A source, stage or sink, by its index in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeId {
    Source(usize),
    Stage(usize),
    Sink(usize),
}

/// The port of a node that an edge starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By its index in the plan; sources have one port, 0.
    Index(usize),
    /// By its name, where the component of the stage could not be asked: nothing runs then.
    Named(String),
}

impl Port {
    /// The index in the plan.
    ///
    /// # Panics
    /// If the component was not asked.
    pub fn index(&self) -> usize {
        match self {
            Self::Index(index) => *index,
            Self::Named(name) => panic!("a graph with the unknown port `{name}` is not run"),
        }
    }
}

/// A queue from a port to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub from: NodeId,
    pub port: Port,
    /// Its name, if it is not the default one.
    pub port_name: Option<String>,
    pub to: NodeId,
    /// Maximum batches in the queue.
    pub queue: usize,
    pub when_full: WhenFull,
}

/// A directed acyclic graph in which every port is read.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub edges: Vec<Edge>,
}

impl Graph {
    /// A node, and all nodes downstream of it.
    pub fn reached_from(&self, node: NodeId) -> Vec<NodeId> {
        let mut reached = vec![node];
        let mut next = 0;
        while let Some(&node) = reached.get(next) {
            next += 1;
            for edge in self.edges_from(node) {
                if !reached.contains(&edge.to) {
                    reached.push(edge.to);
                }
            }
        }
        reached
    }

    pub fn edges_from(&self, node: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }
}

/// What a component declares about its stage.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    pub ports: Vec<String>,
    /// The inputs that the stage tells apart.
    pub inputs: Vec<String>,
    /// Whether the stage receives watermarks.
    pub timed: bool,
    /// Whether the stage has a state that the host saves.
    pub keeps_state: bool,
    /// The column whose values its state belongs to, if it keeps by key.
    pub keeps_by: Option<Partition>,
}

/// By name of the stage; only stages whose component could be loaded.
pub type DeclaredStages = BTreeMap<String, Declared>;

/// The name of a node, with its span.
pub fn name(config: &Config, node: NodeId) -> &At<String> {
    match node {
        NodeId::Source(i) => &config.sources[i].name,
        NodeId::Stage(i) => &config.stages[i].name,
        NodeId::Sink(i) => &config.sinks[i].name,
    }
}

/// The node of `NODE` or `NODE.PORT`, and the port.
pub fn node_and_port(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((node, port)) => (node, Some(port)),
        None => (text, None),
    }
}

/// All nodes, sources first.
pub fn nodes(config: &Config) -> impl Iterator<Item = NodeId> {
    let sources = (0..config.sources.len()).map(NodeId::Source);
    let stages = (0..config.stages.len()).map(NodeId::Stage);
    sources.chain(stages).chain((0..config.sinks.len()).map(NodeId::Sink))
}

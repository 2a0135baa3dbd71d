//! What can be seen of a run from outside, while it runs and after its pipeline was replaced.

use std::path::{self, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::builder::uses_dead_letters;
use crate::state::Checkpoint;
use pipehost_config::graph::{self, NodeId};
use pipehost_config::{Config, Input};
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_observe::progress::Progress;
use pipehost_sandbox::Runner;

/// A node of a run, for monitoring.
#[derive(Clone)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    /// What leads to it: `node` or `node.port`.
    pub inputs: Vec<String>,
    /// The names of its ports; none of a sink.
    pub ports: Vec<String>,
    /// Capacity of each of its input queues, in batches.
    pub queue: usize,
    /// SHA-256 of the component of a stage.
    pub component: Option<Arc<str>>,
    pub metrics: Arc<NodeMetrics>,
    /// For sources only.
    pub progress: Option<Arc<Progress>>,
}

/// All nodes, sources first, in the order of the configuration.
pub type Nodes = Vec<Node>;

/// The nodes of a pipeline; `progress` finds that of a source which goes on.
pub(crate) fn nodes(
    config: &Config,
    runners: &[Runner],
    metrics: &Metrics,
    progress: impl Fn(&str) -> Option<Arc<Progress>>,
) -> Nodes {
    let node = |id| {
        let name = graph::name(config, id).value.clone();
        let input = match id {
            NodeId::Source(_) => None,
            NodeId::Stage(i) => Some(&config.stages[i].input),
            NodeId::Sink(i) => Some(&config.sinks[i].input),
        };
        let queue = input.map_or(0, |input| input.queue);
        let from = |input: &Input| input.from.iter().map(|from| from.value.clone()).collect();
        let inputs: Vec<String> = input.map(from).unwrap_or_default();
        let runner = match id {
            NodeId::Stage(i) => runners.get(i),
            NodeId::Source(_) | NodeId::Sink(_) => None,
        };
        let metrics = metrics.node(&name);
        metrics.queue_capacity.set((queue * inputs.len()) as i64);
        let is_source = matches!(id, NodeId::Source(_));
        let progress = is_source.then(|| progress(&name).unwrap_or_default());
        if let Some(progress) = &progress {
            metrics.set_progress(progress.clone());
        }
        let ports = match runner {
            Some(runner) => runner.plan().ports.clone(),
            None if is_source => vec!["out".to_owned()],
            None => Vec::new(),
        };
        let component = runner.map(Runner::hash);
        Node { id, name, inputs, ports, queue, component, metrics, progress }
    };
    graph::nodes(config).map(node).collect()
}

/// What can be seen of a run. Cheap to clone.
#[derive(Clone, Default)]
pub struct View(Arc<Shared>);

/// The files of the pipeline that runs now, as absolute paths.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The state directory.
    pub state: Option<PathBuf>,
    pub dead_letters: Option<PathBuf>,
}

impl Files {
    fn of(config: &Config) -> Self {
        let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            state: config.state.as_ref().map(|state| absolute(&state.value)),
            // It is open only if a node uses it.
            dead_letters: (config.dead_letters.as_ref())
                .filter(|_| uses_dead_letters(config))
                .map(|letters| absolute(&letters.value.path)),
        }
    }
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<Nodes>,
    files: Mutex<Files>,
    is_draining: AtomicBool,
    checkpoint: Mutex<Option<Arc<Checkpoint>>>,
}

impl View {
    /// The nodes of the pipeline that runs now.
    pub fn nodes(&self) -> Nodes {
        held(&self.0.nodes).clone()
    }

    /// Whether the run is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    /// The last checkpoint that was saved; none if the pipeline keeps no state.
    pub fn checkpoint(&self) -> Option<Arc<Checkpoint>> {
        held(&self.0.checkpoint).clone()
    }

    /// The files of the pipeline that runs now.
    pub fn files(&self) -> Files {
        held(&self.0.files).clone()
    }

    pub(crate) fn show(&self, config: &Config, nodes: &Nodes) {
        *held(&self.0.nodes) = nodes.clone();
        *held(&self.0.files) = Files::of(config);
    }

    pub(crate) fn drains(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn show_checkpoint(&self, checkpoint: &Checkpoint) {
        *held(&self.0.checkpoint) = Some(Arc::new(checkpoint.clone()));
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it in hand")
}

//! Starts the tasks of a pipeline, and brings them to an end: done, failed, told to
//! stop, or out of time.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Coordinator, Setting};
use crate::dead_letter::DeadLetters;
use crate::flow::inlet::{Inlet, Receiver};
use crate::flow::queue::{AllBytes, Close, Outlet, Sender, edge};
use crate::flow::watermark::Assigner;
use crate::flow::{Ended, Stopped};
use crate::prepare::Prepared;
use crate::state::{
    self, Checkpoint, Shape, SinkCheckpoint, SinkShape, SourceShape, StageShape, Store,
};
use crate::task::parallel::Parallel;
use crate::task::rejections::Rejections;
use crate::task::sink::SinkTask;
use crate::task::source::SourceTask;
use crate::task::stage::StageTask;
use pipehost_config::graph::{self, NodeId};
use pipehost_config::{Batching, Config, OnError};
use pipehost_connectors::{
    LetterSource, Paced, Progress, Resume, Sink, Source, Written, described,
};
use pipehost_files::content_hash;
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_record::Letter;
use pipehost_sandbox::{Breaker, Care, Runner, Worker, guests};

/// A wish that the run should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A signal, by its number. The first one drains, the second ends at once.
    Signal(i32),
}

/// Why a run ended before its sources did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    Signal(i32),
    Deadline,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ending {
    /// What went wrong first.
    pub failure: Option<String>,
    pub stopped_by: Option<StoppedBy>,
    /// By node, the records that were on their way to it or in it when the run ended.
    pub undelivered: Vec<(String, u64)>,
    /// Nodes that had not come to their end when the time for it was up: what a stage still
    /// held, or a file that was to appear, is missing.
    pub unfinished: Vec<String>,
    pub elapsed: Duration,
}

/// A node of a run, for those who watch it.
#[derive(Clone)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub workers: usize,
    /// Batches that the queues in front of it hold, each.
    pub queue: usize,
    pub metrics: Arc<NodeMetrics>,
    /// Of sources.
    pub progress: Option<Arc<Progress>>,
}

/// All nodes, sources first, in the order of the configuration.
pub type Nodes = Vec<Node>;

/// A pipeline that is ready to run, and runs from [`Running::finish`] on.
pub struct Running {
    pub nodes: Nodes,
    tasks: JoinSet<Ended>,
    /// Until this is said, no task does anything: a signal that comes while the others are
    /// still made then finds that nothing was read.
    begin: CancellationToken,
    names: HashMap<tokio::task::Id, String>,
    stop: CancellationToken,
    /// Held by sinks while they write.
    gate: Arc<RwLock<()>>,
    deadline: Option<Duration>,
    grace: Duration,
    start: Instant,
}

/// Opens what a pipeline reads and writes, and makes its instances: from the last checkpoint, where
/// there is a state directory that has one.
///
/// # Errors
/// If a source, sink or stage does not open, or the state is not this pipeline's.
pub async fn start(prepared: Prepared) -> Result<Running, String> {
    let Prepared { config, graph, runners, metrics, replay, pace } = prepared;
    let start = Instant::now();
    let shape = shape(&config, &runners);
    let pipeline: Arc<str> = config.name.as_str().into();
    let (store, found) = match &config.state {
        Some(directory) => open_state(&directory.value, &shape)?,
        None => (None, None),
    };
    let is_first = found.is_none();
    let checkpoint = found.unwrap_or_default();
    let keeps_state = store.is_some();
    let written = Written::default();
    let dead_letters = match &config.dead_letters {
        Some(letters) if uses_dead_letters(&config) => {
            let opened =
                DeadLetters::open(&letters.value, &config.name, checkpoint.dead_letters.as_ref())?;
            opened.note(&written);
            Some(Arc::new(opened))
        }
        _ => None,
    };
    let mut running = Running {
        nodes: nodes(&config, &metrics),
        tasks: JoinSet::new(),
        begin: CancellationToken::new(),
        names: HashMap::new(),
        stop: CancellationToken::new(),
        gate: Arc::default(),
        deadline: config.deadline,
        grace: config.shutdown_grace,
        start,
    };
    let active = keeps_state || config.sources.iter().any(|source| source.kind.acknowledges());
    // With a state to go on from, nothing is finished by a stop, nor by a replay.
    let when_stopped = if keeps_state { Close::Suspended } else { Close::Finished };
    let mut wiring = Wiring::new(&graph, &running.nodes);
    let replays = replay.iter().flat_map(|letters| wiring.replays(&running.nodes, letters));
    let replays: Vec<_> = replays.collect();
    let by_id: HashMap<NodeId, Node> =
        running.nodes.iter().map(|node| (node.id, node.clone())).collect();
    let mut coordinator = Coordinator::new(Setting {
        active,
        store,
        checkpoint: checkpoint.clone(),
        shape,
        names: running.nodes.iter().map(|node| (node.id, node.name.clone())).collect(),
        dead_letters,
        own_letters: replay.is_none(),
        interval: config.checkpoint_interval,
        metrics: metrics.clone(),
    });

    let mut sinks = Vec::new();
    // Sinks first: nothing is read from a source before there is a place for it.
    for (index, sink) in config.sinks.iter().enumerate() {
        let node = &by_id[&NodeId::Sink(index)];
        let at = |why| format!("sink `{}`: {why}", node.name);
        let position = checkpoint.sinks.get(&node.name).and_then(|sink| sink.position.as_ref());
        let resume = match position {
            _ if !keeps_state => Resume::NotAtAll,
            None => Resume::New { first: is_first },
            Some(position) => Resume::FromPosition(position),
        };
        let receivers = wiring.receivers(node.id);
        let opened =
            Sink::open(&node.name, &sink.kind, &resume, &node.metrics, &written).map_err(at)?;
        let letters = coordinator.letters();
        let task = SinkTask {
            name: node.name.as_str().into(),
            sink: opened,
            rejections: Rejections {
                pipeline: pipeline.clone(),
                what: "sink",
                name: node.name.as_str().into(),
                on_error: sink.on_error.value,
                letters: letters.clone(),
                metrics: node.metrics.clone(),
                component: "".into(),
                gate: Arc::default(), // The task of a sink holds that of the run.
            },
            inlet: Inlet::new(receivers, node.metrics.clone(), sink.batch.clone(), false),
            metrics: node.metrics.clone(),
            processed: metrics.processed.clone(),
            rate: sink.rate,
            stop: running.stop.clone(),
            alone: config.sinks.len() == 1,
            gate: running.gate.clone(),
            pace: pace.clone(),
            reporter: coordinator.reporter(node.id, letters),
        };
        sinks.push((node.clone(), task));
    }
    for (index, (stage, runner)) in config.stages.iter().zip(runners).enumerate() {
        let node = &by_id[&NodeId::Stage(index)];
        let before = checkpoint.stages.get(&node.name);
        let breaker = stage.breaker.clone();
        let care = Care {
            retry: stage.retry.clone(),
            first_fails: stage.on_error.value == OnError::Fail,
            breaker: breaker.map(|breaker| {
                Arc::new(Breaker::new(node.name.as_str().into(), breaker, node.metrics.clone()))
            }),
            saved: None,
        };
        let mut workers = Vec::new();
        for number in 0..stage.workers {
            let saved = before.and_then(|stage| stage.saved.get(number)?.clone());
            let care = Care { saved: saved.clone(), ..care.clone() };
            let advice = match saved.is_some() {
                true => {
                    "\nTo begin anew without what it had saved: pipehost state reset DIR --node NAME"
                }
                false => "",
            };
            let worker = Worker::start(runner.clone(), number, node.metrics.clone(), care).await;
            workers.push(worker.map_err(|why| format!("stage `{}`: {why}{advice}", node.name))?);
        }
        let letters = coordinator.letters();
        let reporter = coordinator.reporter(node.id, letters.clone());
        let rejections = Rejections {
            pipeline: pipeline.clone(),
            what: "stage",
            name: node.name.as_str().into(),
            on_error: stage.on_error.value,
            letters,
            metrics: node.metrics.clone(),
            component: runner.hash(),
            gate: running.gate.clone(),
        };
        let (receivers, apart) = (wiring.receivers(node.id), !runner.plan().inputs.is_empty());
        let inlet = Inlet::new(receivers, node.metrics.clone(), stage.batch.clone(), apart);
        let assigner = (stage.watermark.clone())
            .map(|watermark| Assigner::new(watermark, before.and_then(|stage| stage.latest)));
        let senders = wiring.senders(node.id, runner.plan().ports.len());
        let outlet = Outlet::new(senders, node.metrics.clone(), assigner);
        let finished = before.is_some_and(|stage| stage.finished);
        if workers.len() == 1 {
            let worker = workers.remove(0);
            let task = StageTask { worker, inlet, outlet, rejections, reporter, finished };
            running.spawn_on(guests(), &node.name, task.run());
        } else {
            let parallel = Parallel {
                workers,
                inlet,
                outlet,
                rejections,
                reporter,
                partition: stage.partition.clone(),
                ordered: stage.ordered,
                timed: runner.has_watermark(),
                finished,
            };
            for task in parallel.tasks() {
                running.spawn_on(guests(), &node.name, task);
            }
        }
    }
    let mut sources = Vec::new();
    for (index, source) in config.sources.iter().enumerate() {
        let node = &by_id[&NodeId::Source(index)];
        let progress = node.progress.clone().expect("sources have progress");
        let before = checkpoint.sources.get(&node.name);
        let position = before.and_then(|source| source.position.as_ref());
        let opened = match &replay {
            None => Source::open(
                &source.kind,
                position,
                keeps_state,
                progress,
                coordinator.acknowledgements(),
                &written,
            )
            .map(|source| match &pace {
                None => source,
                Some(pace) => Source::Paced(Paced::new(source, pace.clone()).into()),
            }),
            Some(letters) => {
                let letters = letters.iter().filter(|letter| letter.stage == node.name);
                Ok(Source::replay_source(&source.kind, letters.cloned().collect(), position))
            }
        };
        let assigner = (source.watermark.clone())
            .map(|watermark| Assigner::new(watermark, before.and_then(|source| source.latest)));
        let letters = coordinator.letters();
        let task = SourceTask {
            source: opened.map_err(|why| format!("source `{}`: {why}", node.name))?,
            batching: source.batch.clone(),
            outlet: Outlet::new(wiring.senders(node.id, 1), node.metrics.clone(), assigner),
            reporter: coordinator.reporter(node.id, letters.clone()),
            rejections: Rejections {
                pipeline: pipeline.clone(),
                what: "source",
                name: node.name.as_str().into(),
                on_error: source.on_error.value,
                letters,
                metrics: node.metrics.clone(),
                component: "".into(),
                gate: running.gate.clone(),
            },
            stop: running.stop.clone(),
            checkpoints: coordinator.checkpoint_requests(),
            when_stopped,
            when_done: if replay.is_some() { when_stopped } else { Close::Finished },
        };
        sources.push((node.name.clone(), task));
    }
    // All that could refuse has been asked: only now are files made, truncated and given their names.
    let mut new_sinks = BTreeMap::new();
    for (node, mut task) in sinks {
        let at = |why| format!("sink `{}`: {why}", node.name);
        task.sink.begin().map_err(at)?;
        let is_known = checkpoint.sinks.get(&node.name).is_some_and(|sink| sink.position.is_some());
        if keeps_state && !is_known {
            let NodeId::Sink(index) = node.id else { unreachable!("it is a sink") };
            let position = task.sink.sync().await.map_err(at)?.position;
            let kind = described(&config.sinks[index].kind);
            new_sinks.insert(node.name.clone(), SinkCheckpoint { kind, position });
        }
        running.spawn(&node.name, task.run());
    }
    // Before anything is written: what comes before the first checkpoint is removed too.
    coordinator.keep_begin(new_sinks)?;
    for (name, task) in sources {
        running.spawn(&name, task.run());
    }
    for (number, Replayed { letters, sender }) in replays.into_iter().enumerate() {
        // Not a node of the pipeline: no checkpoint speaks of it.
        let id = NodeId::Source(config.sources.len() + number);
        let name = format!("letters of {}", letters[0].stage);
        let own = metrics.node(&name);
        let waiting = coordinator.letters();
        let task = SourceTask {
            source: Source::Letters(LetterSource::new(letters, None, None)),
            batching: Batching::default(),
            outlet: Outlet::new(vec![vec![sender]], own.clone(), None),
            reporter: coordinator.reporter(id, waiting.clone()),
            rejections: Rejections {
                pipeline: pipeline.clone(),
                what: "source",
                name: name.as_str().into(),
                on_error: OnError::Fail,
                letters: waiting,
                metrics: own,
                component: "".into(),
                gate: running.gate.clone(),
            },
            stop: running.stop.clone(),
            checkpoints: coordinator.checkpoint_requests(),
            when_stopped,
            when_done: when_stopped,
        };
        running.spawn(&name, task.run());
    }
    if active {
        running.spawn("checkpoints", coordinator.run());
    }
    Ok(running)
}

/// Opens a state directory, and sees that it is this pipeline's.
fn open_state(
    directory: &Path,
    shape: &Shape,
) -> Result<(Option<Store>, Option<Checkpoint>), String> {
    let at = directory.display();
    let (store, checkpoint) = Store::open(directory)?;
    let Some(checkpoint) = checkpoint else { return Ok((Some(store), None)) };
    let differences = state::differences(&checkpoint, shape);
    if !differences.is_empty() {
        return Err(format!(
            "the state in {at} does not fit this pipeline:\n  {}\nTake what is gone out of it \
             (pipehost state reset {at} --node NAME), or begin anew (pipehost state reset {at})",
            differences.join("\n  ")
        ));
    }
    let time = pipehost_record::time::rfc3339(checkpoint.time);
    tracing::info!("going on from checkpoint {} of {time}", checkpoint.number);
    for name in shape.new_nodes(&checkpoint) {
        tracing::info!("`{name}` is new, and begins at its beginning");
    }
    for name in shape.new_components(&checkpoint) {
        tracing::warn!(
            "the component of `{name}` is another than that of the checkpoint: it gets what the \
             other one saved"
        );
    }
    Ok((Some(store), Some(checkpoint)))
}

fn shape(config: &Config, runners: &[Runner]) -> Shape {
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

fn uses_dead_letters(config: &Config) -> bool {
    let sources = config.sources.iter().map(|source| source.on_error.value);
    let stages = config.stages.iter().map(|stage| stage.on_error.value);
    let sinks = config.sinks.iter().map(|sink| sink.on_error.value);
    sources.chain(stages).chain(sinks).any(|policy| policy == OnError::DeadLetter)
}

fn nodes(config: &Config, metrics: &Metrics) -> Nodes {
    graph::nodes(config)
        .map(|id| {
            let name = graph::name(config, id).value.clone();
            let (workers, queue) = match id {
                NodeId::Source(_) => (1, 0),
                NodeId::Stage(i) => (config.stages[i].workers, config.stages[i].input.queue),
                NodeId::Sink(i) => (1, config.sinks[i].input.queue),
            };
            let progress = matches!(id, NodeId::Source(_)).then(Arc::default);
            Node { id, metrics: metrics.node(&name), name, workers, queue, progress }
        })
        .collect()
}

/// The ends of all edges, until the nodes take them.
struct Wiring {
    senders: Vec<(NodeId, usize, Sender)>,
    receivers: Vec<(NodeId, Receiver)>,
    bytes: AllBytes,
}

/// Letters on their way back to the stage or sink that refused them.
struct Replayed {
    letters: Vec<Letter>,
    sender: Sender,
}

impl Wiring {
    fn new(graph: &graph::Graph, nodes: &Nodes) -> Self {
        let mut wiring =
            Self { senders: Vec::new(), receivers: Vec::new(), bytes: AllBytes::default() };
        for e in &graph.edges {
            let to = nodes.iter().find(|node| node.id == e.to).expect("edges lead to nodes");
            let (sender, queue) =
                edge(e.queue, e.when_full, wiring.bytes.clone(), to.metrics.clone());
            let input = wiring.receivers.iter().filter(|(id, _)| *id == e.to).count() as u32;
            wiring.senders.push((e.from, e.port, sender));
            wiring.receivers.push((e.to, Receiver { input, queue }));
        }
        wiring
    }

    /// One more edge to each input of a stage or sink that has letters.
    fn replays(&mut self, nodes: &Nodes, letters: &[Letter]) -> Vec<Replayed> {
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

    fn receivers(&mut self, node: NodeId) -> Vec<Receiver> {
        self.receivers.extract_if(.., |(to, _)| *to == node).map(|(_, receiver)| receiver).collect()
    }

    fn senders(&mut self, node: NodeId, ports: usize) -> Vec<Vec<Sender>> {
        let mut by_port: Vec<Vec<Sender>> = Vec::new();
        by_port.resize_with(ports, Vec::new);
        for (_, port, sender) in self.senders.extract_if(.., |(from, ..)| *from == node) {
            by_port[port].push(sender);
        }
        by_port
    }
}

/// How long a run that has ended waits for what does not yield.
const PATIENCE: Duration = Duration::from_secs(1);

impl Running {
    /// A task that calls no guest.
    fn spawn(&mut self, name: &str, task: impl Future<Output = Ended> + Send + 'static) {
        self.spawn_on(&Handle::current(), name, task);
    }

    fn spawn_on(
        &mut self,
        threads: &Handle,
        name: &str,
        task: impl Future<Output = Ended> + Send + 'static,
    ) {
        let begin = self.begin.clone();
        let task = async move {
            begin.cancelled().await;
            task.await
        };
        let handle = self.tasks.spawn_on(task, threads);
        self.names.insert(handle.id(), name.to_owned());
    }

    /// Runs the pipeline, and waits until that is over. The first cause of a failure ends it; a
    /// wish to stop or the deadline stops the sources and lets the rest drain.
    pub async fn finish(mut self, mut stops: mpsc::Receiver<Stop>) -> Ending {
        self.begin.cancel();
        let mut failure = None;
        let mut stopped_by = None;
        let far = tokio::time::Instant::now() + Duration::from_secs(86400 * 365 * 30);
        let deadline = self
            .deadline
            .map_or(far, |deadline| tokio::time::Instant::from_std(self.start) + deadline);
        let mut patience = far;
        loop {
            tokio::select! {
                biased;
                Some(Stop::Signal(signal)) = stops.recv() => {
                    let second = stopped_by.is_some();
                    stopped_by = Some(StoppedBy::Signal(signal));
                    if second {
                        break;
                    }
                    self.stop.cancel();
                    patience = tokio::time::Instant::now() + self.grace;
                }
                () = tokio::time::sleep_until(deadline), if stopped_by.is_none() => {
                    stopped_by = Some(StoppedBy::Deadline);
                    self.stop.cancel();
                    patience = tokio::time::Instant::now() + self.grace;
                }
                () = tokio::time::sleep_until(patience) => break,
                ended = self.tasks.join_next_with_id() => match ended {
                    None => break,
                    Some(Ok((id, Ok(()) | Err(Stopped::Neighbour)))) => {
                        self.names.remove(&id);
                    }
                    Some(Ok((_, Err(Stopped::Cause(cause))))) => {
                        failure = Some(cause);
                        break;
                    }
                    Some(Err(error)) => {
                        let name = self.names.get(&error.id()).map_or("?", String::as_str);
                        failure = Some(format!("the task of `{name}` panicked: {}", panic_message(error)));
                        break;
                    }
                },
            }
        }
        // What a sink is writing is let through; one that does not come to an end is not.
        let _closed = tokio::time::timeout(PATIENCE, self.gate.write()).await;
        // Counted before the tasks go: while they do, one makes room for the other.
        let undelivered = (self.nodes.iter())
            .map(|node| (node.name.clone(), node.metrics.in_flight.load(Ordering::Relaxed)))
            .filter(|(_, records)| *records > 0)
            .map(|(name, records)| (name, records.unsigned_abs()))
            .collect();
        let mut unfinished: Vec<String> =
            if failure.is_some() { Vec::new() } else { self.names.into_values().collect() };
        unfinished.retain(|name| self.nodes.iter().any(|node| node.name == *name));
        unfinished.sort();
        unfinished.dedup(); // Several workers.
        // A task ends when it yields; nobody waits for one that does not.
        let _ = tokio::time::timeout(PATIENCE, self.tasks.shutdown()).await;
        Ending { failure, stopped_by, undelivered, unfinished, elapsed: self.start.elapsed() }
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "without a message".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_config::graph::Known;
    use pipehost_record::Batch;
    use pipehost_sandbox::Native;
    use pipehost_sandbox::contract::outcome::Answer;
    use pipehost_sandbox::contract::plan::Plan;

    struct Panics;

    impl Native for Panics {
        fn process(&mut self, _: &Batch) -> Result<Answer, String> {
            panic!("on purpose")
        }
        fn finish(&mut self) -> Result<Answer, String> {
            Ok(Answer::default())
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_run_with_its_message() {
        for workers in [1, 3] {
            let text = format!(
                "[[source]]\nname = \"in\"\ntype = \"generate\"\n\
                 [[stage]]\nname = \"panics\"\nplugin = \"native\"\ninput = \"in\"\nworkers = {workers}\n\
                 [[sink]]\nname = \"out\"\ntype = \"null\"\ninput = \"panics\"\n"
            );
            let (config, mistakes) = pipehost_config::read(&text, Path::new(""));
            assert_eq!(mistakes, []);
            let (graph, mistakes) = graph::check(&config, &Known::new());
            assert_eq!(mistakes, []);
            let plan = Plan { ports: vec!["out".to_owned()], ..Plan::default() };
            let runner =
                Runner::Native { plan: Arc::new(plan), make: Arc::new(|| Box::new(Panics)) };
            let metrics = Arc::new(Metrics::default());
            let prepared = Prepared {
                config,
                graph,
                runners: vec![runner],
                metrics,
                replay: None,
                pace: None,
            };
            let running = start(prepared).await.unwrap();
            let (_keep, stops) = mpsc::channel(1);
            let failure = running.finish(stops).await.failure;
            assert_eq!(failure.unwrap(), "the task of `panics` panicked: on purpose");
        }
    }
}

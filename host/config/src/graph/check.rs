//! Resolves the inputs of a pipeline, and checks the whole.

use std::collections::BTreeMap;

use super::{Declared, DeclaredStages, Edge, Graph, NodeId, Port, name, node_and_port, nodes};
use crate::mistake::{At, Mistake};
use crate::{Config, Input, OnError, SinkKind, SourceKind};

/// Resolves the inputs of a configuration and checks all of it.
pub fn check(config: &Config, known: &DeclaredStages) -> (Graph, Vec<Mistake>) {
    let mut check = Check { config, known, mistakes: Vec::new() };
    let nodes = check.names();
    let graph = check.edges(&nodes);
    check.places();
    check.cycles(&graph);
    if !config.incomplete {
        check.absent();
        check.inputs();
        check.acknowledged(&graph);
        check.divided_files();
        check.times(&graph);
        check.unread(&graph);
        check.dead_ends(&graph);
    }
    (graph, check.mistakes)
}

struct Check<'a> {
    config: &'a Config,
    known: &'a DeclaredStages,
    mistakes: Vec<Mistake>,
}

impl<'a> Check<'a> {
    fn names(&mut self) -> BTreeMap<&'a str, NodeId> {
        let mut by_name = BTreeMap::new();
        for node in nodes(self.config) {
            let name = name(self.config, node);
            if by_name.insert(&*name.value, node).is_some() {
                self.mistakes.push(
                    Mistake::new(name.span.clone(), format!("the name `{}` is taken", name.value))
                        .help("sources, stages and sinks share one set of names"),
                );
            }
        }
        by_name
    }

    fn absent(&mut self) {
        if self.config.sources.is_empty() {
            self.mistakes
                .push(Mistake::new(None, "the pipeline has no source").help("add a `[[source]]`"));
        }
        if self.config.sinks.is_empty() {
            self.mistakes
                .push(Mistake::new(None, "the pipeline has no sink").help("add a `[[sink]]`"));
        }
    }

    fn edges(&mut self, nodes: &BTreeMap<&'a str, NodeId>) -> Graph {
        let mut graph = Graph::default();
        let stages = self.config.stages.iter().enumerate();
        let sinks = self.config.sinks.iter().enumerate();
        let inputs = stages
            .map(|(i, stage)| (NodeId::Stage(i), &stage.input))
            .chain(sinks.map(|(i, sink)| (NodeId::Sink(i), &sink.input)));
        for (to, input) in inputs {
            for from in &input.from {
                let Some(edge) = self.edge(nodes, from, to, input) else { continue };
                let same = |e: &Edge| (e.from, &e.port, e.to) == (edge.from, &edge.port, to);
                if graph.edges.iter().any(same) {
                    let message = format!("`{}` is read twice by the same node", from.value);
                    self.mistakes.push(Mistake::new(from.span.clone(), message));
                } else {
                    graph.edges.push(edge);
                }
            }
        }
        graph
    }

    fn edge(
        &mut self,
        nodes: &BTreeMap<&'a str, NodeId>,
        input: &At<String>,
        to: NodeId,
        how: &Input,
    ) -> Option<Edge> {
        let (from_name, port_name) = node_and_port(&input.value);
        let Some(&from) = nodes.get(from_name) else {
            let message = format!("there is no source or stage `{from_name}`");
            let mistake = Mistake::new(input.span.clone(), message);
            let readable = nodes.iter().filter(|(_, node)| !matches!(node, NodeId::Sink(_)));
            let mistake = mistake.did_you_mean(from_name, readable.map(|(name, _)| *name));
            self.mistakes.push(mistake);
            return None;
        };
        if matches!(from, NodeId::Sink(_)) {
            let message = format!("`{from_name}` is a sink: nothing comes out of it");
            self.mistakes.push(Mistake::new(input.span.clone(), message));
            return None;
        }
        let port = match (port_name, from, self.known.get(from_name)) {
            (None, _, _) => Port::Index(0),
            (Some(port), NodeId::Stage(_), None) => Port::Named(port.to_owned()),
            (Some(port), _, known) => {
                let known: &[String] = known.map_or(&[], |said| &said.ports);
                let Some(index) = known.iter().position(|name| name == port) else {
                    let what = if matches!(from, NodeId::Source(_)) { "source" } else { "stage" };
                    let message = format!("the {what} `{from_name}` has no port `{port}`");
                    let mistake = Mistake::new(input.span.clone(), message);
                    let mistake = match known {
                        [] => mistake.help("a source has no ports; name it alone"),
                        _ => {
                            let names: Vec<_> =
                                known.iter().map(|name| format!("`{name}`")).collect();
                            mistake.help(format!("it has {}", names.join(", ")))
                        }
                    };
                    self.mistakes.push(mistake);
                    return None;
                };
                Port::Index(index)
            }
        };
        Some(Edge {
            from,
            port,
            port_name: port_name.map(str::to_owned),
            to,
            queue: how.queue,
            when_full: how.when_full,
        })
    }

    /// Things that two nodes cannot share, and dead letters without a file.
    fn places(&mut self) {
        let mut stdin =
            self.config.sources.iter().filter(|s| matches!(s.kind, SourceKind::Stdin { .. }));
        if let (Some(_), Some(second)) = (stdin.next(), stdin.next()) {
            let message = "two sources read stdin: each would get a part of it";
            self.mistakes.push(Mistake::new(second.name.span.clone(), message));
        }
        if self.config.dead_letters.is_none() {
            let sources = self.config.sources.iter().map(|source| &source.on_error);
            let stages = self.config.stages.iter().map(|stage| &stage.on_error);
            let sinks = self.config.sinks.iter().map(|sink| &sink.on_error);
            for on_error in
                sources.chain(stages).chain(sinks).filter(|o| o.value == OnError::DeadLetter)
            {
                self.mistakes.push(
                    Mistake::new(on_error.span.clone(), "there is no file for dead letters")
                        .help("add `dead_letters = \"FILE\"` to `[pipeline]`"),
                );
            }
        }
        for stage in &self.config.stages {
            let keeps_by = self.known.get(&stage.name.value).and_then(|s| s.keeps_by.as_ref());
            if stage.partition.is_some() && stage.workers.unwrap_or(1) == 1 && keeps_by.is_none() {
                let message = format!("`{}` has a partition and one worker", stage.name.value);
                self.mistakes.push(
                    Mistake::new(stage.name.span.clone(), message)
                        .help("set `workers`, or leave `partition` out"),
                );
            }
        }
    }

    /// After a crash, a file that was created between two checkpoints is written anew. Contents
    /// from before the run would be lost with it.
    fn divided_files(&mut self) {
        for sink in &self.config.sinks {
            let SinkKind::File(file) = &sink.kind else { continue };
            if self.config.state.is_some() && file.append && file.partition.is_some() {
                let name = &sink.name.value;
                let message = format!(
                    "the sink `{name}` may make a file between two checkpoints, and what it had \
                     appended to that could not be told from what was there before"
                );
                self.mistakes.push(
                    Mistake::new(file.path.span.clone(), message)
                        .help("leave out `append`: with a state, runs go on with their files"),
                );
            }
        }
    }

    /// Acknowledged records must not be lost, wherever they wait.
    fn acknowledged(&mut self, graph: &Graph) {
        if self.config.state.is_some() {
            return;
        }
        for (index, source) in self.config.sources.iter().enumerate() {
            if !source.kind.acknowledges() {
                continue;
            }
            let name = &source.name.value;
            for node in graph.reached_from(NodeId::Source(index)) {
                let why = match node {
                    NodeId::Stage(i) => {
                        let stage = &self.config.stages[i].name.value;
                        let keeps = self.known.get(stage).is_some_and(|said| said.keeps_state);
                        keeps.then(|| format!("the stage `{stage}` keeps something of them"))
                    }
                    NodeId::Sink(i) => match &self.config.sinks[i].kind {
                        SinkKind::File(file) if !file.append => Some(format!(
                            "the file of the sink `{}` is there once the run has ended",
                            self.config.sinks[i].name.value
                        )),
                        _ => None,
                    },
                    NodeId::Source(_) => None,
                };
                if let Some(why) = why {
                    let message =
                        format!("`{name}` answers once its records are durable, and {why}");
                    self.mistakes.push(Mistake::new(source.name.span.clone(), message).help(
                        "add `state = \"DIR\"` to `[pipeline]`, or `ack = \"queued\"` to the source",
                    ));
                }
            }
        }
    }

    /// A stage that tells its inputs apart must have exactly those.
    fn inputs(&mut self) {
        for stage in &self.config.stages {
            let name = &stage.name.value;
            let Some(Declared { inputs, .. }) = self.known.get(name) else { continue };
            let (wanted, given) = (inputs.len(), stage.input.from.len());
            if wanted > 0 && wanted != given {
                let names: Vec<_> = inputs.iter().map(|name| format!("\"{name}\"")).collect();
                let message = format!("the stage `{name}` takes {wanted} inputs, and has {given}");
                let help = format!("in this order: `input = [{}]`", names.join(", "));
                self.mistakes.push(Mistake::new(stage.name.span.clone(), message).help(help));
            }
        }
    }

    /// A stage that waits for a watermark would wait for ever without one.
    fn times(&mut self, graph: &Graph) {
        for (index, stage) in self.config.stages.iter().enumerate() {
            let name = &stage.name.value;
            let Some(said) = self.known.get(name) else { continue };
            let workers = stage.workers.unwrap_or(1);
            if let (Some(by), Some(partition)) = (&said.keeps_by, &stage.partition)
                && by != partition
            {
                let message = format!(
                    "`{name}` keeps its state by `{by}`, and its partition is `{partition}`"
                );
                self.mistakes.push(
                    Mistake::new(stage.name.span.clone(), message)
                        .help("leave `partition` out: the stage says how its records are divided"),
                );
            }
            let is_divided = stage.partition.is_some() || said.keeps_by.is_some();
            if (said.timed || said.keeps_state) && workers > 1 && !is_divided {
                let message = format!("`{name}` has a state and {workers} workers");
                self.mistakes.push(
                    Mistake::new(stage.name.span.clone(), message)
                        .help("set `partition`, so that equal keys go to one of them"),
                );
            }
            if !said.timed {
                continue;
            }
            for edge in graph.edges.iter().filter(|edge| edge.to == NodeId::Stage(index)) {
                if let Some(source) = self.timeless(graph, edge.from) {
                    let message = format!(
                        "the stage `{name}` waits for time to pass, and nothing says how far it has \
                         come on the way from `{source}`"
                    );
                    self.mistakes.push(Mistake::new(stage.name.span.clone(), message).help(
                        "set `watermark = { lag = \"5s\" }` where the records get their timestamps",
                    ));
                }
            }
        }
    }

    /// A source upstream of `node` with no watermark on the way, if there is one.
    fn timeless(&self, graph: &Graph, node: NodeId) -> Option<&'a str> {
        let mut reached = vec![node];
        let mut next = 0;
        while let Some(&node) = reached.get(next) {
            next += 1;
            let has_watermark = match node {
                NodeId::Source(i) => self.config.sources[i].watermark.is_some(),
                NodeId::Stage(i) => self.config.stages[i].watermark.is_some(),
                NodeId::Sink(_) => true,
            };
            if has_watermark {
                continue;
            }
            if let NodeId::Source(i) = node {
                return Some(&self.config.sources[i].name.value);
            }
            for edge in graph.edges.iter().filter(|edge| edge.to == node) {
                if !reached.contains(&edge.from) {
                    reached.push(edge.from);
                }
            }
        }
        None
    }

    fn cycles(&mut self, graph: &Graph) {
        // Depth first: a node that is met again on its own path closes a cycle.
        fn visit(
            graph: &Graph,
            node: NodeId,
            path: &mut Vec<NodeId>,
            done: &mut Vec<NodeId>,
            found: &mut Vec<Vec<NodeId>>,
        ) {
            if let Some(start) = path.iter().position(|&on_path| on_path == node) {
                found.push(path[start..].to_vec());
                return;
            }
            if done.contains(&node) {
                return;
            }
            path.push(node);
            for edge in graph.edges_from(node) {
                visit(graph, edge.to, path, done, found);
            }
            path.pop();
            done.push(node);
        }
        let (mut done, mut found) = (Vec::new(), Vec::new());
        for stage in (0..self.config.stages.len()).map(NodeId::Stage) {
            visit(graph, stage, &mut Vec::new(), &mut done, &mut found);
        }
        for cycle in found {
            let name = |&node| name(self.config, node);
            let mut names: Vec<_> = cycle.iter().map(|n| format!("`{}`", name(n).value)).collect();
            names.push(names[0].clone());
            let message = format!("the pipeline has a cycle: {}", names.join(" → "));
            self.mistakes.push(
                Mistake::new(name(&cycle[0]).span.clone(), message)
                    .help("a pipeline has no loops; take one of these inputs away"),
            );
        }
    }

    /// A port that nothing reads would lose records without a message.
    fn unread(&mut self, graph: &Graph) {
        for (index, source) in self.config.sources.iter().enumerate() {
            if graph.edges_from(NodeId::Source(index)).next().is_none() {
                let message = format!("nothing reads the source `{}`", source.name.value);
                let help = format!("add `input = \"{}\"` to a stage or sink", source.name.value);
                self.mistakes.push(Mistake::new(source.name.span.clone(), message).help(help));
            }
        }
        for (index, stage) in self.config.stages.iter().enumerate() {
            let stage_name = &stage.name.value;
            let Some(Declared { ports, .. }) = self.known.get(stage_name) else { continue };
            for (port, port_name) in ports.iter().enumerate() {
                if graph.edges_from(NodeId::Stage(index)).any(|edge| edge.port == Port::Index(port))
                {
                    continue;
                }
                let input = if port == 0 {
                    stage_name.clone()
                } else {
                    format!("{stage_name}.{port_name}")
                };
                self.mistakes.push(
                    Mistake::new(
                        stage.name.span.clone(),
                        format!("nothing reads the port `{port_name}` of the stage `{stage_name}`"),
                    )
                    .help(format!(
                        "add `input = \"{input}\"` to a stage or sink; a sink of type \"null\" drops records on purpose"
                    )),
                );
            }
        }
    }

    /// Sources from which no path leads to a sink.
    fn dead_ends(&mut self, graph: &Graph) {
        for (index, source) in self.config.sources.iter().enumerate() {
            let reached = graph.reached_from(NodeId::Source(index));
            let read = graph.edges_from(reached[0]).next().is_some();
            if read && !reached.iter().any(|node| matches!(node, NodeId::Sink(_))) {
                let message = format!("the source `{}` reaches no sink", source.name.value);
                self.mistakes.push(Mistake::new(source.name.span.clone(), message));
            }
        }
    }
}

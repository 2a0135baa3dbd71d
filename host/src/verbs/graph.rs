//! `pipehost graph`.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::error::{Error, print};
use crate::load;
use pipehost_config::graph::{self, DeclaredStages, Edge, Graph, NodeId};
use pipehost_config::{Config, SinkKind, WhenFull};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline.
    #[arg(value_name = "PIPELINE.toml")]
    pipeline: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// Mermaid, for Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
}

pub fn graph(args: &Args) -> Result<u8, Error> {
    let loaded = load::file(&args.pipeline)?;
    let (graph, found) = graph::check(&loaded.config, &DeclaredStages::new());
    let mistakes: Vec<_> = loaded.mistakes.iter().cloned().chain(found).collect();
    if !mistakes.is_empty() {
        return Err(loaded.render(&mistakes));
    }
    let drawing = GraphDrawing { config: &loaded.config, graph: &graph };
    let text = match args.format {
        Format::Text => drawing.text(),
        Format::Mermaid => drawing.mermaid(),
        Format::Dot => drawing.dot(),
    };
    print(text.as_bytes())
}

struct GraphDrawing<'a> {
    config: &'a Config,
    graph: &'a Graph,
}

impl GraphDrawing<'_> {
    fn name(&self, node: NodeId) -> &str {
        &graph::name(self.config, node).value
    }

    /// The name and the kind of a node.
    fn label(&self, node: NodeId) -> String {
        let what = match node {
            NodeId::Source(i) => self.config.sources[i].kind.name().to_owned(),
            NodeId::Stage(i) => {
                let stage = &self.config.stages[i];
                let plugin =
                    stage.plugin.value.path.file_name().unwrap_or_default().to_string_lossy();
                let workers = match stage.workers {
                    Some(workers @ 2..) => format!(" ×{workers}"),
                    _ => String::new(),
                };
                format!("{plugin}{workers}")
            }
            NodeId::Sink(i) => match &self.config.sinks[i].kind {
                SinkKind::Stdout { .. } => "stdout".to_owned(),
                SinkKind::File(sink) => {
                    sink.path.value.file_name().unwrap_or_default().to_string_lossy().into_owned()
                }
                SinkKind::Http(_) => "http".to_owned(),
                SinkKind::Sqlite(_) => "sqlite".to_owned(),
                SinkKind::Null => "null".to_owned(),
            },
        };
        let name = self.name(node);
        if name == what { name.to_owned() } else { format!("{name} ({what})") }
    }

    fn edge_label(edge: &Edge) -> String {
        let port = edge.port_name.clone().unwrap_or_default();
        match edge.when_full {
            WhenFull::Block => port,
            WhenFull::Drop if port.is_empty() => "drops when full".to_owned(),
            WhenFull::Drop => format!("{port}, drops when full"),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut drawn = Vec::new();
        for node in graph::nodes(self.config).filter(|node| matches!(node, NodeId::Source(_))) {
            out.push_str(&self.label(node));
            out.push('\n');
            self.below(node, "", &mut drawn, &mut out);
        }
        out
    }

    fn below(&self, node: NodeId, indent: &str, drawn: &mut Vec<NodeId>, out: &mut String) {
        drawn.push(node);
        let edges: Vec<_> = self.graph.edges_from(node).collect();
        for (index, edge) in edges.iter().enumerate() {
            let last = index + 1 == edges.len();
            let label = Self::edge_label(edge);
            let label = if label.is_empty() { String::new() } else { format!("[{label}] ") };
            let branch = if last { "└─►" } else { "├─►" };
            let again = drawn.contains(&edge.to) && self.graph.edges_from(edge.to).next().is_some();
            let note = if again { ", drawn above" } else { "" };
            let _ = writeln!(out, "{indent}{branch} {label}{}{note}", self.label(edge.to));
            if !again {
                let indent = format!("{indent}{}", if last { "    " } else { "│   " });
                self.below(edge.to, &indent, drawn, out);
            }
        }
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for node in graph::nodes(self.config) {
            let (open, close) = match node {
                NodeId::Source(_) => ("([", "])"),
                NodeId::Stage(_) => ("[", "]"),
                NodeId::Sink(_) => ("[(", ")]"),
            };
            let _ = writeln!(out, "    {}{open}\"{}\"{close}", self.name(node), self.label(node));
        }
        for edge in &self.graph.edges {
            let label = Self::edge_label(edge);
            let arrow = if label.is_empty() { "-->".to_owned() } else { format!("-->|{label}|") };
            let _ = writeln!(out, "    {} {arrow} {}", self.name(edge.from), self.name(edge.to));
        }
        out
    }

    fn dot(&self) -> String {
        let mut out = "digraph pipeline {\n    rankdir=LR;\n    node [shape=box];\n".to_owned();
        for node in graph::nodes(self.config) {
            let _ = writeln!(out, "    \"{}\" [label=\"{}\"];", self.name(node), self.label(node));
        }
        for edge in &self.graph.edges {
            let label = Self::edge_label(edge);
            let label =
                if label.is_empty() { String::new() } else { format!(" [label=\"{label}\"]") };
            let _ = writeln!(
                out,
                "    \"{}\" -> \"{}\"{label};",
                self.name(edge.from),
                self.name(edge.to)
            );
        }
        out.push_str("}\n");
        out
    }
}

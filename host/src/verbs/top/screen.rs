//! What `pipehost top` shows.

use std::time::Duration;

use bytesize::ByteSize;
use ratatui::style::Stylize as _;
use ratatui::text::{Line, Text};

use crate::summary::{number, percent, short, why};
use crate::table::Table;
use pipehost_observe::metrics::Activity;
use pipehost_record::foreign::Foreign;
use pipehost_serve::change::{Bottleneck, Change, bottleneck, changes};
use pipehost_serve::status::{Kind, NodeStatus, Phase, Status};

/// One look at a run.
pub(super) struct Screen {
    head: String,
    bottleneck: Option<Bottleneck>,
    /// The head of the table, then a line for each node.
    table: Vec<String>,
    /// What is wrong with each node: it is marked.
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    /// It holds the others up.
    Bottleneck,
    /// It has failed or rejected records in this time.
    Trouble,
}

impl Screen {
    pub(super) fn of(before: &Status, now: &Status, width: usize) -> Self {
        let changes = changes(before, now);
        let bottleneck = bottleneck(&now.nodes, &changes);
        let then = |name: &str| before.nodes.iter().find(|node| node.name == name);
        let mark = |node: &NodeStatus| {
            let troubles = |node: &NodeStatus| node.rejected + node.dropped + node.failed();
            if bottleneck.as_ref().is_some_and(|bottleneck| bottleneck.node == node.name) {
                Mark::Bottleneck
            } else if node.breaker_open || then(&node.name).map_or(0, troubles) < troubles(node) {
                Mark::Trouble
            } else {
                Mark::None
            }
        };
        let table = Table {
            head: &[
                "NODE",
                "IN/s",
                "OUT/s",
                "LAG",
                "BEHIND",
                "WATERMARK",
                "QUEUE",
                "RETRIES",
                "REJECTED",
                "DROPPED",
                "FAILED",
                "MEMORY",
                "BUSY",
                "WAITS FOR",
            ],
            rows: now.nodes.iter().zip(&changes).map(|(node, change)| row(node, change)).collect(),
            always: 3,
            least_first: &[
                "MEMORY",
                "WATERMARK",
                "DROPPED",
                "FAILED",
                "BEHIND",
                "RETRIES",
                "REJECTED",
                "LAG",
            ],
            left: &["WAITS FOR"],
        };
        Self {
            head: head(before, now),
            marks: now.nodes.iter().map(mark).collect(),
            bottleneck,
            table: table.lines(width.max(40)),
        }
    }

    fn lines(&self) -> impl Iterator<Item = (String, Mark)> {
        let bottleneck = match &self.bottleneck {
            Some(bottleneck) => format!("bottleneck: {}", why(bottleneck)),
            None => "no bottleneck: every node waits for input".to_owned(),
        };
        let above = [self.head.clone(), bottleneck, String::new()];
        let nodes = self.table[1..].iter().cloned().zip(self.marks.iter().copied());
        above.into_iter().chain([self.table[0].clone()]).map(|line| (line, Mark::None)).chain(nodes)
    }

    /// For a file, or a look back.
    pub(super) fn text(&self) -> String {
        self.lines().map(|(line, _)| line + "\n").collect()
    }

    /// In the terminal's own colours, so that it can be read on light and on dark.
    pub(super) fn styled(&self) -> Text<'static> {
        let styled = self.lines().enumerate().map(|(number, (line, mark))| match (number, mark) {
            (0, _) => Line::from(line).bold(),
            (3, _) => Line::from(line).underlined(),
            (_, Mark::Bottleneck) => Line::from(line).bold().magenta(),
            (_, Mark::Trouble) => Line::from(line).red(),
            (_, Mark::None) => Line::from(line),
        });
        Text::from_iter(styled)
    }
}

fn head(before: &Status, now: &Status) -> String {
    let time = now.uptime().saturating_sub(before.uptime()).as_secs_f64().max(1e-9);
    let rate = now.written.saturating_sub(before.written) as f64 / time;
    let phase = match now.phase {
        Phase::Running => "",
        Phase::Draining => "draining, ",
    };
    format!(
        "{}: {phase}{}/s written, {} in {}",
        Foreign::new(&now.pipeline),
        number(rate as u64),
        number(now.written),
        clock(now.uptime())
    )
}

fn row(node: &NodeStatus, change: &Change) -> Vec<String> {
    let only = |shown: bool, text: String| if shown { text } else { "-".to_owned() };
    let is_stage = node.kind == Kind::Stage;
    let name = Foreign::new(&node.name).to_string();
    let lag = match (node.lag_bytes, node.lag_records) {
        (Some(bytes), _) => ByteSize::b(bytes).to_string(),
        (_, Some(records)) => number(records),
        (None, None) => "-".to_owned(),
    };
    vec![
        if node.lanes > 1 { format!("{name} ×{}", node.lanes) } else { name },
        only(node.kind != Kind::Source, number(change.records_in as u64)),
        number(change.records_out as u64),
        lag,
        node.behind_seconds.map_or("-".to_owned(), age),
        node.watermark_age_seconds.map_or("-".to_owned(), age),
        only(node.queue_capacity > 0, format!("{}/{}", node.queue_batches, node.queue_capacity)),
        short(node.retries),
        short(node.rejected),
        short(node.dropped),
        short(node.failed()),
        only(is_stage, ByteSize::b(node.memory_bytes).to_string()),
        percent(change.busy()),
        waits_for(node, change).to_owned(),
    ]
}

/// What a node waits for, for most of its time.
fn waits_for(node: &NodeStatus, change: &Change) -> &'static str {
    match change.mostly() {
        _ if node.breaker_open => "its breaker",
        Some(Activity::WaitingForInput) => "input",
        Some(Activity::WaitingForOutput) => "output",
        Some(Activity::WaitingToRetry) => "a retry",
        Some(Activity::WaitingForRate) => "its rate",
        Some(Activity::Working | Activity::Copying) => "nothing, works",
        // A stage that shares its lane with those behind it waits with them.
        None if node.queue_batches > 0 => "its lane",
        None => "-",
    }
}

/// A time that may be in the future, as clocks differ.
fn age(seconds: f64) -> String {
    match seconds {
        s if s < 0.0 => format!("-{}", age(-s)),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 360_000.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

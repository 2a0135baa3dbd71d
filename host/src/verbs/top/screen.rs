//! What `pipehost top` shows.

use std::time::Duration;

use bytesize::ByteSize;
use ratatui::style::Stylize as _;
use ratatui::text::{Line, Text};

use crate::summary::{number, percent, short, why};
use crate::table::{Table, wrapped};
use pipehost_observe::metrics::Activity;
use pipehost_record::foreign::Foreign;
use pipehost_serve::change::{Bottleneck, Change, bottleneck, changes};
use pipehost_serve::status::{Kind, NodeStatus, Phase, Status};

/// One look at a run.
pub(super) struct Screen {
    width: usize,
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
    Head,
    TableHead,
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
        let width = width.max(40);
        Self {
            width,
            head: head(before, now),
            marks: now.nodes.iter().map(mark).collect(),
            bottleneck,
            table: table.lines(width),
        }
    }

    fn lines(&self) -> Vec<(String, Mark)> {
        let mut lines = vec![(self.head.clone(), Mark::Head)];
        let bottleneck = match &self.bottleneck {
            Some(bottleneck) => format!("bottleneck: {}", why(bottleneck)),
            None => "no bottleneck: every node waits for input".to_owned(),
        };
        lines.extend(wrapped(&bottleneck, self.width).into_iter().map(|line| (line, Mark::None)));
        lines.push((String::new(), Mark::None));
        lines.push((self.table[0].clone(), Mark::TableHead));
        lines.extend(self.table[1..].iter().cloned().zip(self.marks.iter().copied()));
        lines
    }

    /// For a file, or a look back.
    pub(super) fn text(&self) -> String {
        self.lines().into_iter().map(|(line, _)| line + "\n").collect()
    }

    /// In the terminal's own colours, so that it can be read on light and on dark.
    pub(super) fn styled(&self) -> Text<'static> {
        let styled = self.lines().into_iter().map(|(line, mark)| {
            let line = Line::from(line);
            match mark {
                Mark::Head => line.bold(),
                Mark::TableHead => line.underlined(),
                Mark::Bottleneck => line.bold().magenta(),
                Mark::Trouble => line.red(),
                Mark::None => line,
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::{Color, Modifier};

    /// A run of three nodes, of which the last one is held to its rate.
    fn status(seconds: u64) -> Status {
        let node = |name: &str, kind: &str, records: u64, doing: &str| {
            serde_json::json!({
                "name": name, "kind": kind, "inputs": [], "ports": [], "component": null, "lanes": 1,
                "records_in": records * seconds, "records_out": records * seconds,
                "rejected": 7 * seconds, "dead_letters": 0, "skipped": 0, "dropped": 1, "retries": 3,
                "failures": { "trap": 2 }, "queue_batches": 7, "queue_capacity": 8,
                "memory_bytes": 1_200_000, "fuel": 0, "breaker_open": false,
                "seconds": { doing: seconds as f64 }, "lag_bytes": 123_456_789, "lag_records": null,
                "behind_seconds": 4000.0, "watermark_age_seconds": 2.5,
            })
        };
        let status = serde_json::json!({
            "version": "0.1.0", "pipeline": "logs", "process": 1, "phase": "running",
            "uptime_ms": seconds * 1000, "written": 1_234_567 * seconds, "checkpoints": 0,
            "state": null, "dead_letters": null,
            "nodes": [
                node("log", "source", 1_234_567, "waiting_for_output"),
                node("a-stage-with-a-name-that-is-rather-long", "stage", 1_234_567, "waiting_for_input"),
                node("out", "sink", 1_234_567, "waiting_for_rate"),
            ],
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn it_fits_into_the_width_and_shows_what_matters_most() {
        for width in [80, 120, 200] {
            let text = Screen::of(&status(1), &status(2), width).text();
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            for name in ["NODE", "IN/s", "OUT/s", "BUSY", "WAITS FOR", "1,234,567", "its rate"] {
                assert!(text.contains(name), "{width}, {name}: {text}");
            }
            assert!(text.contains("the others wait for `out`: it is held to its `rate`, 100 %"));
            assert_eq!(text.contains("WATERMARK"), width > 120, "{text}");
        }
    }

    /// In the terminal's own colours: no background, no white, no black.
    #[test]
    fn it_can_be_read_on_light_and_on_dark() {
        let text = Screen::of(&status(1), &status(2), 120).styled();
        let style = |line: usize| text.lines[line].style;
        assert!(style(0).add_modifier.contains(Modifier::BOLD));
        let colours = (style(4).fg, style(6).fg);
        assert_eq!(
            colours,
            (Some(Color::Red), Some(Color::Magenta)),
            "a node in trouble, and the bottleneck"
        );
        for line in &text.lines {
            assert_eq!(line.style.bg, None);
            let plain = [Some(Color::White), Some(Color::Black), Some(Color::Gray)];
            assert!(!plain.contains(&line.style.fg));
        }
    }
}

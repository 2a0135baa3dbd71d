//! Records as they pass a node, as text for people.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pipehost_observe::log::stderr;
use pipehost_observe::tap::Tap;
use pipehost_record::foreign::Foreign;
use pipehost_serve::record::{Bytes, Record};
use pipehost_serve::tap::{Given, Line, Rows, Sent};

use crate::summary::number;

/// The most records that are shown to an author in a second.
const A_SECOND: usize = 10;
/// A longer text is cut.
const LONGEST: usize = 160;

/// Shows a few records a second of those that a stage is given, until the stage is gone.
pub fn show(stage: &str, ports: &[String], mut tap: Tap) {
    let (mut since, mut shown, mut left_out) = (Instant::now(), 0, 0);
    while let Some(seen) = tap.blocking_next() {
        if since.elapsed() >= Duration::from_secs(1) {
            left_out += tap.skipped();
            if left_out > 0 {
                stderr::say(&text(stage, &Line::Skipped(left_out)));
            }
            (since, shown, left_out) = (Instant::now(), 0, 0);
        }
        let rows = Rows::of(seen);
        let some = rows.count().min(A_SECOND - shown);
        left_out += (rows.count() - some) as u64;
        shown += some;
        let texts: Vec<_> = (0..some).map(|row| text(stage, &rows.line(ports, row))).collect();
        if !texts.is_empty() {
            stderr::say(&texts.join("\n"));
        }
    }
}

/// A line of a tap of this node.
pub fn text(node: &str, line: &Line) -> String {
    let name = Foreign::new(node);
    match line {
        Line::Record(record) => fields(record),
        Line::Made(sent) => format!("{name} + {}{}", of_port(sent), fields(&sent.record)),
        Line::Skipped(1) => "… and 1 more record".to_owned(),
        Line::Skipped(records) => format!("… and {} more records", number(*records)),
        Line::Given(Given { record, sent, rejected }) => {
            let mut text = format!("{name} < {}", fields(record));
            for sent in sent {
                let _ = write!(text, "\n{name} > {}{}", of_port(sent), fields(&sent.record));
            }
            match rejected {
                Some(why) => {
                    let _ = write!(text, "\n{name} x rejected: {}", Foreign::new(why));
                }
                None if sent.is_empty() => {
                    let _ = write!(text, "\n{name}   dropped");
                }
                None => {}
            }
            text
        }
    }
}

/// The first port of a stage is nearly always `out`, which says nothing.
fn of_port(sent: &Sent) -> String {
    match &*sent.port {
        "out" => String::new(),
        port => format!("({}) ", Foreign::new(port)),
    }
}

fn fields(record: &Record) -> String {
    let mut parts = Vec::new();
    parts.extend(record.timestamp.as_deref().map(|time| Foreign::new(time).to_string()));
    parts.extend(record.key.as_ref().map(|key| format!("[{}]", cut(key))));
    parts.extend(record.value.as_ref().map(cut));
    let named = record.attributes.iter();
    parts.extend(named.map(|(name, value)| format!("{}={}", Foreign::new(name), cut(value))));
    if parts.is_empty() { "(nothing)".to_owned() } else { parts.join("  ") }
}

fn cut(bytes: &Bytes) -> String {
    let bytes = bytes.to_vec().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    Foreign::new(&cut).whole().to_string()
}

//! Shows what a stage is given and what it makes of it, for its author.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use pipehost_observe::log::stderr;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;
use pipehost_record::{Batch, Record};
use pipehost_sandbox::{Seen, Tap};

/// The most records that are shown in a second.
const A_SECOND: usize = 10;
/// A longer text is cut.
const LONGEST: usize = 160;

/// Shows a few records a second, until the stage is gone.
pub fn show(mut seen: mpsc::Receiver<Seen>, tap: &Tap) {
    let (mut since, mut shown, mut left_out) = (Instant::now(), 0, 0);
    while let Some(seen) = seen.blocking_recv() {
        if since.elapsed() >= Duration::from_secs(1) {
            left_out += tap.skipped();
            if left_out > 0 {
                stderr::say(&format!("… and {left_out} more records"));
            }
            (since, shown, left_out) = (Instant::now(), 0, 0);
        }
        let room = A_SECOND - shown;
        left_out += seen.before.len.saturating_sub(room) as u64;
        let mut text = String::new();
        for row in 0..seen.before.len.min(room) {
            shown += 1;
            add(&seen, row, &mut text);
        }
        for (port, batch) in fresh(&seen) {
            let room = A_SECOND - shown;
            left_out += batch.len.saturating_sub(room) as u64;
            for row in 0..batch.len.min(room) {
                shown += 1;
                let _ = writeln!(
                    text,
                    "{} + {}{}",
                    name(&seen),
                    of_port(port),
                    line(&batch.record(row))
                );
            }
        }
        if !text.is_empty() {
            stderr::say(text.trim_end());
        }
    }
}

fn name(seen: &Seen) -> String {
    Foreign::new(&seen.stage).to_string()
}

/// A record, and behind it what descends from it.
fn add(seen: &Seen, row: usize, text: &mut String) {
    let name = name(seen);
    let _ = writeln!(text, "{name} < {}", line(&seen.before.record(row)));
    let mut none = true;
    for emitted in &seen.after {
        let Some(parents) = &emitted.parents else { continue };
        for (at, _) in parents.iter().enumerate().filter(|(_, parent)| **parent as usize == row) {
            none = false;
            let _ = writeln!(
                text,
                "{name} > {}{}",
                of_port(emitted.port),
                line(&emitted.batch.record(at))
            );
        }
    }
    for rejected in seen.rejected.iter().filter(|rejected| rejected.row == row) {
        none = false;
        let _ = writeln!(text, "{name} x rejected: {}", Foreign::new(&rejected.reason));
    }
    if none {
        let _ = writeln!(text, "{name}   dropped");
    }
}

/// The records that descend from none.
fn fresh(seen: &Seen) -> impl Iterator<Item = (usize, &Batch)> {
    let fresh = seen.after.iter().filter(|emitted| emitted.parents.is_none());
    fresh.map(|emitted| (emitted.port, &emitted.batch))
}

fn of_port(port: usize) -> String {
    if port == 0 { String::new() } else { format!("(port {}) ", port + 1) }
}

fn line(record: &Record) -> String {
    let mut parts = Vec::new();
    parts.extend(record.timestamp.map(rfc3339));
    parts.extend(record.key.as_ref().map(|key| format!("[{}]", text(key))));
    parts.extend(record.value.as_ref().map(|value| text(value)));
    let named = record.attributes.iter();
    parts.extend(named.map(|(name, value)| format!("{}={}", Foreign::new(name), text(value))));
    if parts.is_empty() { "(nothing)".to_owned() } else { parts.join("  ") }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    Foreign::new(&cut).whole().to_string()
}

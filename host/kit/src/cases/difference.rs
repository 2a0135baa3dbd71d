//! What differs between what came out and what was expected, for the author.

use std::fmt::Write as _;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use pipehost_config::case::{Case, Reason};
use pipehost_record::Record;
use pipehost_record::foreign::Foreign;
use pipehost_record::time::rfc3339;

use super::expected_on;
use super::run::{Came, Port, Rejection};

/// Records of a difference that are shown around it.
const CONTEXT: usize = 1;
/// The most lines of one difference.
const MOST_LINES: usize = 40;
/// A longer text is cut.
const LONGEST: usize = 200;

/// What differs from what the case expects; `None` if nothing does.
pub(super) fn of_expectation(case: &Case, came: &Came) -> Option<String> {
    let mut told = String::new();
    match (&case.refused, &came.refused) {
        (None, Some(why)) => return Some(format!("the stage refuses what it is given: {why}")),
        (Some(wanted), None) => {
            return Some(format!("the stage is expected to refuse with {wanted:?}, and does not"));
        }
        (Some(wanted), Some(why)) if !why.contains(&**wanted) => {
            return Some(format!(
                "the stage is expected to refuse with {wanted:?}, and refuses with: {why}"
            ));
        }
        _ => {}
    }
    if let Some(why) = &came.failed {
        let _ = writeln!(told, "the stage failed: {why}");
    }
    for (index, port) in came.ports.iter().enumerate() {
        let expected = expected_on(case, &port.name, index == 0);
        if let Some(lines) = of_records(&expected, &port.records) {
            let _ = write!(told, "port `{}`:\n{lines}", port.name);
        }
    }
    if came.refused.is_none() {
        for expected in &case.output {
            if let Some(name) = &expected.port
                && !came.ports.iter().any(|port| port.name == *name)
            {
                let ports: Vec<_> = came.ports.iter().map(|p| format!("`{}`", p.name)).collect();
                let _ = writeln!(told, "there is no port `{name}`, there is {}", ports.join(", "));
            }
        }
        told.push_str(&of_rejections(case, &came.rejected));
    }
    let told = told.trim_end();
    (!told.is_empty()).then(|| told.to_owned())
}

/// What differs between two divisions. Records that a stage creates come behind those that it keeps
/// of the same batch, so both kinds are compared by themselves. What instances that share the keys
/// say last comes in any order.
pub(super) fn of_divisions(first: &Came, other: &Came, in_any_order: bool) -> Option<String> {
    let mut told = String::new();
    let kind = |port: &Port, new: bool| -> Vec<Record> {
        let of = port.records.iter().zip(&port.is_new).filter(|(_, is_new)| **is_new == new);
        let mut records: Vec<Record> = of.map(|(record, _)| record.clone()).collect();
        if in_any_order {
            records.sort();
        }
        records
    };
    for (port, others) in first.ports.iter().zip(&other.ports) {
        for new in [false, true] {
            if let Some(lines) = of_records(&kind(port, new), &kind(others, new)) {
                let _ = write!(told, "port `{}`:\n{lines}", port.name);
            }
        }
    }
    let said = |came: &Came| -> Vec<String> {
        let rejected = came.rejected.iter().map(rejection);
        let refused = came.refused.iter().map(|why| format!("refused: {why}"));
        let failed = came.failed.iter().map(|why| format!("failed: {why}"));
        rejected.chain(refused).chain(failed).collect()
    };
    if let Some(lines) = of_lines(&said(first), &said(other)) {
        let _ = write!(told, "rejected:\n{lines}");
    }
    let told = told.trim_end();
    (!told.is_empty()).then(|| told.to_owned())
}

/// What differs between records, `-` for what was expected and `+` for what came; `None` if nothing
/// does.
pub fn of_records(expected: &[Record], came: &[Record]) -> Option<String> {
    if expected == came {
        return None;
    }
    let shown = |records: &[Record]| -> Vec<String> { records.iter().map(shown).collect() };
    of_lines(&shown(expected), &shown(came))
        .or_else(|| Some("  they differ where a text is too long to be shown\n".to_owned()))
}

/// Lines with `-` for what was expected and `+` for what came.
fn of_lines(expected: &[String], came: &[String]) -> Option<String> {
    if expected == came {
        return None;
    }
    let mut lines = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, expected, came) {
        let (old, new) = (op.old_range(), op.new_range());
        match op {
            DiffOp::Equal { .. } if old.len() > 2 * CONTEXT => {
                let (first, last) = (old.start, old.end);
                lines.extend(expected[first..first + CONTEXT].iter().map(|l| format!("    {l}")));
                lines.push(format!("    … {} more that are as expected", old.len() - 2 * CONTEXT));
                lines.extend(expected[last - CONTEXT..last].iter().map(|l| format!("    {l}")));
            }
            DiffOp::Equal { .. } => {
                lines.extend(expected[old].iter().map(|line| format!("    {line}")));
            }
            DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                lines.extend(expected[old].iter().map(|line| format!("  - {line}")));
                lines.extend(came[new].iter().map(|line| format!("  + {line}")));
            }
        }
    }
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    if more > 0 {
        lines.push(format!("    … {more} more lines"));
    }
    Some(lines.join("\n") + "\n")
}

fn of_rejections(case: &Case, came: &[Rejection]) -> String {
    let fits = |came: &Rejection| {
        case.rejected.iter().any(|expected| {
            expected.input == came.input
                && expected.reason.fits(&came.reason)
                && expected.retryable.is_none_or(|retryable| retryable == came.retryable)
        })
    };
    let mut told = String::new();
    let mut line = |line: String| {
        if told.is_empty() {
            told.push_str("rejected:\n");
        }
        let _ = writeln!(told, "  {line}");
    };
    for expected in &case.rejected {
        let found = came.iter().find(|came| came.input == expected.input);
        if !found.is_some_and(fits) {
            let reason = match &expected.reason {
                Reason::Is(text) => format!("{text:?}"),
                Reason::Contains(part) => format!("with {part:?} in it"),
            };
            let kind = match expected.retryable {
                Some(true) => ", retryable",
                Some(false) => ", not retryable",
                None => "",
            };
            line(format!("- record {}: {reason}{kind}", expected.input));
        }
    }
    let unexpected: Vec<_> = came.iter().filter(|came| !fits(came)).collect();
    for came in unexpected.iter().take(MOST_LINES) {
        line(format!("+ {}", rejection(came)));
    }
    if unexpected.len() > MOST_LINES {
        line(format!("  … {} more", unexpected.len() - MOST_LINES));
    }
    told
}

fn rejection(rejection: &Rejection) -> String {
    let kind = if rejection.retryable { ", retryable" } else { "" };
    format!("record {}: {:?}{kind}", rejection.input, rejection.reason)
}

/// A record on one line, as a case writes it.
fn shown(record: &Record) -> String {
    let mut parts = Vec::new();
    if let Some(time) = record.timestamp {
        parts.push(format!("time = {}", rfc3339(time)));
    }
    let texts = [("key", &record.key), ("value", &record.value)];
    for (name, bytes) in texts {
        if let Some(bytes) = bytes {
            parts.push(format!("{name} = {}", text(bytes)));
        }
    }
    for (name, bytes) in &record.attributes {
        parts.push(format!("attributes.{} = {}", Foreign::new(name), text(bytes)));
    }
    if parts.is_empty() { "a record without anything".to_owned() } else { parts.join("  ") }
}

fn text(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\" (not UTF-8)", bytes.escape_ascii()),
    };
    if text.len() <= LONGEST {
        return text;
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{cut}… ({} bytes)", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<Record> {
        let record =
            |text: &&str| Record { value: Some(text.as_bytes().to_vec()), ..Record::default() };
        texts.iter().map(record).collect()
    }

    #[test]
    fn what_differs_is_shown_and_what_is_the_same_is_not() {
        let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let mut texts: Vec<&str> = all.iter().map(String::as_str).collect();
        let expected = values(&texts);
        assert_eq!(of_records(&expected, &expected), None);
        texts[50] = "other";
        texts.push("more");
        let told = of_records(&expected, &values(&texts)).unwrap();
        for line in ["  - value = \"50\"\n", "  + value = \"other\"\n", "  + value = \"more\"\n"] {
            assert!(told.contains(line), "{line:?} is not in\n{told}");
        }
        assert!(
            told.contains("… 48 more that are as expected") && !told.contains("\"7\""),
            "{told}"
        );
    }

    #[test]
    fn records_are_shown_as_cases_write_them() {
        let record = Record {
            timestamp: Some(0),
            key: Some(b"k\n".to_vec()),
            value: Some(b"\xff".to_vec()),
            attributes: vec![("a".to_owned(), b"x".repeat(300))],
        };
        let told = shown(&record);
        assert!(told.contains("key = \"k\\n\"") && told.contains("(not UTF-8)"), "{told}");
        assert!(told.ends_with("… (300 bytes)"), "{told}");
        assert_eq!(shown(&Record::default()), "a record without anything");
    }
}

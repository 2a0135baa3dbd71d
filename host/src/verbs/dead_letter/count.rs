//! `pipehost dead-letter count`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::{Selection, each};
use crate::error::Error;
use crate::summary::number;
use pipehost_record::foreign::Foreign;

/// The most different reasons that are counted apart.
const REASONS: usize = 10_000;

/// Counts letters by node and reason, the most frequent first.
pub(super) fn count(file: &Path, selection: &Selection, out: &mut impl Write) -> Result<(), Error> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    each(file, selection, |_, letter| {
        let mut key = (letter.stage, kind(&letter.reason));
        if counts.len() >= REASONS && !counts.contains_key(&key) {
            key.1 = "(other reasons)".to_owned();
        }
        *counts.entry(key).or_default() += 1;
        Ok(())
    })?;
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let counts: Vec<_> = rows.iter().map(|(_, count)| number(*count)).collect();
    let counted = counts.iter().map(String::len).max().unwrap_or(0);
    let named = rows.iter().map(|((stage, _), _)| stage.chars().count()).max().unwrap_or(0);
    for (((stage, reason), _), count) in rows.iter().zip(&counts) {
        let (stage, reason) = (Foreign::new(stage).to_string(), Foreign::new(reason));
        writeln!(out, "{count:>counted$}  {stage:<named$}  {reason}").map_err(Error::stdout)?;
    }
    if rows.is_empty() {
        writeln!(out, "{}", selection.none()).map_err(Error::stdout)?;
    }
    Ok(())
}

/// A reason without what differs from record to record: quoted text and numbers.
fn kind(reason: &str) -> String {
    let mut kind = String::new();
    let mut rest = reason.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '`' if rest.clone().any(|other| other == c) => {
                kind.extend([c, '…', c]);
                rest.by_ref().find(|other| *other == c);
            }
            c if c.is_ascii_digit() => {
                kind.push('#');
                while rest.next_if(char::is_ascii_digit).is_some() {}
            }
            c => kind.push(c),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_one_kind_are_one() {
        assert_eq!(kind(r#""2026-11" is no time"#), r#""…" is no time"#);
        assert_eq!(kind("column 17: `x` and `y`"), "column #: `…` and `…`");
        assert_eq!(kind("it's 5 o\"clock"), "it's # o\"clock", "a quote that does not end");
    }
}

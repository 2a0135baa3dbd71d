//! Checks the outcome of a stage against the contract, and joins it with its input.

use super::violation::{Violation, violation};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::contract::bindings::records::{self, Rows as Chosen, Target};
use crate::contract::plan::Given;
use pipehost_observe::tap::Emission;
use pipehost_record::{
    Batch, Column, Excerpt, MAX_ATTRIBUTES, NO_TIME, Origins, Rejected, RowNumbers, Selected,
    Times, bytes_between, check_name, own_bytes,
};

/// Records for one port.
#[derive(Debug, Clone)]
pub struct Emitted {
    pub port: usize,
    pub batch: Batch,
    /// For each row, the input row that it descends from; `None` if the rows are fresh.
    pub parents: Option<RowNumbers>,
}

impl Emitted {
    /// For whoever looks at the stage.
    pub(crate) fn seen(&self) -> Emission {
        Emission { port: self.port, batch: self.batch.clone(), parents: self.parents.clone() }
    }
}

/// A checked answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub emitted: Vec<Emitted>,
    pub rejected: Vec<Rejected>,
}

/// Validates an outcome and fills inherited columns from `input`; `None` for `finish` and
/// `advance`.
///
/// # Errors
/// If a rule of the contract is broken; the error says which.
pub fn join(
    input: Option<(&Batch, &Given)>,
    ports: usize,
    made_by: &Arc<str>,
    outcome: records::Outcome,
) -> Result<Answer, Violation> {
    let len = input.map_or(0, |(batch, _)| batch.len);
    let mut answer = Answer::default();
    for output in outcome.outputs {
        let port = output.port as usize;
        if port >= ports {
            return Err(violation!("it sent rows to port {port}, and its plan has {ports}"));
        }
        let emitted = join_output(input, len, port, made_by, output)
            .map_err(|rule| violation!("in an output for port {port}, {rule:#}"))?;
        answer.emitted.extend(emitted);
    }
    let mut seen = vec![false; if outcome.rejected.is_empty() { 0 } else { len }];
    for records::Rejection { row, reason, retryable } in outcome.rejected {
        match seen.get_mut(row as usize) {
            None => return Err(violation!("it rejected row {row} of a batch of {len}")),
            Some(true) => return Err(violation!("it rejected row {row} twice")),
            Some(seen) => *seen = true,
        }
        let reason = reason.into();
        answer.rejected.push(Rejected { row: row as usize, reason, retryable, attempts: 1 });
    }
    for parents in answer.emitted.iter().filter_map(|emitted| emitted.parents.as_ref()) {
        if !seen.is_empty()
            && let Some(row) = parents.iter().find(|&&row| seen[row as usize])
        {
            return Err(violation!("it both rejected row {row} and sent it on"));
        }
    }
    answer.rejected.sort_by_key(|rejected| rejected.row);
    Ok(answer)
}

fn join_output(
    input: Option<(&Batch, &Given)>,
    input_len: usize,
    port: usize,
    made_by: &Arc<str>,
    output: records::Output,
) -> Result<Option<Emitted>, Violation> {
    let (mut batch, parents) = match (output.rows, input) {
        (Chosen::Fresh(len), _) => (fresh(len as usize, made_by), None),
        (_, None) => return Err(violation!("finish answered rows that are not fresh")),
        (Chosen::All, Some((input, _))) => {
            (input.clone(), Some(Arc::new((0..input_len as u32).collect())))
        }
        (Chosen::Picked(rows), Some((input, _))) => {
            if let Some(row) = rows.iter().find(|&&row| row as usize >= input_len) {
                return Err(violation!("row {row} was picked from a batch of {input_len}"));
            }
            let rows = Arc::new(rows);
            (input.pick(rows.clone()), Some(rows))
        }
    };
    let len = batch.len;
    let inherits = parents.is_some();
    if let Some(change) = output.timestamps {
        batch.timestamps = Some(times(change, len, inherits, batch.timestamps.as_ref())?);
    }
    let most = MAX_ATTRIBUTES;
    let changed = output.attributes.len() + output.excerpts.len();
    if changed > most + 2 || output.removed.len() > most {
        return Err(violation!("more than {most} attributes are changed or removed"));
    }
    // A set and no linear search: a guest chooses how many and how long its names are.
    let removed: HashSet<&str> = output.removed.iter().map(String::as_str).collect();
    batch.attributes.retain(|(name, _)| !removed.contains(&**name));
    let key = output.key.map(|change| (Target::Key, ColumnChange::Anew(change)));
    let value = output.value.map(|change| (Target::Value, ColumnChange::Anew(change)));
    let attributes =
        output.attributes.into_iter().map(|records::AttributeChange { name, change }| {
            (Target::Attribute(name), ColumnChange::Anew(change))
        });
    let excerpts = output.excerpts.into_iter().map(|excerpt| {
        let records::Excerpt { to, from, starts, ends, nulls, inherited } = excerpt;
        let change = records::Change { ends, data: Vec::new(), nulls, inherited };
        (to, ColumnChange::Excerpt { from, starts, change })
    });
    let mut seen = HashSet::new();
    let mut joined: Vec<(Target, Selected<Column>)> = Vec::new();
    // Changed attributes of the input, by their index.
    let mut changed_at: HashMap<usize, Selected<Column>> = HashMap::new();
    let places = if changed > FEW { Some(batch.places()) } else { None };
    for (target, changed) in key.into_iter().chain(value).chain(attributes).chain(excerpts) {
        let mut at = None;
        let (what, old) = match &target {
            Target::Key => ("the key".to_owned(), batch.key.as_ref()),
            Target::Value => ("the value".to_owned(), batch.value.as_ref()),
            Target::Attribute(name) => {
                check_name(name)?;
                at = match &places {
                    Some(places) => places.get(&**name).copied(),
                    None => batch.attributes.iter().position(|(n, _)| **n == **name),
                };
                let old = at.map(|at| &batch.attributes[at].1);
                (format!("the attribute {name:?}"), old)
            }
        };
        if !seen.insert(what.clone()) {
            return Err(violation!("{what} was changed twice"));
        }
        let (new, inherited) = match changed {
            ColumnChange::Anew(change) => checked(&what, change, len)?,
            ColumnChange::Excerpt { from, starts, change } => {
                let given = input.and_then(|(_, given)| given.column(from));
                let given = given.ok_or_else(|| {
                    violation!("{what} is an excerpt of a column that it was not given")
                })?;
                excerpt(&what, given, starts, change, len)?
            }
        };
        let joined_column = with_inherited(&what, new, inherited, inherits, old)?;
        match at {
            Some(at) => drop(changed_at.insert(at, joined_column)),
            None => joined.push((target, joined_column)),
        }
    }
    for (at, column) in changed_at {
        batch.attributes[at].1 = column;
    }
    for (target, column) in joined {
        match target {
            Target::Key => batch.key = Some(column),
            Target::Value => batch.value = Some(column),
            Target::Attribute(name) => batch.attributes.push((name.into(), column)),
        }
    }
    Ok((len > 0).then_some(Emitted { port, batch, parents }))
}

/// Up to this many attributes, a linear search is as fast as a map.
const FEW: usize = 16;

fn fresh(len: usize, made_by: &Arc<str>) -> Batch {
    Batch {
        len,
        timestamps: None,
        key: None,
        value: None,
        attributes: Vec::new(),
        origins: Origins::numbered(made_by, len).into(),
        input: 0,
    }
}

/// `rows` must ascend strictly and stay below `len`.
fn check_rows(what: &str, rows: &[u32], len: usize) -> Result<(), Violation> {
    if rows.iter().is_sorted_by(|a, b| a < b) && rows.last().is_none_or(|&row| (row as usize) < len)
    {
        return Ok(());
    }
    Err(violation!("{what} does not list rows below {len}, ascending, each once"))
}

fn check_inherited(what: &str, rows: &[u32], len: usize, inherits: bool) -> Result<(), Violation> {
    if !inherits && !rows.is_empty() {
        return Err(violation!("{what} has inherited rows, but the output's rows are fresh"));
    }
    check_rows(&format!("`inherited` of {what}"), rows, len)
}

fn times(
    change: records::TimestampsChange,
    len: usize,
    inherits: bool,
    input: Option<&Selected<Times>>,
) -> Result<Selected<Times>, Violation> {
    let records::TimestampsChange { mut timestamps, inherited } = change;
    if timestamps.len() != len {
        return Err(violation!("there are {} timestamps for {len} rows", timestamps.len()));
    }
    check_inherited("timestamps", &inherited, len, inherits)?;
    for row in inherited {
        timestamps[row as usize] =
            input.and_then(|input| input.get(row as usize)).unwrap_or(NO_TIME);
    }
    Ok(timestamps.into())
}

/// How a stage gives a column.
enum ColumnChange {
    Anew(records::Change),
    /// The `data` of the change is empty.
    Excerpt {
        from: records::Given,
        starts: Vec<u32>,
        change: records::Change,
    },
}

/// Checks a column that was written anew. Returns it, and its inherited rows.
fn checked(
    what: &str,
    change: records::Change,
    len: usize,
) -> Result<(Column, Vec<u32>), Violation> {
    let records::Change { ends, data, nulls, inherited } = change;
    if ends.len() != len {
        return Err(violation!("{what} has {} ends for {len} rows", ends.len()));
    }
    if !ends.is_sorted() {
        return Err(violation!("the ends of {what} descend"));
    }
    if ends.last().map_or(0, |&end| end as usize) != data.len() {
        let last = ends.last().copied().unwrap_or(0);
        return Err(violation!("{what} has {} bytes of data and ends at {last}", data.len()));
    }
    Ok((Column { ends, data, nulls, excerpt: None }, inherited))
}

/// Checks an excerpt: each row is a part of a given column. Returns it, and its inherited rows.
fn excerpt(
    what: &str,
    from: &Arc<Column>,
    starts: Vec<u32>,
    change: records::Change,
    len: usize,
) -> Result<(Column, Vec<u32>), Violation> {
    let records::Change { ends, nulls, inherited, .. } = change;
    if (starts.len(), ends.len()) != (len, len) {
        let (starts, ends) = (starts.len(), ends.len());
        return Err(violation!("{what} has {starts} starts and {ends} ends for {len} rows"));
    }
    let data = from.data.len();
    // No early exit: a loop that stops at the first wrong row is several times as slow.
    let within = |ok, (&start, &end)| ok & (start <= end) & (end as usize <= data);
    if !starts.iter().zip(&ends).fold(true, within) {
        return Err(violation!(
            "{what} has a row that is no part of the {data} bytes it was given"
        ));
    }
    let excerpt = Some(Excerpt { starts, from: from.clone() });
    Ok((Column { ends, nulls, excerpt, ..Column::default() }, inherited))
}

/// Fills the inherited rows from the input.
fn with_inherited(
    what: &str,
    new: Column,
    inherited: Vec<u32>,
    inherits: bool,
    input: Option<&Selected<Column>>,
) -> Result<Selected<Column>, Violation> {
    let len = new.ends.len();
    check_rows(&format!("`nulls` of {what}"), &new.nulls, len)?;
    check_inherited(what, &inherited, len, inherits)?;
    for &row in new.nulls.iter().chain(&inherited) {
        if !new.range(row as usize).is_empty() {
            return Err(violation!("{what} has data in row {row}, which is null or inherited"));
        }
    }
    if inherited.is_empty() {
        return Ok(new.into());
    }
    if inherited.iter().any(|row| new.nulls.binary_search(row).is_ok()) {
        return Err(violation!("{what} lists a row as both null and inherited"));
    }
    let mut mixed = Column { ends: Vec::with_capacity(len), ..Column::default() };
    let mut from_input = inherited.iter().map(|&row| row as usize).peekable();
    for row in 0..len {
        let inherit = from_input.next_if_eq(&row).is_some();
        mixed.push(if inherit { input.and_then(|input| input.get(row)) } else { new.get(row) });
    }
    Ok(mixed.into())
}

/// Bytes that the excerpts of an output stand for: a few numbers can stand for many bytes.
pub fn excerpt_bytes(output: &records::Output) -> usize {
    let bytes = output.excerpts.iter().map(|excerpt| bytes_between(&excerpt.starts, &excerpt.ends));
    bytes.fold(0, usize::saturating_add)
}

/// Bytes of the outputs besides the contents of their rows: the overhead of each output, and the
/// attribute names, which are written with every row.
pub fn made_bytes(input: Option<&Batch>, outputs: &[records::Output]) -> usize {
    let bytes = outputs.iter().map(|output| {
        let inherited = match output.rows {
            Chosen::Fresh(_) => 0,
            _ => input.map_or(0, |batch| batch.attributes.len()),
        };
        let changed = output.attributes.len() + output.excerpts.len();
        let names = output.attributes.iter().map(|attribute| {
            attribute.name.len() * there(&attribute.change.ends, &attribute.change.nulls)
        });
        let excerpts = output.excerpts.iter().map(|excerpt| match &excerpt.to {
            Target::Attribute(name) => name.len() * there(&excerpt.ends, &excerpt.nulls),
            Target::Key | Target::Value => 0,
        });
        let own = own_bytes(rows(input, output), inherited + changed);
        names.chain(excerpts).fold(own, usize::saturating_add)
    });
    bytes.fold(0, usize::saturating_add)
}

/// Rows of a column that are not null, as the guest claims.
fn there(ends: &[u32], nulls: &[u32]) -> usize {
    ends.len().saturating_sub(nulls.len())
}

/// How many rows an output has.
pub fn rows(input: Option<&Batch>, output: &records::Output) -> usize {
    match &output.rows {
        Chosen::All => input.map_or(0, |batch| batch.len),
        Chosen::Picked(rows) => rows.len(),
        Chosen::Fresh(len) => *len as usize,
    }
}

impl Answer {
    /// Maps row numbers of a part back to the batch: row `i` of the part is row `rows[i]` of the
    /// batch.
    pub fn renumber(&mut self, rows: &[u32]) {
        for emitted in &mut self.emitted {
            if let Some(parents) = &emitted.parents {
                let renumbered = parents.iter().map(|&row| rows[row as usize]).collect();
                emitted.parents = Some(Arc::new(renumbered));
            }
        }
        for rejected in &mut self.rejected {
            rejected.row = rows[rejected.row] as usize;
        }
    }

    /// Merges the answers to the parts of one batch in the order of its rows, as if they were one
    /// answer. Fresh rows keep their place among the parts: rows are not sorted across them.
    pub fn in_row_order(parts: Vec<Self>) -> Self {
        let mut merged = Self::default();
        let mut by_port: Vec<(usize, Vec<Emitted>)> = Vec::new();
        for part in parts {
            merged.rejected.extend(part.rejected);
            for emitted in part.emitted {
                match by_port.iter_mut().find(|(port, _)| *port == emitted.port) {
                    Some((_, list)) => list.push(emitted),
                    None => by_port.push((emitted.port, vec![emitted])),
                }
            }
        }
        merged.rejected.sort_by_key(|rejected| rejected.row);
        for (port, list) in by_port {
            for run in list.chunk_by(|a, b| a.parents.is_some() && b.parents.is_some()) {
                merged.emitted.extend(sort_run(port, run));
            }
        }
        merged
    }
}

/// Usually makes one batch. Parts with different attributes become several.
fn sort_run(port: usize, run: &[Emitted]) -> Vec<Emitted> {
    let [first, rest @ ..] = run else { unreachable!("chunks are not empty") };
    if rest.is_empty() {
        return vec![first.clone()];
    }
    // For each row: its parent, its part, and its row in that part.
    let mut order: Vec<(u32, u32, u32)> = (0..)
        .zip(run)
        .flat_map(|(part, emitted)| {
            let parents = emitted.parents.iter().flat_map(|rows| rows.iter());
            (0..).zip(parents).map(move |(row, &parent)| (parent, part, row))
        })
        .collect();
    let sorted = order.is_sorted_by_key(|(parent, ..)| parent);
    let batches: Vec<Batch> = run.iter().map(|emitted| emitted.batch.clone()).collect();
    let mut joined = Batch::join(batches.clone());
    if !sorted {
        order.sort_by_key(|(parent, ..)| *parent); // Stable: the same parent keeps its order.
        joined = match &joined[..] {
            [one] => {
                let starts: Vec<u32> = (batches.iter())
                    .scan(0, |next, batch| Some(std::mem::replace(next, *next + batch.len as u32)))
                    .collect();
                let rows = order.iter().map(|(_, part, row)| starts[*part as usize] + row);
                vec![one.pick(Arc::new(rows.collect()))]
            }
            _ => {
                let pieces = order.chunk_by(|a, b| a.1 == b.1).map(|piece| {
                    let rows = piece.iter().map(|(_, _, row)| *row).collect();
                    batches[piece[0].1 as usize].pick(Arc::new(rows))
                });
                Batch::join(pieces.collect())
            }
        };
    }
    let mut parents = order.into_iter().map(|(parent, ..)| parent);
    let mut with_parents = |batch: Batch| {
        let parents = parents.by_ref().take(batch.len).collect();
        Emitted { port, batch, parents: Some(Arc::new(parents)) }
    };
    joined.into_iter().map(&mut with_parents).collect()
}

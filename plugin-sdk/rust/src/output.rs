//! Collects what a stage emits, column by column.

use std::collections::HashMap;

use crate::changed::{ChangedColumn, Finished, pop_from};
use crate::driver::Input;
use crate::driver::contract::{
    AttributeChange, Excerpt, Output, Rejection as Rejected, Rows, Target, TimestampsChange,
};
use crate::{NO_TIME, Port, Rejection};

/// Takes what a stage emits.
#[derive(Debug)]
pub struct Out<'a> {
    /// The batch that the stage was given; `None` without one, where all rows are new.
    input: Option<&'a Input<'a>>,
    /// Rows that descend from input rows, by port.
    ports: Vec<PortRows>,
    /// New rows that descend from none, by port; empty until there is one.
    created: Vec<PortRows>,
    rejected: Vec<Rejected>,
    /// The current input row; meaningless without a batch.
    row: u32,
}

impl<'a> Out<'a> {
    /// For `process`.
    pub(crate) fn of_batch(ports: usize, input: &'a Input<'a>) -> Self {
        let mut out = Self::fresh(ports);
        out.ports[0].parents.expected = input.len();
        Self { input: Some(input), ..out }
    }

    /// For rows that descend from no input row.
    pub(crate) fn fresh(ports: usize) -> Self {
        let mut list = Vec::with_capacity(ports);
        list.resize_with(ports, PortRows::default);
        Self { input: None, ports: list, created: Vec::new(), rejected: Vec::new(), row: 0 }
    }

    /// Emits the current record on the default port. All that the returned row does not change is
    /// inherited. Call it again to emit the record once more.
    #[inline]
    pub fn keep(&mut self) -> Row<'_> {
        self.send(Port(0))
    }

    /// As [`Out::keep`], on another port.
    #[inline]
    pub fn send(&mut self, port: Port) -> Row<'_> {
        let rows = &mut self.ports[port.0];
        let index = rows.parents.push(self.row);
        Row { rows, index, input: self.input }
    }

    /// Emits a new record on the default port. It inherits nothing: parts that are not set are
    /// absent. The new records of a batch come after those that were kept.
    pub fn create(&mut self) -> Row<'_> {
        self.create_on(Port(0))
    }

    /// As [`Out::create`], on another port.
    pub fn create_on(&mut self, port: Port) -> Row<'_> {
        if self.input.is_none() {
            return self.send(port);
        }
        let ports = self.ports.len();
        self.created.resize_with(ports, PortRows::default);
        let rows = &mut self.created[port.0];
        let index = rows.parents.push(self.row); // To remove them if the record is rejected.
        // A new record has no input that it could hold parts of.
        Row { rows, index, input: None }
    }

    #[inline]
    pub(crate) fn at(&mut self, row: usize) {
        self.row = row as u32;
    }

    #[cold]
    pub(crate) fn reject(&mut self, rejection: Rejection) {
        let row = self.row;
        for port in self.ports.iter_mut().chain(&mut self.created) {
            port.take_back(row);
        }
        let Rejection { reason, retryable } = rejection;
        self.rejected.push(Rejected { row, reason, retryable });
    }

    pub(crate) fn into_outcome(self) -> crate::driver::contract::Outcome {
        let (fresh, input_len) = (self.input.is_none(), self.input.map_or(0, Input::len));
        let kept = (0..).zip(self.ports).map(|(port, rows)| (port, rows, fresh));
        let created = (0..).zip(self.created).map(|(port, rows)| (port, rows, true));
        let outputs = kept
            .chain(created)
            .filter(|(_, rows, _)| rows.parents.len > 0)
            .map(|(port, rows, fresh)| rows.into_output(port, fresh, input_len))
            .collect();
        crate::driver::contract::Outcome { outputs, rejected: self.rejected }
    }
}

/// A record to be emitted: change what should be different.
#[derive(Debug)]
pub struct Row<'a> {
    rows: &'a mut PortRows,
    index: usize,
    input: Option<&'a Input<'a>>,
}

impl Row<'_> {
    /// Sets the value. As with all setters here, bytes that are a part of the input record, such as
    /// a word of a line, are not copied.
    #[inline]
    pub fn value(self, bytes: impl AsRef<[u8]>) -> Self {
        let rows = self.rows.parents.expected;
        let value = self.rows.value.get_or_insert_with(|| ChangedColumn::with_capacity(rows));
        value.set(self.index, bytes.as_ref(), self.input);
        self
    }

    /// Sets the value to what `write` appends, without a buffer in between. Bytes that are already
    /// in the vector belong to other records.
    #[inline]
    pub fn value_with(self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let rows = self.rows.parents.expected;
        let value = self.rows.value.get_or_insert_with(|| ChangedColumn::with_capacity(rows));
        value.set_with(self.index, self.input, write);
        self
    }

    /// Sets the key.
    #[inline]
    pub fn key(self, bytes: impl AsRef<[u8]>) -> Self {
        let rows = self.rows.parents.expected;
        let key = self.rows.key.get_or_insert_with(|| ChangedColumn::with_capacity(rows));
        key.set(self.index, bytes.as_ref(), self.input);
        self
    }

    /// Adds an attribute, or changes it.
    #[inline]
    pub fn attribute(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.rows.attribute(name).set(self.index, bytes.as_ref(), self.input);
        self
    }

    /// Removes an attribute.
    #[inline]
    pub fn remove_attribute(self, name: &str) -> Self {
        self.rows.attribute(name).set_null(self.index);
        self
    }

    /// Sets the timestamp, in nanoseconds since the Unix epoch.
    #[inline]
    pub fn timestamp(self, nanoseconds: i64) -> Self {
        let rows = self.rows.parents.expected;
        let times = self.rows.times.get_or_insert_with(|| Times::with_capacity(rows));
        times.catch_up(self.index);
        times.nanoseconds.truncate(self.index);
        times.nanoseconds.push(nanoseconds);
        self
    }
}

/// The input rows that the rows of a port descend from.
#[derive(Debug, Default)]
struct Parents {
    len: usize,
    /// `None` while they are the first rows of the batch, each once: most stages keep every record
    /// that they are given, and then write no list.
    picked: Option<Vec<u32>>,
    /// How many there will be, if that is known: so that no vector grows inside the sandbox.
    expected: usize,
}

impl Parents {
    /// Adds one, and returns its index.
    #[inline(always)]
    fn push(&mut self, row: u32) -> usize {
        let index = self.len;
        match &mut self.picked {
            None if row as usize == index => {}
            None => self.pick(row),
            Some(picked) => picked.push(row),
        }
        self.len += 1;
        index
    }

    #[cold]
    fn pick(&mut self, row: u32) {
        let mut picked = Vec::with_capacity(self.expected.max(self.len + 1));
        picked.extend(0..self.len as u32);
        picked.push(row);
        self.picked = Some(picked);
    }

    /// Removes those at the end that are this row.
    fn take_back(&mut self, row: u32) {
        match &mut self.picked {
            None if self.len == row as usize + 1 => self.len -= 1,
            None => {}
            Some(picked) => {
                while picked.last() == Some(&row) {
                    picked.pop();
                }
                self.len = picked.len();
            }
        }
    }
}

/// The rows of one port, and the columns that some of them change.
#[derive(Debug, Default)]
struct PortRows {
    /// The input row of each; meaningless without a batch.
    parents: Parents,
    times: Option<Times>,
    key: Option<ChangedColumn>,
    value: Option<ChangedColumn>,
    attributes: Vec<(String, ChangedColumn)>,
    /// Places of attributes from [`FEW`] on.
    more: HashMap<String, usize>,
}

/// So many attributes are found faster one by one.
const FEW: usize = 16;

impl PortRows {
    #[inline(always)]
    fn attribute(&mut self, name: &str) -> &mut ChangedColumn {
        let mut few = self.attributes.iter().take(FEW);
        let found = few.position(|(n, _)| is_same(n, name));
        let position = found.unwrap_or_else(|| self.one_of_more(name));
        &mut self.attributes[position].1
    }

    /// The place of an attribute that is not one of the first few. The names may come from whoever
    /// wrote the records: with many, they must not take the square of their number.
    #[cold]
    fn one_of_more(&mut self, name: &str) -> usize {
        if let Some(position) = self.more.get(name) {
            return *position;
        }
        let position = self.attributes.len();
        // Of many attributes, each is in few records.
        let rows = if position < FEW { self.parents.expected } else { 0 };
        if position >= FEW {
            self.more.insert(name.to_owned(), position);
        }
        self.attributes.push((name.to_owned(), ChangedColumn::with_capacity(rows)));
        position
    }

    /// Removes the rows at the end that descend from `row`.
    fn take_back(&mut self, row: u32) {
        self.parents.take_back(row);
        let len = self.parents.len;
        let columns = self.key.iter_mut().chain(&mut self.value);
        for column in columns.chain(self.attributes.iter_mut().map(|(_, column)| column)) {
            column.truncate(len);
        }
        if let Some(times) = &mut self.times {
            times.nanoseconds.truncate(len);
            pop_from(&mut times.inherited, len);
        }
    }

    fn into_output(self, port: u32, fresh: bool, input_len: usize) -> Output {
        let len = self.parents.len;
        let (removed, changed): (Vec<_>, Vec<_>) =
            self.attributes.into_iter().partition(|(_, column)| column.is_all_null(len));
        let key = self.key.map(|column| (Target::Key, column));
        let value = self.value.map(|column| (Target::Value, column));
        let changed = changed.into_iter().map(|(name, column)| (Target::Attribute(name), column));
        let mut output = Output {
            port,
            timestamps: self.times.map(|times| times.finish(len, fresh)),
            key: None,
            value: None,
            attributes: Vec::new(),
            removed: removed.into_iter().map(|(name, _)| name).collect(),
            rows: match self.parents.picked {
                _ if fresh => Rows::Fresh(len as u32),
                None if len == input_len => Rows::All,
                None => Rows::Picked((0..len as u32).collect()),
                Some(picked) => Rows::Picked(picked),
            },
            excerpts: Vec::new(),
        };
        for (target, column) in key.into_iter().chain(value).chain(changed) {
            match (column.finish(len, fresh), target) {
                (Finished::Excerpt { from, starts, ends, nulls, inherited }, to) => {
                    output.excerpts.push(Excerpt { to, from, starts, ends, nulls, inherited });
                }
                (Finished::Change(change), Target::Key) => output.key = Some(change),
                (Finished::Change(change), Target::Value) => output.value = Some(change),
                (Finished::Change(change), Target::Attribute(name)) => {
                    output.attributes.push(AttributeChange { name, change });
                }
            }
        }
        output
    }
}

#[derive(Debug, Default)]
struct Times {
    nanoseconds: Vec<i64>,
    inherited: Vec<u32>,
}

impl Times {
    fn with_capacity(rows: usize) -> Self {
        Self { nanoseconds: Vec::with_capacity(rows), inherited: Vec::new() }
    }

    #[inline]
    fn catch_up(&mut self, len: usize) {
        while self.nanoseconds.len() < len {
            self.inherited.push(self.nanoseconds.len() as u32);
            self.nanoseconds.push(NO_TIME);
        }
    }

    fn finish(mut self, len: usize, fresh: bool) -> TimestampsChange {
        self.catch_up(len);
        let inherited = if fresh { Vec::new() } else { self.inherited };
        TimestampsChange { timestamps: self.nanoseconds, inherited }
    }
}

/// Whether two names are the same. For every record, calling a function to compare them would cost
/// more than this: most are short.
#[inline(always)]
fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    match (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        (Some(first), Some(other)) if a.len() <= 8 => {
            a.len() == b.len() && first == other && a.last_chunk::<4>() == b.last_chunk::<4>()
        }
        _ => a == b,
    }
}

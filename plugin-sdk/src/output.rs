//! Collects what a stage emits, column by column.

use crate::contract::{
    AttributeChange, Change, Output, Rejection as Rejected, Rows, TimestampsChange,
};
use crate::{NO_TIME, Port, Rejection};

/// Takes what a stage emits.
#[derive(Debug)]
pub struct Out {
    /// Rows that descend from the record at hand, by port.
    ports: Vec<PortRows>,
    /// Rows that descend from none, by port; empty until there is one.
    created: Vec<PortRows>,
    rejected: Vec<Rejected>,
    /// The input row at hand; meaningless where there is no input.
    row: u32,
    input_len: usize,
    /// There is no input: all rows are new.
    fresh: bool,
}

impl Out {
    /// For a batch of `input_len` rows.
    pub(crate) fn of_batch(ports: usize, input_len: usize) -> Self {
        let mut out = Self::fresh(ports);
        // A filter's answer then grows no vector inside the sandbox.
        out.ports[0].parents.reserve(input_len);
        Self { input_len, fresh: false, ..out }
    }

    /// For rows that descend from none.
    pub(crate) fn fresh(ports: usize) -> Self {
        let mut list = Vec::with_capacity(ports);
        list.resize_with(ports, PortRows::default);
        Self {
            ports: list,
            created: Vec::new(),
            rejected: Vec::new(),
            row: 0,
            input_len: 0,
            fresh: true,
        }
    }

    /// Emits the record at hand on the default port. All that the returned row does
    /// not change is inherited. Call it again to emit the record once more.
    #[inline]
    pub fn keep(&mut self) -> Row<'_> {
        self.send(Port(0))
    }

    /// As [`Out::keep`], on another port.
    #[inline]
    pub fn send(&mut self, port: Port) -> Row<'_> {
        let rows = &mut self.ports[port.0];
        let index = rows.parents.len();
        rows.parents.push(self.row);
        Row { rows, index }
    }

    /// Emits a new record on the default port. It inherits nothing: what is not set, it
    /// does not have. The new records of a batch come after those that were kept.
    pub fn create(&mut self) -> Row<'_> {
        self.create_on(Port(0))
    }

    /// As [`Out::create`], on another port.
    pub fn create_on(&mut self, port: Port) -> Row<'_> {
        if self.fresh {
            return self.send(port);
        }
        let ports = self.ports.len();
        self.created.resize_with(ports, PortRows::default);
        let rows = &mut self.created[port.0];
        let index = rows.parents.len();
        rows.parents.push(self.row); // To take them back, if the record is rejected.
        Row { rows, index }
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

    pub(crate) fn into_outcome(self) -> crate::contract::Outcome {
        let (fresh, input_len) = (self.fresh, self.input_len);
        let kept = (0..).zip(self.ports).map(|(port, rows)| (port, rows, fresh));
        let created = (0..).zip(self.created).map(|(port, rows)| (port, rows, true));
        let outputs = kept
            .chain(created)
            .filter(|(_, rows, _)| !rows.parents.is_empty())
            .map(|(port, rows, fresh)| rows.into_output(port, fresh, input_len))
            .collect();
        crate::contract::Outcome { outputs, rejected: self.rejected }
    }
}

/// A record on its way out: change what should be different.
#[derive(Debug)]
pub struct Row<'a> {
    rows: &'a mut PortRows,
    index: usize,
}

impl Row<'_> {
    /// Sets the value.
    #[inline]
    pub fn value(self, bytes: impl AsRef<[u8]>) -> Self {
        self.value_with(|value| value.extend_from_slice(bytes.as_ref()))
    }

    /// Sets the value to what `write` appends, without a buffer in between. What the
    /// vector already holds belongs to other records.
    #[inline]
    pub fn value_with(self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let rows = self.rows.parents.capacity();
        let value = self.rows.value.get_or_insert_with(|| Changed::with_capacity(rows));
        write(value.begin(self.index));
        value.end();
        self
    }

    /// Sets the key.
    #[inline]
    pub fn key(self, bytes: impl AsRef<[u8]>) -> Self {
        let rows = self.rows.parents.capacity();
        let key = self.rows.key.get_or_insert_with(|| Changed::with_capacity(rows));
        key.set(self.index, bytes.as_ref());
        self
    }

    /// Adds an attribute, or changes it.
    #[inline]
    pub fn attribute(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.rows.attribute(name).set(self.index, bytes.as_ref());
        self
    }

    /// Takes an attribute away.
    #[inline]
    pub fn remove_attribute(self, name: &str) -> Self {
        self.rows.attribute(name).set_null(self.index);
        self
    }

    /// Sets the time of the event, in nanoseconds since the Unix epoch.
    #[inline]
    pub fn timestamp(self, nanoseconds: i64) -> Self {
        let rows = self.rows.parents.capacity();
        let times = self.rows.times.get_or_insert_with(|| Times::with_capacity(rows));
        times.catch_up(self.index);
        times.nanoseconds.truncate(self.index);
        times.nanoseconds.push(nanoseconds);
        self
    }
}

/// The rows of one port, and the columns that some of them change.
#[derive(Debug, Default)]
struct PortRows {
    /// The input row of each; meaningless in `finish`.
    parents: Vec<u32>,
    times: Option<Times>,
    key: Option<Changed>,
    value: Option<Changed>,
    attributes: Vec<(String, Changed)>,
}

impl PortRows {
    #[inline(always)]
    fn attribute(&mut self, name: &str) -> &mut Changed {
        let found = self.attributes.iter().position(|(n, _)| n == name);
        let position = found.unwrap_or_else(|| self.add_attribute(name));
        &mut self.attributes[position].1
    }

    #[cold]
    fn add_attribute(&mut self, name: &str) -> usize {
        let column = Changed::with_capacity(self.parents.capacity());
        self.attributes.push((name.to_owned(), column));
        self.attributes.len() - 1
    }

    /// Forgets the rows at the end that descend from `row`.
    fn take_back(&mut self, row: u32) {
        while self.parents.last() == Some(&row) {
            self.parents.pop();
        }
        let len = self.parents.len();
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
        let len = self.parents.len();
        let identity = len == input_len && (0..).zip(&self.parents).all(|(i, &parent)| i == parent);
        let finish = |column: Changed| column.finish(len, fresh);
        let (removed, changed): (Vec<_>, Vec<_>) =
            self.attributes.into_iter().partition(|(_, column)| column.nulls.len() == len);
        Output {
            port,
            timestamps: self.times.map(|times| times.finish(len, fresh)),
            key: self.key.map(finish),
            value: self.value.map(finish),
            attributes: changed
                .into_iter()
                .map(|(name, column)| AttributeChange { name, change: finish(column) })
                .collect(),
            removed: removed.into_iter().map(|(name, _)| name).collect(),
            rows: match (fresh, identity) {
                (true, _) => Rows::Fresh(len as u32),
                (false, true) => Rows::All,
                (false, false) => Rows::Picked(self.parents),
            },
        }
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

/// A column that grows a row at a time; rows that nobody sets are inherited.
#[derive(Debug, Default)]
struct Changed {
    ends: Vec<u32>,
    data: Vec<u8>,
    nulls: Vec<u32>,
    inherited: Vec<u32>,
}

impl Changed {
    /// With room for the ends of so many rows, and for a few bytes of each.
    fn with_capacity(rows: usize) -> Self {
        let (ends, data) = (Vec::with_capacity(rows), Vec::with_capacity(8 * rows));
        Self { ends, data, ..Self::default() }
    }

    /// Makes `row` the next to be written, and gives the bytes to append to.
    #[inline]
    fn begin(&mut self, row: usize) -> &mut Vec<u8> {
        if self.ends.len() > row {
            self.truncate(row); // Set a second time: the last call wins.
        }
        while self.ends.len() < row {
            self.inherited.push(self.ends.len() as u32);
            self.ends.push(self.data.len() as u32);
        }
        &mut self.data
    }

    #[inline]
    fn end(&mut self) {
        self.ends.push(u32::try_from(self.data.len()).expect("a column holds less than 4 GiB"));
    }

    #[inline]
    fn set(&mut self, row: usize, bytes: &[u8]) {
        self.begin(row).extend_from_slice(bytes);
        self.end();
    }

    fn set_null(&mut self, row: usize) {
        self.begin(row);
        self.nulls.push(row as u32);
        self.end();
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.data.truncate(self.ends.last().map_or(0, |&end| end as usize));
        pop_from(&mut self.nulls, len);
        pop_from(&mut self.inherited, len);
    }

    fn finish(mut self, len: usize, fresh: bool) -> Change {
        self.begin(len);
        let Self { ends, data, mut nulls, mut inherited } = self;
        if fresh && !inherited.is_empty() {
            // Nothing to inherit from: what was not set is absent.
            nulls.append(&mut inherited);
            nulls.sort_unstable();
        }
        Change { ends, data, nulls, inherited }
    }
}

/// Drops the row numbers from `len` on, in an ascending list.
fn pop_from(rows: &mut Vec<u32>, len: usize) {
    while rows.last().is_some_and(|&row| row as usize >= len) {
        rows.pop();
    }
}

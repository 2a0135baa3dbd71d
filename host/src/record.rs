//! Batches of records: shared, immutable columns and selections over them.
//!
//! A batch is cheap to clone (fan-out copies nothing), and picking rows makes a
//! selection, not a copy: bytes move when something needs them contiguous, such as
//! the way into a sandbox.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Stands for "no time" in a column of timestamps, as in the contract.
pub const NO_TIME: i64 = i64::MIN;

/// Row numbers of some column.
pub type RowNumbers = Arc<Vec<u32>>;

/// Something with rows, of which some can be copied out.
pub trait Rows {
    fn len(&self) -> usize;
    fn gather(&self, rows: &[u32]) -> Self;
    /// Puts columns behind each other.
    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
}

/// A column of byte strings: row `i` is `data[ends[i - 1]..ends[i]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    pub ends: Vec<u32>,
    pub data: Vec<u8>,
    /// Rows without a value, ascending; usually empty.
    pub nulls: Vec<u32>,
}

impl Column {
    /// Appends a row. Columns stay below 4 GiB because batches are bounded.
    pub fn push(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None => self.nulls.push(self.ends.len() as u32),
        }
        self.ends.push(self.data.len() as u32);
    }

    /// A column of `len` rows that hold nothing.
    pub fn nulls(len: usize) -> Self {
        Self { ends: vec![0; len], data: Vec::new(), nulls: (0..len as u32).collect() }
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok() {
            return None;
        }
        Some(&self.data[self.range(row)])
    }

    fn range(&self, row: usize) -> Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        start..self.ends[row] as usize
    }
}

impl Rows for Column {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn gather(&self, rows: &[u32]) -> Self {
        let bytes = rows.iter().map(|&row| self.range(row as usize).len()).sum();
        let mut out = Self {
            ends: Vec::with_capacity(rows.len()),
            data: Vec::with_capacity(bytes),
            nulls: Vec::new(),
        };
        for &row in rows {
            out.data.extend_from_slice(&self.data[self.range(row as usize)]);
            out.ends.push(out.data.len() as u32);
        }
        if !self.nulls.is_empty() {
            let null = |row: &u32| self.nulls.binary_search(row).is_ok();
            out.nulls = (0..).zip(rows).filter(|(_, row)| null(row)).map(|(i, _)| i).collect();
        }
        out
    }

    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut out = Self::default();
        for part in parts {
            let (rows, bytes) = (out.ends.len() as u32, out.data.len() as u32);
            out.data.extend_from_slice(&part.data);
            out.ends.extend(part.ends.iter().map(|end| bytes + end));
            out.nulls.extend(part.nulls.iter().map(|row| rows + row));
        }
        out
    }
}

/// Nanoseconds since the Unix epoch, or [`NO_TIME`].
pub type Times = Vec<i64>;

impl Rows for Times {
    fn len(&self) -> usize {
        self.len()
    }

    fn gather(&self, rows: &[u32]) -> Self {
        rows.iter().map(|&row| self[row as usize]).collect()
    }

    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        parts.flatten().copied().collect()
    }
}

/// Where a record came from: the input and its number there, from 1 (of a file of
/// lines, the line).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub place: Arc<str>,
    pub number: u64,
}

/// The origins of rows, as runs of consecutive records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// For each run the row after its last one, and the origin of its first.
    runs: Vec<(u32, Origin)>,
}

impl Origins {
    /// Appends a row.
    pub fn push(&mut self, place: &Arc<str>, number: u64) {
        let row = self.len() as u32;
        let start = self.runs.len().checked_sub(2).map_or(0, |before| self.runs[before].0);
        match self.runs.last_mut() {
            Some((end, first))
                if first.number + u64::from(row - start) == number && first.place == *place =>
            {
                *end += 1;
            }
            _ => self.runs.push((row + 1, Origin { place: place.clone(), number })),
        }
    }

    /// `len` rows of one origin.
    pub fn repeat(origin: &Origin, len: usize) -> Self {
        let mut out = Self::default();
        for _ in 0..len {
            out.push(&origin.place, origin.number);
        }
        out
    }

    pub fn get(&self, row: usize) -> Origin {
        let run = self.runs.partition_point(|(end, _)| *end as usize <= row);
        let start = if run == 0 { 0 } else { self.runs[run - 1].0 };
        let first = &self.runs[run].1;
        Origin { place: first.place.clone(), number: first.number + (row as u64 - u64::from(start)) }
    }
}

impl Rows for Origins {
    fn len(&self) -> usize {
        self.runs.last().map_or(0, |(end, _)| *end as usize)
    }

    fn gather(&self, rows: &[u32]) -> Self {
        let mut out = Self::default();
        for &row in rows {
            let origin = self.get(row as usize);
            out.push(&origin.place, origin.number);
        }
        out
    }

    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut out = Self::default();
        for part in parts {
            let rows = out.len() as u32;
            out.runs.extend(part.runs.iter().map(|(end, first)| (rows + end, first.clone())));
        }
        out
    }
}

/// A shared column, or some of its rows.
#[derive(Debug)]
pub struct Selected<T> {
    base: Arc<T>,
    /// None: all of them, in order.
    rows: Option<RowNumbers>,
}

impl<T> Clone for Selected<T> {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), rows: self.rows.clone() }
    }
}

impl<T: Rows> Selected<T> {
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or_else(|| self.base.len(), |rows| rows.len())
    }

    fn base_row(&self, row: usize) -> usize {
        self.rows.as_ref().map_or(row, |rows| rows[row] as usize)
    }

    /// The column with just these rows; copies only if it is a selection.
    pub fn contiguous(&self) -> Arc<T> {
        match &self.rows {
            None => self.base.clone(),
            Some(rows) => Arc::new(self.base.gather(rows)),
        }
    }

    fn concat(parts: &[Self]) -> Self {
        let parts: Vec<_> = parts.iter().map(Self::contiguous).collect();
        T::concat(parts.iter().map(AsRef::as_ref)).into()
    }
}

impl<T> From<T> for Selected<T> {
    fn from(base: T) -> Self {
        Self { base: Arc::new(base), rows: None }
    }
}

impl Selected<Column> {
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.base.get(self.base_row(row))
    }

    /// Bytes of data, without copying.
    fn bytes(&self) -> usize {
        match &self.rows {
            None => self.base.data.len(),
            Some(rows) => rows.iter().map(|&row| self.base.range(row as usize).len()).sum(),
        }
    }
}

impl Selected<Times> {
    pub fn get(&self, row: usize) -> Option<i64> {
        Some(self.base[self.base_row(row)]).filter(|&time| time != NO_TIME)
    }
}

/// Composes selections with one more, once for each that several columns share.
struct Picking {
    rows: RowNumbers,
    composed: Vec<(RowNumbers, RowNumbers)>,
}

impl Picking {
    fn pick<T>(&mut self, column: &Selected<T>) -> Selected<T> {
        let rows = match &column.rows {
            None => self.rows.clone(),
            Some(outer) => match self.composed.iter().find(|(from, _)| Arc::ptr_eq(from, outer)) {
                Some((_, to)) => to.clone(),
                None => {
                    let to: RowNumbers =
                        Arc::new(self.rows.iter().map(|&row| outer[row as usize]).collect());
                    self.composed.push((outer.clone(), to.clone()));
                    to
                }
            },
        };
        Selected { base: column.base.clone(), rows: Some(rows) }
    }
}

/// A named column of byte strings.
pub type Attribute = (Arc<str>, Selected<Column>);

/// Records, column by column. Every column that is present has `len` rows.
#[derive(Debug, Clone)]
pub struct Batch {
    pub len: usize,
    pub timestamps: Option<Selected<Times>>,
    pub key: Option<Selected<Column>>,
    pub value: Option<Selected<Column>>,
    pub attributes: Vec<Attribute>,
    pub origins: Selected<Origins>,
}

impl Batch {
    pub fn attribute(&self, name: &str) -> Option<&Selected<Column>> {
        self.attributes.iter().find(|(n, _)| &**n == name).map(|(_, column)| column)
    }

    /// These rows, in this order; a row may come several times.
    pub fn pick(&self, rows: RowNumbers) -> Self {
        let len = rows.len();
        let mut picking = Picking { rows, composed: Vec::new() };
        Self {
            len,
            timestamps: self.timestamps.as_ref().map(|column| picking.pick(column)),
            key: self.key.as_ref().map(|column| picking.pick(column)),
            value: self.value.as_ref().map(|column| picking.pick(column)),
            attributes: (self.attributes.iter())
                .map(|(name, column)| (name.clone(), picking.pick(column)))
                .collect(),
            origins: picking.pick(&self.origins),
        }
    }

    /// A range of rows.
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.pick(Arc::new((range.start as u32..range.end as u32).collect()))
    }

    /// Bytes that the records hold, not counting what the columns cost beside.
    pub fn bytes(&self) -> usize {
        let columns = self.key.iter().chain(&self.value);
        columns.chain(self.attributes.iter().map(|(_, c)| c)).map(Selected::bytes).sum::<usize>()
            + self.timestamps.as_ref().map_or(0, |times| times.len() * size_of::<i64>())
    }

    /// Puts batches behind each other. A column that only some have is null in the
    /// rows of the others.
    pub fn concat(parts: &[Self]) -> Self {
        if let [one] = parts {
            return one.clone();
        }
        fn column(parts: &[Batch], get: impl Fn(&Batch) -> Option<&Selected<Column>>) -> Option<Selected<Column>> {
            parts.iter().any(|part| get(part).is_some()).then(|| {
                let absent = |part: &Batch| Column::nulls(part.len).into();
                let columns: Vec<Selected<Column>> = (parts.iter())
                    .map(|part| get(part).cloned().unwrap_or_else(|| absent(part)))
                    .collect();
                Selected::concat(&columns)
            })
        }
        let mut names: Vec<&Arc<str>> = Vec::new();
        for (name, _) in parts.iter().flat_map(|part| &part.attributes) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let timestamps = parts.iter().any(|part| part.timestamps.is_some()).then(|| {
            let absent = |part: &Self| vec![NO_TIME; part.len].into();
            let times: Vec<_> = (parts.iter())
                .map(|part| part.timestamps.clone().unwrap_or_else(|| absent(part)))
                .collect();
            Selected::concat(&times)
        });
        let origins: Vec<_> = parts.iter().map(|part| part.origins.clone()).collect();
        Self {
            len: parts.iter().map(|part| part.len).sum(),
            timestamps,
            key: column(parts, |part| part.key.as_ref()),
            value: column(parts, |part| part.value.as_ref()),
            attributes: names
                .into_iter()
                .map(|name| {
                    let joined = column(parts, |part| part.attribute(name));
                    (name.clone(), joined.expect("the name comes from one of the parts"))
                })
                .collect(),
            origins: Selected::concat(&origins),
        }
    }

    /// A record, copied out.
    pub fn record(&self, row: usize) -> Record {
        let copy = |column: &Selected<Column>| column.get(row).map(<[u8]>::to_vec);
        Record {
            timestamp: self.timestamps.as_ref().and_then(|times| times.get(row)),
            key: self.key.as_ref().and_then(copy),
            value: self.value.as_ref().and_then(copy),
            attributes: (self.attributes.iter())
                .filter_map(|(name, column)| Some((name.to_string(), copy(column)?)))
                .collect(),
        }
    }

    pub fn origin(&self, row: usize) -> Origin {
        self.origins.base.get(self.origins.base_row(row))
    }
}

/// One record, on its own: as frames and dead letters hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Nanoseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// Builds a batch record by record: the way in, from codecs and generators.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    len: usize,
    bytes: usize,
    timestamps: Option<Times>,
    key: Option<Column>,
    value: Option<Column>,
    attributes: Vec<(Arc<str>, Column)>,
    origins: Origins,
}

impl BatchBuilder {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record that has a value alone: what most sources make.
    pub fn push_value(&mut self, place: &Arc<str>, number: u64, value: &[u8]) {
        self.push(place, number, None, None, Some(value), std::iter::empty());
    }

    /// Appends a record.
    pub fn push<'a>(
        &mut self,
        place: &Arc<str>,
        number: u64,
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        attributes: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) {
        let row = self.len;
        if timestamp.is_some() || self.timestamps.is_some() {
            let times = self.timestamps.get_or_insert_with(|| vec![NO_TIME; row]);
            times.push(timestamp.unwrap_or(NO_TIME));
        }
        for (column, bytes) in [(&mut self.key, key), (&mut self.value, value)] {
            if bytes.is_some() || column.is_some() {
                column.get_or_insert_with(|| Column::nulls(row)).push(bytes);
            }
            self.bytes += bytes.map_or(0, <[u8]>::len);
        }
        for (name, bytes) in attributes {
            let at = self.attributes.iter().position(|(n, _)| &**n == name).unwrap_or_else(|| {
                self.attributes.push((name.into(), Column::nulls(row)));
                self.attributes.len() - 1
            });
            let column = &mut self.attributes[at].1;
            if column.len() == row {
                column.push(Some(bytes)); // A name that comes twice: the first counts.
                self.bytes += bytes.len();
            }
        }
        for (_, column) in &mut self.attributes {
            if column.len() == row {
                column.push(None);
            }
        }
        self.origins.push(place, number);
        self.len += 1;
    }

    /// Appends a record that stands on its own.
    pub fn push_record(&mut self, place: &Arc<str>, number: u64, record: &Record) {
        let attributes = record.attributes.iter().map(|(name, bytes)| (&**name, &**bytes));
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.push(place, number, record.timestamp, key, value, attributes);
    }

    /// The batch so far; the builder starts anew.
    pub fn take(&mut self) -> Batch {
        let built = std::mem::take(self);
        Batch {
            len: built.len,
            timestamps: built.timestamps.map(Into::into),
            key: built.key.map(Into::into),
            value: built.value.map(Into::into),
            attributes: built.attributes.into_iter().map(|(name, c)| (name, c.into())).collect(),
            origins: built.origins.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(batch: &Batch) -> Vec<Record> {
        (0..batch.len).map(|row| batch.record(row)).collect()
    }

    fn batch(values: &[&str]) -> Batch {
        let mut builder = BatchBuilder::default();
        for (number, value) in (1..).zip(values) {
            let attribute = [("first", &value.as_bytes()[..1])];
            let attributes = attribute.into_iter().filter(|_| number % 2 == 1);
            builder.push(&"test".into(), number, None, None, Some(value.as_bytes()), attributes);
        }
        builder.take()
    }

    #[test]
    fn a_pick_of_a_pick_is_what_it_says() {
        let all = batch(&["a0", "b1", "c2", "d3"]);
        let picked = all.pick(Arc::new(vec![3, 1, 0, 0])).pick(Arc::new(vec![2, 0]));
        assert_eq!(records(&picked), [all.record(0), all.record(3)]);
        assert_eq!(picked.value.as_ref().unwrap().contiguous().data, b"a0d3");
        assert_eq!([picked.origin(0).number, picked.origin(1).number], [1, 4]);
        assert_eq!(picked.bytes(), "a0d3a".len());
    }

    #[test]
    fn concat_fills_what_a_part_lacks() {
        let (first, second) = (batch(&["a", "b"]), {
            let mut builder = BatchBuilder::default();
            builder.push(&"other".into(), 9, Some(5), Some(b"k"), None, std::iter::empty());
            builder.take()
        });
        let joined = Batch::concat(&[first.clone(), second.clone(), first.slice(1..2)]);
        let expected = [first.record(0), first.record(1), second.record(0), first.record(1)];
        assert_eq!(records(&joined), expected);
        assert_eq!(joined.origin(2), Origin { place: "other".into(), number: 9 });
    }

    #[test]
    fn origins_are_runs() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut origins = Origins::default();
        for (place, number) in [(&a, 1), (&a, 2), (&b, 3), (&b, 5), (&b, 6)] {
            origins.push(place, number);
        }
        assert_eq!(origins.runs.len(), 3);
        let numbers: Vec<_> = (0..5).map(|row| origins.get(row).number).collect();
        assert_eq!(numbers, [1, 2, 3, 5, 6]);
        assert_eq!(origins.gather(&[4, 0, 1]).get(2), Origin { place: a, number: 2 });
    }
}

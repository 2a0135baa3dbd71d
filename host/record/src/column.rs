//! Columns: what a batch is made of.

use std::ops::Range;
use std::sync::Arc;

/// Stands for "no time" in a column of timestamps, as in the contract.
pub const NO_TIME: i64 = i64::MIN;

/// The rows of a column, some of which can be copied out.
pub trait Rows {
    fn count(&self) -> usize;
    /// Whether the rows are contiguous, as the contract requires.
    fn is_contiguous(&self) -> bool {
        true
    }
    fn gather(&self, rows: &[u32]) -> Self;
    /// Concatenates columns.
    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
}

/// A column of byte strings: row `i` is `data[ends[i - 1]..ends[i]]`, or a part of another
/// column's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    pub ends: Vec<u32>,
    pub data: Vec<u8>,
    /// Rows without a value, ascending; usually empty.
    pub nulls: Vec<u32>,
    pub excerpt: Option<Excerpt>,
}

/// Row `i` of such a column is `from.data[starts[i]..ends[i]]`; it has no data of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    pub starts: Vec<u32>,
    /// Must be contiguous.
    pub from: Arc<Column>,
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

    /// A column of `len` rows, all null.
    pub fn nulls(len: usize) -> Self {
        Self { ends: vec![0; len], nulls: (0..len as u32).collect(), ..Self::default() }
    }

    /// Reserves room for this many rows, and bytes in them.
    pub fn with_room(mut self, rows: usize, bytes: usize) -> Self {
        self.ends.reserve(rows);
        self.data.reserve(bytes);
        self
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok() {
            return None;
        }
        Some(self.bytes(row))
    }

    fn bytes(&self, row: usize) -> &[u8] {
        let data = self.excerpt.as_ref().map_or(&self.data, |excerpt| &excerpt.from.data);
        &data[self.range(row)]
    }

    /// The range of a row in the data.
    pub fn range(&self, row: usize) -> Range<usize> {
        let start = match &self.excerpt {
            Some(excerpt) => excerpt.starts[row] as usize,
            None if row == 0 => 0,
            None => self.ends[row - 1] as usize,
        };
        start..self.ends[row] as usize
    }

    /// Bytes of data that the column keeps in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.excerpt.as_ref().map_or(&self.data, |excerpt| &excerpt.from.data).len()
    }

    /// Bytes of all rows together.
    pub(super) fn row_bytes(&self) -> usize {
        match &self.excerpt {
            None => self.data.len(),
            Some(excerpt) => bytes_between(&excerpt.starts, &self.ends),
        }
    }
}

/// The sum of all lengths `ends[i] - starts[i]`.
pub fn bytes_between(starts: &[u32], ends: &[u32]) -> usize {
    starts.iter().zip(ends).map(|(start, end)| end.saturating_sub(*start) as usize).sum()
}

impl Rows for Column {
    fn count(&self) -> usize {
        self.ends.len()
    }

    fn is_contiguous(&self) -> bool {
        self.excerpt.is_none()
    }

    fn gather(&self, rows: &[u32]) -> Self {
        let bytes = rows.iter().map(|&row| self.range(row as usize).len()).sum();
        let mut out = Self {
            ends: Vec::with_capacity(rows.len()),
            data: Vec::with_capacity(bytes),
            ..Self::default()
        };
        for &row in rows {
            out.data.extend_from_slice(self.bytes(row as usize));
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
    fn count(&self) -> usize {
        self.len()
    }

    fn gather(&self, rows: &[u32]) -> Self {
        rows.iter().map(|&row| self[row as usize]).collect()
    }

    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        parts.flatten().copied().collect()
    }
}

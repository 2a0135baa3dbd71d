//! The view of a record: a row number over borrowed columns.

use crate::driver::contract::Given;
use crate::{Field, NO_TIME, Time};

/// A borrowed column: the contract's `column`, with its nulls as bits for a quick check. One
/// without rows stands for a column that the batch does not have.
#[derive(Debug, Clone, Default)]
pub struct Column<'a> {
    ends: &'a [u32],
    data: &'a [u8],
    /// One bit per row; empty if no row is null.
    nulls: Vec<u64>,
}

impl<'a> Column<'a> {
    /// `ends`, `data` and `nulls` as in the contract's `column`.
    pub fn new(ends: &'a [u32], data: &'a [u8], nulls: &[u32]) -> Self {
        let mut bits = Vec::new();
        if !nulls.is_empty() {
            bits.resize(ends.len().div_ceil(64), 0);
            for &row in nulls {
                bits[row as usize / 64] |= 1 << (row % 64);
            }
        }
        Self { ends, data, nulls: bits }
    }

    /// Written without a branch that can panic: this runs for every record.
    #[inline(always)]
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(row)? as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        if !self.nulls.is_empty() && self.is_null(row) {
            return None;
        }
        self.data.get(start..end)
    }

    #[cold]
    fn is_null(&self, row: usize) -> bool {
        self.nulls[row / 64] >> (row % 64) & 1 == 1
    }
}

/// A batch as a stage gets it: the columns that its plan reads.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    len: usize,
    timestamps: Option<&'a [i64]>,
    /// Indexed by [`Field`]: the key, the value, then the attributes in the plan's order.
    columns: Vec<Column<'a>>,
    /// Index of the input that the batch came in by.
    input: u32,
}

impl<'a> Input<'a> {
    /// A batch of `len` rows; `attributes` in the order of the plan.
    pub fn new(
        len: usize,
        timestamps: Option<&'a [i64]>,
        key: Option<Column<'a>>,
        value: Option<Column<'a>>,
        attributes: impl IntoIterator<Item = Option<Column<'a>>>,
    ) -> Self {
        let columns = [key, value].into_iter().chain(attributes);
        let columns = columns.map(Option::unwrap_or_default).collect();
        Self { len, timestamps, columns, input: 0 }
    }

    /// The same batch, by this input instead of the first one.
    pub fn by(self, input: u32) -> Self {
        Self { input, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Column, start and end of bytes that are part of a given column.
    pub(crate) fn place_of(&self, bytes: &[u8]) -> Option<(usize, u32, u32)> {
        (0..self.columns.len()).find_map(|column| {
            let (start, end) = self.place_in(column, bytes)?;
            Some((column, start, end))
        })
    }

    /// Start and end of bytes in this column. For empty bytes, any position will do.
    #[inline(always)]
    pub(crate) fn place_in(&self, column: usize, bytes: &[u8]) -> Option<(u32, u32)> {
        let data = self.columns.get(column)?.data;
        if bytes.is_empty() {
            return Some((0, 0));
        }
        // Compares addresses as numbers: bytes elsewhere are out of range.
        let start = (bytes.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let end = start.wrapping_add(bytes.len());
        (start < data.len() && end <= data.len()).then_some((start as u32, end as u32))
    }

    /// The bytes at a position that [`Input::place_in`] returned.
    pub(crate) fn bytes_at(&self, column: usize, start: u32, end: u32) -> &[u8] {
        &self.columns[column].data[start as usize..end as usize]
    }

    /// A column as the contract names it.
    pub(crate) fn given(column: usize) -> Given {
        match Field(column) {
            Field::KEY => Given::Key,
            Field::VALUE => Given::Value,
            Field(column) => Given::Attribute((column - Field::FIRST_ATTRIBUTE) as u32),
        }
    }

    #[inline(always)]
    pub(crate) fn record(&self, row: usize) -> Record<'_> {
        Record { input: self, row }
    }
}

/// One record. The stage sees the columns that it declared in [`Stage::open`](crate::Stage::open).
///
/// `process` takes it by reference. By value, its two words would need more arguments than the
/// machine has registers for. The one on the stack, written as 32 bits and read as 64, stalls the
/// processor in every call: that was half the time of a filter.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    input: &'a Input<'a>,
    row: usize,
}

impl<'a> Record<'a> {
    /// The bytes of a column, or `None` if the record is null there.
    #[inline(always)]
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        self.input.columns.get(field.0)?.get(self.row)
    }

    /// Whether the record came in by this input.
    #[inline]
    pub fn is_from(&self, input: crate::InputId) -> bool {
        self.input.input == input.0
    }

    /// The timestamp: when the event happened, in nanoseconds since the Unix epoch.
    #[inline]
    pub fn timestamp(&self, _declared: Time) -> Option<i64> {
        self.input.timestamps.map(|times| times[self.row]).filter(|&time| time != NO_TIME)
    }
}

//! The view of a record: a row number over borrowed columns.

use std::cell::Cell;

use crate::{Field, NO_TIME, Time};

/// A borrowed column: the contract's `column`, with its nulls made quick to ask.
#[derive(Debug, Clone)]
pub struct Column<'a> {
    ends: &'a [u32],
    data: &'a [u8],
    /// A bit a row; empty where no row is null.
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

    #[inline]
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        if !self.nulls.is_empty() && self.nulls[row / 64] >> (row % 64) & 1 == 1 {
            return None;
        }
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        Some(&self.data[start..self.ends[row] as usize])
    }
}

/// A batch as a stage gets it: the columns that its plan reads.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    len: usize,
    /// The row that a [`Record`] shows.
    row: Cell<usize>,
    timestamps: Option<&'a [i64]>,
    /// By [`Field`]: the key, the value, then the attributes in the plan's order.
    columns: Vec<Option<Column<'a>>>,
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
        let columns = [key, value].into_iter().chain(attributes).collect();
        Self { len, row: Cell::new(0), timestamps, columns }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn record(&self, row: usize) -> Record<'_> {
        self.row.set(row);
        Record { input: self }
    }
}

/// One record, of which the stage sees what it declared in
/// [`Stage::open`](crate::Stage::open).
///
/// One pointer, and not a pointer and a row: with the two, a call of `process` has more
/// arguments than the machine has registers for, and the one on the stack, written as 32
/// bits and read as 64, stalls the processor in every call. That was half the time of a
/// filter.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    input: &'a Input<'a>,
}

impl<'a> Record<'a> {
    /// The bytes of a column, or none if the record has no such value.
    #[inline]
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        self.input.columns[field.0].as_ref()?.get(self.input.row.get())
    }

    /// When the event happened, in nanoseconds since the Unix epoch.
    #[inline]
    pub fn timestamp(&self, _declared: Time) -> Option<i64> {
        self.input
            .timestamps
            .map(|times| times[self.input.row.get()])
            .filter(|&time| time != NO_TIME)
    }
}

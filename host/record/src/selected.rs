//! Selections: rows of shared columns, picked without a copy.

use std::sync::Arc;

use crate::{Column, NO_TIME, Rows, Times};

/// Row numbers in a column.
pub type RowNumbers = Arc<Vec<u32>>;

/// A shared column, or some of its rows.
#[derive(Debug)]
pub struct Selected<T> {
    pub(super) base: Arc<T>,
    /// `None`: all of them, in order.
    pub(super) rows: Option<RowNumbers>,
}

impl<T> Clone for Selected<T> {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), rows: self.rows.clone() }
    }
}

impl<T: Rows> Selected<T> {
    pub(super) fn count(&self) -> usize {
        self.rows.as_ref().map_or_else(|| self.base.count(), |rows| rows.len())
    }

    pub(super) fn base_row(&self, row: usize) -> usize {
        self.rows.as_ref().map_or(row, |rows| rows[row] as usize)
    }

    /// The column with only the selected rows; copies unless they are contiguous.
    pub fn contiguous(&self) -> Arc<T> {
        match &self.rows {
            None if self.base.is_contiguous() => self.base.clone(),
            None => Arc::new(self.base.gather(&(0..self.base.count() as u32).collect::<Vec<_>>())),
            Some(rows) => Arc::new(self.base.gather(rows)),
        }
    }

    /// Copies the selected rows if most rows are not selected, which frees those.
    pub(super) fn compact(&mut self) {
        if self.count() * 2 < self.base.count() {
            *self = Self { base: self.contiguous(), rows: None };
        }
    }

    pub(super) fn concat(parts: &[Self]) -> Self {
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

    pub(super) fn row_bytes(&self, row: usize) -> usize {
        self.base.range(self.base_row(row)).len()
    }

    /// As [`Selected::compact`], decided by bytes: few rows can hold nearly all bytes, and many
    /// rows nearly none.
    pub(super) fn compact_bytes(&mut self) {
        let rows = |count: usize| count * size_of::<u32>();
        let held = self.base.held_bytes() + rows(self.base.count());
        if (self.bytes() + rows(self.count())) * 2 < held {
            *self = Self { base: self.contiguous(), rows: None };
        }
    }

    /// Bytes that the column keeps in memory, shared or not; without the row numbers, which columns
    /// share.
    pub(super) fn held_bytes(&self) -> usize {
        self.base.held_bytes() + self.base.count() * size_of::<u32>()
    }

    /// Number of rows that are not null.
    pub(super) fn there(&self) -> usize {
        let nulls = &self.base.nulls;
        match &self.rows {
            None => self.base.count() - nulls.len(),
            Some(rows) if nulls.is_empty() => rows.len(),
            Some(rows) => rows.iter().filter(|row| nulls.binary_search(row).is_err()).count(),
        }
    }

    /// Bytes of the selected rows, computed without copying.
    pub(super) fn bytes(&self) -> usize {
        match &self.rows {
            None => self.base.row_bytes(),
            Some(rows) => rows.iter().map(|&row| self.base.range(row as usize).len()).sum(),
        }
    }
}

impl Selected<Times> {
    pub fn get(&self, row: usize) -> Option<i64> {
        Some(self.base[self.base_row(row)]).filter(|&time| time != NO_TIME)
    }

    /// The latest timestamp; `None` if no row has one.
    pub fn latest(&self) -> Option<i64> {
        self.latest_until(i64::MAX)
    }

    /// The latest timestamp that is not later than `bound`.
    pub fn latest_until(&self, bound: i64) -> Option<i64> {
        let within = |time: &i64| *time <= bound;
        let latest = match &self.rows {
            None => self.base.iter().copied().filter(within).max(),
            Some(rows) => rows.iter().map(|&row| self.base[row as usize]).filter(within).max(),
        };
        latest.filter(|&time| time != NO_TIME)
    }
}

/// Combines a new selection with existing ones: once for all columns that share one.
pub(super) struct Picking {
    rows: RowNumbers,
    composed: Vec<(RowNumbers, RowNumbers)>,
}

impl Picking {
    pub(super) fn new(rows: RowNumbers) -> Self {
        Self { rows, composed: Vec::new() }
    }

    pub(super) fn pick<T>(&mut self, column: &Selected<T>) -> Selected<T> {
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

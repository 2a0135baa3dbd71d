//! A column of an output, written row by row.

use crate::driver::Input;
use crate::driver::contract::{Change, Given};

/// A column that grows a row at a time; rows that are not set are inherited.
///
/// While everything that is set is a part of one of the columns that the stage was given, it stores
/// only positions in that column and no bytes.
#[derive(Debug, Default)]
pub(crate) struct ChangedColumn {
    ends: Vec<u32>,
    data: Vec<u8>,
    nulls: Vec<u32>,
    inherited: Vec<u32>,
    excerpt: Option<Places>,
}

/// Where rows begin in a column that the stage was given; `ends` tells where they end.
#[derive(Debug)]
struct Places {
    column: usize,
    starts: Vec<u32>,
}

/// A column in the form of the contract.
pub(crate) enum Finished {
    Change(Change),
    Excerpt { from: Given, starts: Vec<u32>, ends: Vec<u32>, nulls: Vec<u32>, inherited: Vec<u32> },
}

impl ChangedColumn {
    /// Reserves room for the ends of this many rows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { ends: Vec::with_capacity(rows), ..Self::default() }
    }

    /// Sets a row.
    #[inline(always)]
    pub(crate) fn set(&mut self, row: usize, bytes: &[u8], input: Option<&Input<'_>>) {
        // The fast path: a parser comes here for every record.
        if let (Some(places), Some(input)) = (&mut self.excerpt, input)
            && self.ends.len() == row
            && let Some((start, end)) = input.place_in(places.column, bytes)
        {
            places.starts.push(start);
            self.ends.push(end);
            return;
        }
        self.set_any(row, bytes, input);
    }

    fn set_any(&mut self, row: usize, bytes: &[u8], input: Option<&Input<'_>>) {
        self.catch_up(row);
        if let Some(places) = &mut self.excerpt {
            let input = input.expect("an excerpt has what it is taken from");
            if let Some((start, end)) = input.place_in(places.column, bytes) {
                places.starts.push(start);
                self.ends.push(end);
                return;
            }
            self.write_out(input);
        } else if self.data.is_empty() && !bytes.is_empty() && self.begin_excerpt(bytes, input) {
            return;
        }
        self.data.extend_from_slice(bytes);
        self.end();
    }

    /// Sets a row to what `write` appends.
    #[inline]
    pub(crate) fn set_with(
        &mut self,
        row: usize,
        input: Option<&Input<'_>>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.catch_up(row);
        if let (Some(_), Some(input)) = (&self.excerpt, input) {
            self.write_out(input);
        }
        write(&mut self.data);
        self.end();
    }

    pub(crate) fn set_null(&mut self, row: usize) {
        self.catch_up(row);
        self.nulls.push(row as u32);
        self.push_nothing();
    }

    /// Makes `row` the next to be set.
    #[inline]
    fn catch_up(&mut self, row: usize) {
        if self.ends.len() > row {
            self.truncate(row); // Set again: the last call wins.
        }
        while self.ends.len() < row {
            self.inherited.push(self.ends.len() as u32);
            self.push_nothing();
        }
    }

    fn push_nothing(&mut self) {
        match &mut self.excerpt {
            Some(places) => {
                places.starts.push(0);
                self.ends.push(0);
            }
            None => self.ends.push(self.data.len() as u32),
        }
    }

    #[inline]
    fn end(&mut self) {
        self.ends.push(u32::try_from(self.data.len()).expect("a column holds less than 4 GiB"));
    }

    /// Stores positions from here on, if the first bytes that are set are part of a given column.
    /// The rows before hold nothing.
    #[cold]
    fn begin_excerpt(&mut self, bytes: &[u8], input: Option<&Input<'_>>) -> bool {
        let Some((column, start, end)) = input.and_then(|input| input.place_of(bytes)) else {
            return false;
        };
        let mut starts = Vec::with_capacity(self.ends.capacity());
        starts.resize(self.ends.len(), 0);
        starts.push(start);
        self.ends.push(end);
        self.excerpt = Some(Places { column, starts });
        true
    }

    /// Something is set that is in no given column: from here on, bytes are stored.
    #[cold]
    fn write_out(&mut self, input: &Input<'_>) {
        let Some(Places { column, starts }) = self.excerpt.take() else { return };
        for (start, end) in starts.into_iter().zip(&mut self.ends) {
            self.data.extend_from_slice(input.bytes_at(column, start, *end));
            *end = self.data.len() as u32;
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        match &mut self.excerpt {
            Some(places) => places.starts.truncate(len),
            None => self.data.truncate(self.ends.last().map_or(0, |&end| end as usize)),
        }
        pop_from(&mut self.nulls, len);
        pop_from(&mut self.inherited, len);
    }

    /// Whether all of `len` rows are null.
    pub(crate) fn is_all_null(&self, len: usize) -> bool {
        self.nulls.len() == len
    }

    /// Finishes the column with `len` rows; `fresh` rows have nothing to inherit.
    pub(crate) fn finish(mut self, len: usize, fresh: bool) -> Finished {
        self.catch_up(len);
        let Self { ends, data, mut nulls, mut inherited, excerpt } = self;
        if fresh && !inherited.is_empty() {
            // Nothing to inherit from: rows that were not set are null.
            nulls.append(&mut inherited);
            nulls.sort_unstable();
        }
        match excerpt {
            None => Finished::Change(Change { ends, data, nulls, inherited }),
            Some(Places { column, starts }) => {
                let from = Input::given(column);
                Finished::Excerpt { from, starts, ends, nulls, inherited }
            }
        }
    }
}

/// Removes row numbers from `len` on from an ascending list.
pub(crate) fn pop_from(rows: &mut Vec<u32>, len: usize) {
    while rows.last().is_some_and(|&row| row as usize >= len) {
        rows.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Column;

    /// Sets row by row; `None` is a row that is not set.
    fn changed(input: &Input<'_>, rows: &[Option<&[u8]>]) -> Finished {
        let mut column = ChangedColumn::with_capacity(4);
        for (row, bytes) in rows.iter().enumerate() {
            if let Some(bytes) = bytes {
                column.set(row, bytes, Some(input));
            }
        }
        column.finish(rows.len(), false)
    }

    #[test]
    fn parts_of_what_was_given_are_places_until_something_else_is_set() {
        let (ends, data) = ([5, 10], *b"onetwothree");
        let value = Column::new(&ends, &data[..10], &[]);
        let input = Input::new(2, None, None, Some(value), []);
        let (one, two) = (&data[..3], &data[3..6]);
        let Finished::Excerpt { from: Given::Value, starts, ends, nulls, inherited } =
            changed(&input, &[None, Some(one), Some(b""), Some(two)])
        else {
            panic!("all of it is a part of the value")
        };
        assert_eq!((starts, ends), (vec![0, 0, 0, 3], vec![0, 3, 0, 6]));
        assert_eq!((nulls, inherited), (vec![], vec![0]));

        let Finished::Change(change) = changed(&input, &[None, Some(two), Some(b"new"), Some(one)])
        else {
            panic!("something is not a part of the value")
        };
        assert_eq!((&*change.data, change.ends), (&b"twonewone"[..], vec![0, 3, 6, 9]));
        assert_eq!(change.inherited, [0]);
        // The end of the given bytes, and one byte more.
        let Finished::Change(_) = changed(&input, &[Some(&data[5..])]) else {
            panic!("its last byte was not given")
        };
    }

    #[test]
    fn a_row_that_is_set_a_second_time_and_one_that_is_taken_back_leave_nothing() {
        let value = Column::new(&[3], b"abc", &[]);
        let input = Input::new(1, None, None, Some(value), []);
        let part = |from: usize| input.bytes_at(1, from as u32, 3);
        let mut column = ChangedColumn::with_capacity(1);
        column.set(0, part(1), Some(&input));
        column.set(0, part(2), Some(&input));
        column.set_null(1);
        column.set(2, part(0), Some(&input));
        column.truncate(2);
        let Finished::Excerpt { starts, ends, nulls, .. } = column.finish(2, false) else {
            panic!("all of it is a part of the value")
        };
        assert_eq!((starts, ends, nulls), (vec![2, 0], vec![3, 0], vec![1]));
    }
}

//! Building a batch record by record.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::CELL;
use crate::{Batch, Column, NO_TIME, Origins, Record, Rows, Times};

/// Up to this many attributes, a linear search is as fast as a map.
const FEW: usize = 16;
/// About how many bytes a column takes besides its rows.
const NEW_COLUMN: usize = 128;

/// Builds a batch record by record: for codecs and generators.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    len: usize,
    bytes: usize,
    timestamps: Option<Times>,
    key: Option<Column>,
    value: Option<Column>,
    attributes: Vec<(Arc<str>, Column)>,
    /// The index of each attribute by its name, once there are many.
    places: HashMap<Arc<str>, usize>,
    origins: Origins,
    /// Rows and bytes of values of the previous batch: room for as much is reserved, so that the
    /// columns rarely grow.
    before: (usize, usize),
}

impl BatchBuilder {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the records so far, with the names of their attributes, and with the nulls of
    /// attributes that only other records have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of attributes so far: each is a column.
    pub fn attributes(&self) -> usize {
        self.attributes.len()
    }

    /// Appends a record that has only a value, as most sources make.
    pub fn push_value(&mut self, place: &Arc<str>, number: u64, value: &[u8]) {
        let alone = self.key.is_none() && self.timestamps.is_none() && self.attributes.is_empty();
        if let Some(column) = self.value.as_mut().filter(|_| alone) {
            column.push(Some(value));
            self.origins.push(place, number);
            self.bytes += value.len();
            self.len += 1;
            return;
        }
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
        let (rows, value_bytes) = self.before;
        for (column, bytes, room) in
            [(&mut self.key, key, 0), (&mut self.value, value, value_bytes)]
        {
            if bytes.is_some() || column.is_some() {
                let new = || Column::nulls(row).with_room(rows, room);
                column.get_or_insert_with(new).push(bytes);
            }
            self.bytes += bytes.map_or(0, <[u8]>::len);
        }
        let mut absent = self.attributes.len();
        for (number, (name, bytes)) in attributes.enumerate() {
            let at = match self.place(number, name) {
                Some(at) => at,
                None => {
                    self.bytes += row * CELL + name.len() + NEW_COLUMN;
                    absent += 1;
                    self.add(name, row)
                }
            };
            let column = &mut self.attributes[at].1;
            if column.count() == row {
                column.push(Some(bytes)); // If a name comes twice, the first counts.
                self.bytes += name.len() + bytes.len();
                absent -= 1;
            }
        }
        if absent > 0 {
            for (_, column) in &mut self.attributes {
                if column.count() == row {
                    column.push(None);
                    self.bytes += CELL;
                }
            }
        }
        self.origins.push(place, number);
        self.len += 1;
    }

    /// The index of an attribute's column. `guess` is right if all records have the same
    /// attributes.
    fn place(&self, guess: usize, name: &str) -> Option<usize> {
        match self.attributes.get(guess) {
            Some((there, _)) if **there == *name => Some(guess),
            _ if self.places.is_empty() => self.attributes.iter().position(|(n, _)| **n == *name),
            _ => self.places.get(name).copied(),
        }
    }

    fn add(&mut self, name: &str, row: usize) -> usize {
        let at = self.attributes.len();
        let name: Arc<str> = name.into();
        if at == FEW {
            let names = self.attributes.iter().enumerate();
            self.places = names.map(|(at, (name, _))| (name.clone(), at)).collect();
        }
        if at >= FEW {
            self.places.insert(name.clone(), at);
        }
        self.attributes.push((name, Column::nulls(row)));
        at
    }

    /// Appends a [`Record`].
    pub fn push_record(&mut self, place: &Arc<str>, number: u64, record: &Record) {
        let attributes = record.attributes.iter().map(|(name, bytes)| (&**name, &**bytes));
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.push(place, number, record.timestamp, key, value, attributes);
    }

    /// Appends a row of another batch.
    pub fn push_row(&mut self, place: &Arc<str>, number: u64, batch: &Batch, row: usize) {
        let attributes = batch.attributes_of(row);
        let timestamp = batch.timestamps.as_ref().and_then(|times| times.get(row));
        let key = batch.key.as_ref().and_then(|column| column.get(row));
        let value = batch.value.as_ref().and_then(|column| column.get(row));
        self.push(place, number, timestamp, key, value, attributes);
    }

    /// Returns the batch so far; the builder starts anew.
    pub fn take(&mut self) -> Batch {
        let built = std::mem::take(self);
        self.before = (built.len, built.value.as_ref().map_or(0, |value| value.data.len()));
        Batch {
            len: built.len,
            timestamps: built.timestamps.map(Into::into),
            key: built.key.map(Into::into),
            value: built.value.map(Into::into),
            attributes: built.attributes.into_iter().map(|(name, c)| (name, c.into())).collect(),
            origins: built.origins.into(),
            input: 0,
        }
    }
}

//! What a decoder has found.

use std::sync::Arc;

use crate::labels::Labels;
use pipehost_record::{BatchBuilder, MAX_ATTRIBUTES, Record};

/// A piece of input that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its number among the records of its input, from 1.
    pub number: u64,
    pub reason: String,
    /// Its bytes, as the value; none if it was too long to hold.
    pub record: Record,
}

/// A record within its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub input: &'a Arc<str>,
    /// Its number, or that of its first line, from 1.
    pub number: u64,
    /// Bytes of the input before it.
    pub offset: u64,
}

/// What a decoder has found: records, and input that does not decode.
#[derive(Debug, Default)]
pub struct Decoded {
    pub batch: BatchBuilder,
    undecodable: Vec<Undecodable>,
    /// Bytes that `undecodable` takes.
    undecodable_bytes: usize,
    /// What is added to each record.
    pub(super) labels: Arc<Labels>,
}

impl Decoded {
    /// Whether nothing was found yet.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.undecodable.is_empty()
    }

    /// Bytes that records and undecodable input take.
    pub fn bytes(&self) -> usize {
        self.batch.bytes() + self.undecodable_bytes
    }

    /// Adds a piece of input that does not decode.
    pub fn refuse(&mut self, undecodable: Undecodable) {
        const ITSELF: usize = 128;
        let Undecodable { reason, record, .. } = &undecodable;
        let value = record.value.as_ref().map_or(0, Vec::len);
        self.undecodable_bytes += ITSELF + reason.len() + value;
        self.undecodable.push(undecodable);
    }

    pub fn undecodable(&self) -> &[Undecodable] {
        &self.undecodable
    }

    pub fn take_undecodable(&mut self) -> Vec<Undecodable> {
        self.undecodable_bytes = 0;
        std::mem::take(&mut self.undecodable)
    }

    /// How many attributes a record may have, beside those that are added.
    pub(super) fn most_attributes(&self) -> usize {
        MAX_ATTRIBUTES - self.labels.count()
    }

    /// Adds a record that has only a value.
    #[inline]
    pub(super) fn push_value(&mut self, place: Place<'_>, value: &[u8]) {
        if self.labels.is_empty() {
            self.batch.push_value(place.input, place.number, value);
        } else {
            self.push(place, None, None, Some(value), std::iter::empty());
        }
    }

    /// Adds a record.
    pub(super) fn push<'a>(
        &mut self,
        place: Place<'_>,
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        attributes: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) {
        let Place { input, number, offset } = place;
        if self.labels.is_empty() {
            self.batch.push(input, number, timestamp, key, value, attributes);
            return;
        }
        fn shorter<'s, 'l: 's>(attribute: (&'l str, &'l [u8])) -> (&'s str, &'s [u8]) {
            attribute
        }
        let labels = self.labels.clone();
        let offset = offset.to_string();
        let added = labels.of(offset.as_bytes());
        // If a name comes twice, the first counts: what the input says.
        self.batch.push(input, number, timestamp, key, value, attributes.map(shorter).chain(added));
    }
}

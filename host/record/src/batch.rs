//! A batch, and a record copied out of one.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::selected::{Picking, RowNumbers, Selected};
use crate::{Column, NO_TIME, Origin, Origins, Times};

/// Maximum attributes that a stage may read or change, and that a record may have. Each is a column
/// of every batch, so untrusted input must not make them without limit.
pub const MAX_ATTRIBUTES: usize = 1024;

/// Longest name of an attribute, in bytes.
pub const MAX_NAME: usize = 1024;

/// Why a name is not valid for an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("an attribute has no name")]
    Empty,
    #[error("the name of an attribute has {0} bytes, and it may have {MAX_NAME}")]
    TooLong(usize),
}

/// # Errors
/// If the name is empty or too long.
pub fn check_name(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        1..=MAX_NAME => Ok(()),
        long => Err(NameError::TooLong(long)),
    }
}

/// About how many bytes a batch, and each of its columns, takes besides its contents.
const BATCH: usize = 256;
const COLUMN: usize = 128;
/// Minimum bytes that a row takes in each column, even if it is null there.
pub(super) const CELL: usize = 8;

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
    /// Index of the node's input that it came in by; the inlet sets it.
    pub input: u32,
}

impl Batch {
    pub fn attribute(&self, name: &str) -> Option<&Selected<Column>> {
        self.attributes.iter().find(|(n, _)| &**n == name).map(|(_, column)| column)
    }

    /// The attributes of a row that are not null.
    pub fn attributes_of(&self, row: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let attributes = self.attributes.iter();
        attributes.filter_map(move |(name, column)| Some((&**name, column.get(row)?)))
    }

    /// The selected rows, in this order; a row may occur several times.
    pub fn pick(&self, rows: RowNumbers) -> Self {
        let len = rows.len();
        let mut picking = Picking::new(rows);
        Self {
            len,
            timestamps: self.timestamps.as_ref().map(|column| picking.pick(column)),
            key: self.key.as_ref().map(|column| picking.pick(column)),
            value: self.value.as_ref().map(|column| picking.pick(column)),
            attributes: (self.attributes.iter())
                .map(|(name, column)| (name.clone(), picking.pick(column)))
                .collect(),
            origins: picking.pick(&self.origins),
            input: self.input,
        }
    }

    /// A range of rows.
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.pick(Arc::new((range.start as u32..range.end as u32).collect()))
    }

    /// Copies the rows of columns that hold more bytes for other rows, to free those: for records
    /// that wait, while the batches that they were picked from have gone on.
    pub fn compact(&mut self) {
        let columns = self.key.iter_mut().chain(&mut self.value);
        columns
            .chain(self.attributes.iter_mut().map(|(_, column)| column))
            .for_each(Selected::compact_bytes);
        if let Some(times) = &mut self.timestamps {
            times.compact();
        }
        self.origins.compact();
    }

    /// Bytes of the records: keys, values, timestamps, and attributes with their names. Every
    /// format writes at least as much. A row counts at least `CELL` in every column, even if it is
    /// null: a copy takes that much.
    pub fn bytes(&self) -> usize {
        let least = |bytes: usize| bytes.max(self.len.saturating_mul(CELL));
        let columns = self.key.iter().chain(&self.value).map(|column| least(column.bytes()));
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, c)| least(c.bytes() + name.len() * c.there()));
        let times = self.timestamps.as_ref().map_or(0, |times| times.count() * size_of::<i64>());
        columns.chain(attributes).fold(times, usize::saturating_add)
    }

    /// As [`Batch::bytes`], of these rows only, each as often as it is listed. Row numbers that do
    /// not exist count nothing. Stops counting above `most`.
    pub fn bytes_of(&self, rows: &[u32], most: usize) -> usize {
        let columns = self.key.iter().chain(&self.value).map(|column| (0, column));
        let columns: Vec<_> =
            columns.chain(self.attributes.iter().map(|(name, c)| (name.len(), c))).collect();
        // The least that it can be.
        let least = rows.len().saturating_mul(columns.len()).saturating_mul(CELL);
        if least > most {
            return least;
        }
        let here = rows.iter().map(|&row| row as usize).filter(|&row| row < self.len);
        let cell = |row: usize, (name, column): &(usize, &Selected<Column>)| {
            CELL.max(name + column.row_bytes(row))
        };
        let bytes = |row| columns.iter().map(move |column| cell(row, column)).sum::<usize>();
        here.map(bytes).fold(0, usize::saturating_add)
    }

    /// Bytes of this batch besides its columns, which it may share with others.
    pub fn own_bytes(&self) -> usize {
        own_bytes(self.len, self.attributes.len())
    }

    /// Bytes that this batch keeps in memory, including rows that are not selected. Other batches
    /// may share some of them.
    pub fn held_bytes(&self) -> usize {
        let columns = self.key.iter().chain(&self.value).map(Selected::held_bytes);
        let attributes = self.attributes.iter().map(|(name, c)| c.held_bytes() + name.len());
        let times = self.timestamps.as_ref().map_or(0, |times| times.count() * size_of::<i64>());
        columns.chain(attributes).fold(self.own_bytes() + times, usize::saturating_add)
    }

    /// The index of each attribute by its name: for many lookups.
    pub fn places(&self) -> HashMap<&str, usize> {
        self.attributes.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect()
    }

    /// Concatenates batches into as few as possible: attributes that only some batches have must
    /// become neither too many nor mostly null.
    pub fn join(parts: Vec<Self>) -> Vec<Self> {
        let mut joined = Vec::new();
        let mut run: Vec<Self> = Vec::new();
        let mut names: HashSet<Arc<str>> = HashSet::new();
        let (mut rows, mut bytes) = (0, 0);
        for part in parts {
            names.extend(part.attributes.iter().map(|(name, _)| name.clone()));
            rows += part.len;
            bytes += part.bytes();
            let filled = names.len() * rows * CELL;
            let fits = names.len() <= MAX_ATTRIBUTES && filled <= MOST_FILLED.max(4 * bytes);
            if !fits && !run.is_empty() {
                joined.push(Self::concat(&std::mem::take(&mut run)));
                names = part.attributes.iter().map(|(name, _)| name.clone()).collect();
                (rows, bytes) = (part.len, part.bytes());
            }
            run.push(part);
        }
        if !run.is_empty() {
            joined.push(Self::concat(&run));
        }
        joined
    }

    /// Concatenates batches. A column that a batch lacks is null in its rows.
    pub fn concat(parts: &[Self]) -> Self {
        if let [one] = parts {
            return one.clone();
        }
        let column = |columns: Vec<Option<&Selected<Column>>>| {
            columns.iter().any(Option::is_some).then(|| {
                let absent = |part: &Self| Column::nulls(part.len).into();
                let columns: Vec<Selected<Column>> = (columns.into_iter().zip(parts))
                    .map(|(column, part)| column.cloned().unwrap_or_else(|| absent(part)))
                    .collect();
                Selected::concat(&columns)
            })
        };
        // For each name, the column of each part that has it.
        let mut names: Vec<&Arc<str>> = Vec::new();
        let mut columns: Vec<Vec<Option<&Selected<Column>>>> = Vec::new();
        let mut places: HashMap<&Arc<str>, usize> = HashMap::new();
        for (number, part) in parts.iter().enumerate() {
            for (name, column) in &part.attributes {
                let at = *places.entry(name).or_insert_with(|| {
                    names.push(name);
                    columns.push(vec![None; parts.len()]);
                    names.len() - 1
                });
                columns[at][number] = Some(column);
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
            key: column(parts.iter().map(|part| part.key.as_ref()).collect()),
            value: column(parts.iter().map(|part| part.value.as_ref()).collect()),
            attributes: (names.into_iter().zip(columns))
                .map(|(name, columns)| {
                    let joined = column(columns).expect("the name comes from one of the parts");
                    (name.clone(), joined)
                })
                .collect(),
            origins: Selected::concat(&origins),
            input: parts.first().map_or(0, |part| part.input),
        }
    }

    /// A copy of one record.
    pub fn record(&self, row: usize) -> Record {
        let copy = |column: &Selected<Column>| column.get(row).map(<[u8]>::to_vec);
        Record {
            timestamp: self.timestamps.as_ref().and_then(|times| times.get(row)),
            key: self.key.as_ref().and_then(copy),
            value: self.value.as_ref().and_then(copy),
            attributes: (self.attributes_of(row))
                .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
                .collect(),
        }
    }

    pub fn origin(&self, row: usize) -> Origin {
        self.origins.base.get(self.origins.base_row(row))
    }
}

/// Maximum bytes filled in for attributes that a part lacks, when batches are joined.
const MOST_FILLED: usize = 4 << 20;

/// Bytes of a batch with this many rows and attributes, besides its columns.
pub fn own_bytes(rows: usize, attributes: usize) -> usize {
    BATCH + attributes * COLUMN + rows * size_of::<u32>()
}

/// One record on its own, as frames and dead letters store it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// Nanoseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    #[serde(with = "serde_bytes")]
    pub key: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
    #[serde(with = "attributes")]
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// Serializes values as bytes: serde would serialize them as lists of numbers.
mod attributes {
    use std::fmt;

    use serde::de::{Error as _, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    use crate::{MAX_ATTRIBUTES, MAX_NAME};

    pub fn serialize<S: Serializer>(
        attributes: &[(String, Vec<u8>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(attributes.iter().map(|(name, bytes)| (name, Bytes::new(bytes))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
        deserializer.deserialize_seq(Attributes)
    }

    /// Refuses too many attributes and too long names before they are in memory.
    struct Attributes;

    impl<'de> Visitor<'de> for Attributes {
        type Value = Vec<(String, Vec<u8>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names and values")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut attributes = Vec::new();
            while let Some((name, bytes)) = list.next_element::<(&str, ByteBuf)>()? {
                if attributes.len() == MAX_ATTRIBUTES {
                    let why = format!("more than {MAX_ATTRIBUTES} attributes");
                    return Err(A::Error::custom(why));
                }
                if name.len() > MAX_NAME {
                    let why = format!("an attribute whose name has more than {MAX_NAME} bytes");
                    return Err(A::Error::custom(why));
                }
                attributes.push((name.to_owned(), bytes.into_vec()));
            }
            Ok(attributes)
        }
    }
}

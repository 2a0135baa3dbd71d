//! A batch, and a record copied out of one.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::selected::{Picking, RowNumbers, Selected};
use super::{Column, NO_TIME, Origin, Origins, Times};

/// How many attributes a stage may read or change, and a record bring along. Each is a
/// column of every batch, so strangers must not make them without end.
pub const MAX_ATTRIBUTES: usize = 1024;

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
    /// By which of the inputs of the node at hand it came in: its inlet says so.
    pub input: u32,
}

impl Batch {
    pub fn attribute(&self, name: &str) -> Option<&Selected<Column>> {
        self.attributes.iter().find(|(n, _)| &**n == name).map(|(_, column)| column)
    }

    /// These rows, in this order; a row may come several times.
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

    /// Lets go of what its columns hold beside its rows, if that is more than the rows:
    /// for records that wait, while the batches that they were picked from have gone on.
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

    /// Bytes that the records hold, not counting what the columns cost beside.
    pub fn bytes(&self) -> usize {
        let columns = self.key.iter().chain(&self.value);
        columns.chain(self.attributes.iter().map(|(_, c)| c)).map(Selected::bytes).sum::<usize>()
            + self.timestamps.as_ref().map_or(0, |times| times.count() * size_of::<i64>())
    }

    /// As [`Batch::bytes`], of these rows alone. Rows that there are not count nothing.
    pub fn bytes_of(&self, rows: &[u32]) -> usize {
        let columns = self.key.iter().chain(&self.value);
        let columns: Vec<_> = columns.chain(self.attributes.iter().map(|(_, c)| c)).collect();
        let here = rows.iter().map(|&row| row as usize).filter(|&row| row < self.len);
        here.flat_map(|row| columns.iter().map(move |column| column.row_bytes(row))).sum()
    }

    /// Puts batches behind each other. A column that only some have is null in the
    /// rows of the others.
    pub fn concat(parts: &[Self]) -> Self {
        if let [one] = parts {
            return one.clone();
        }
        fn column(
            parts: &[Batch],
            get: impl Fn(&Batch) -> Option<&Selected<Column>>,
        ) -> Option<Selected<Column>> {
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
            input: parts.first().map_or(0, |part| part.input),
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
    #[serde(with = "serde_bytes")]
    pub key: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub value: Option<Vec<u8>>,
    #[serde(with = "attributes")]
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// Their bytes at once: serde would take them for lists of numbers.
mod attributes {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    pub fn serialize<S: Serializer>(
        attributes: &[(String, Vec<u8>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(attributes.iter().map(|(name, bytes)| (name, Bytes::new(bytes))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
        let attributes = Vec::<(String, ByteBuf)>::deserialize(deserializer)?;
        Ok(attributes.into_iter().map(|(name, bytes)| (name, bytes.into_vec())).collect())
    }
}

//! A table of which rows are found by one column.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pipehost_plugin::Error;
use pipehost_plugin::json::Members;
use pipehost_plugin::serde_json::{Deserializer, value::RawValue};

use crate::Format;

/// Rows of cells, all in one piece of memory.
pub struct Table {
    /// The attribute of each cell of a row.
    names: Vec<String>,
    rows: HashMap<Vec<u8>, usize>,
    /// Where each cell begins and ends in `data`; the same twice that is [`ABSENT`] for none.
    cells: Vec<(u32, u32)>,
    data: Vec<u8>,
}

const ABSENT: (u32, u32) = (u32::MAX, u32::MAX);

impl Table {
    pub fn parse(
        bytes: &[u8],
        format: Format,
        column: &str,
        attributes: Option<&BTreeMap<String, String>>,
    ) -> Result<Self, Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if u32::try_from(bytes.len()).is_err() {
            return Err("it has more than 4 GiB".into());
        }
        match format {
            Format::Csv => Self::csv(bytes, column, attributes),
            Format::Json => Self::json(bytes, column, attributes),
        }
    }

    fn new(names: Vec<String>) -> Self {
        Self { names, rows: HashMap::new(), cells: Vec::new(), data: Vec::new() }
    }

    fn csv(
        bytes: &[u8],
        column: &str,
        attributes: Option<&BTreeMap<String, String>>,
    ) -> Result<Self, Error> {
        let mut reader = csv::Reader::from_reader(bytes);
        let columns: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = columns.iter().find(|name| !name.is_empty() && !seen.insert(*name)) {
            return Err(format!("its column `{twice}` is there twice").into());
        }
        let find = |name: &str| {
            let place = columns.iter().position(|other| other == name);
            place.ok_or_else(|| {
                let there: Vec<_> = columns.iter().map(|name| format!("`{name}`")).collect();
                Error::from(format!("it has no column `{name}`; it has {}", there.join(", ")))
            })
        };
        let key = find(column)?;
        let (names, places): (Vec<_>, Vec<_>) = match attributes {
            Some(attributes) => {
                let places =
                    attributes.iter().map(|(name, column)| Ok((name.clone(), find(column)?)));
                places.collect::<Result<Vec<_>, Error>>()?.into_iter().unzip()
            }
            None => (columns.iter().enumerate())
                .filter(|(place, name)| *place != key && !name.is_empty())
                .map(|(place, name)| (name.clone(), place))
                .unzip(),
        };
        let mut table = Self::new(names);
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record)? {
            let line = record.position().map_or(0, csv::Position::line);
            let cells = places.iter().map(|place| Some(&record[*place]));
            table.push(&record[key], cells, &format_args!("line {line}"))?;
        }
        Ok(table)
    }

    fn json(
        bytes: &[u8],
        column: &str,
        attributes: Option<&BTreeMap<String, String>>,
    ) -> Result<Self, Error> {
        let is_array = bytes.trim_ascii_start().starts_with(b"[");
        let objects: Vec<&RawValue> = if is_array {
            pipehost_plugin::serde_json::from_slice(bytes)?
        } else {
            Deserializer::from_slice(bytes).into_iter().collect::<Result<_, _>>()?
        };
        let mut columns: Vec<String> = Vec::new();
        let mut rows = Vec::with_capacity(objects.len());
        for (number, object) in (1..).zip(objects) {
            let members = Members::parse(object.get().as_bytes())
                .map_err(|why| format!("row {number}: {why}"))?;
            if attributes.is_none() {
                for (name, _) in members.iter() {
                    if name != column
                        && !name.is_empty()
                        && !columns.iter().any(|other| *other == *name)
                    {
                        columns.push(name.into_owned());
                    }
                }
            }
            rows.push((number, members));
        }
        let (names, columns): (Vec<String>, Vec<String>) = match attributes {
            Some(attributes) => {
                attributes.iter().map(|(name, column)| (name.clone(), column.clone())).unzip()
            }
            None => (columns.clone(), columns),
        };
        let mut table = Self::new(names);
        for (number, members) in rows {
            let text = |name: &str| match members.get(name) {
                None => Ok(None),
                Some(member) => member.value().map_err(|why| {
                    Error::from(format!("row {number}: the member `{name}` is {why}"))
                }),
            };
            let key =
                text(column)?.ok_or_else(|| format!("row {number} has no member `{column}`"))?;
            let cells =
                columns.iter().map(|column| text(column)).collect::<Result<Vec<_>, Error>>()?;
            let cells = cells.iter().map(|cell| cell.as_ref().map(|cell| cell.as_bytes()));
            table.push(key.as_bytes(), cells, &format_args!("row {number}"))?;
        }
        Ok(table)
    }

    fn push<'c>(
        &mut self,
        key: &[u8],
        cells: impl Iterator<Item = Option<&'c [u8]>>,
        place: &dyn std::fmt::Display,
    ) -> Result<(), Error> {
        if self.rows.insert(key.to_vec(), self.rows.len()).is_some() {
            let key = String::from_utf8_lossy(key);
            return Err(format!("{place}: a row for {key:?} is there already").into());
        }
        for cell in cells {
            self.cells.push(match cell {
                None => ABSENT,
                Some(cell) => {
                    let start = self.data.len() as u32;
                    self.data.extend_from_slice(cell);
                    (start, self.data.len() as u32)
                }
            });
        }
        Ok(())
    }

    /// The number of the row for this key.
    pub fn row(&self, key: &[u8]) -> Option<usize> {
        self.rows.get(key).copied()
    }

    /// The attributes of a row.
    pub fn attributes(&self, row: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let cells = &self.cells[row * self.names.len()..][..self.names.len()];
        self.names.iter().zip(cells).filter(|(_, cell)| **cell != ABSENT).map(|(name, cell)| {
            let (start, end) = *cell;
            (&**name, &self.data[start as usize..end as usize])
        })
    }
}

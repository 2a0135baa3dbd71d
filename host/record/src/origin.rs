//! Where records came from.

use std::sync::Arc;

use crate::Rows;

/// Where a record came from: the input, and its number in that input, from 1 (in a file of lines,
/// the line).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub place: Arc<str>,
    pub number: u64,
}

/// The origins of rows, as runs of consecutive records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// For each run, the row after its last one, and the origin of its first row.
    runs: Vec<(u32, Origin)>,
}

impl Origins {
    /// Appends a row.
    pub fn push(&mut self, place: &Arc<str>, number: u64) {
        let row = self.count() as u32;
        let start = self.runs.len().checked_sub(2).map_or(0, |before| self.runs[before].0);
        match self.runs.last_mut() {
            Some((end, first))
                if first.number + u64::from(row - start) == number
                    // Usually the same `Arc`: then no texts are compared.
                    && (Arc::ptr_eq(&first.place, place) || first.place == *place) =>
            {
                *end += 1;
            }
            _ => self.runs.push((row + 1, Origin { place: place.clone(), number })),
        }
    }

    /// The origins of `len` rows: records 1 to `len` of a place.
    pub fn numbered(place: &Arc<str>, len: usize) -> Self {
        let first = Origin { place: place.clone(), number: 1 };
        Self { runs: if len == 0 { Vec::new() } else { vec![(len as u32, first)] } }
    }

    pub fn get(&self, row: usize) -> Origin {
        let run = self.runs.partition_point(|(end, _)| *end as usize <= row);
        let start = if run == 0 { 0 } else { self.runs[run - 1].0 };
        let first = &self.runs[run].1;
        Origin {
            place: first.place.clone(),
            number: first.number + (row as u64 - u64::from(start)),
        }
    }
}

impl Rows for Origins {
    fn count(&self) -> usize {
        self.runs.last().map_or(0, |(end, _)| *end as usize)
    }

    fn gather(&self, rows: &[u32]) -> Self {
        let mut out = Self::default();
        for &row in rows {
            let origin = self.get(row as usize);
            out.push(&origin.place, origin.number);
        }
        out
    }

    fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut out = Self::default();
        for part in parts {
            let rows = out.count() as u32;
            out.runs.extend(part.runs.iter().map(|(end, first)| (rows + end, first.clone())));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_runs() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut origins = Origins::default();
        for (place, number) in [(&a, 1), (&a, 2), (&b, 3), (&b, 5), (&b, 6)] {
            origins.push(place, number);
        }
        assert_eq!(origins.runs.len(), 3);
        let numbers: Vec<_> = (0..5).map(|row| origins.get(row).number).collect();
        assert_eq!(numbers, [1, 2, 3, 5, 6]);
        assert_eq!(origins.gather(&[4, 0, 1]).get(2), Origin { place: a, number: 2 });
    }
}

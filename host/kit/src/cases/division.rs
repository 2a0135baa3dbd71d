//! Ways to divide the records of a case into batches.

use std::fmt;

use pipehost_config::case::Step;

/// The most batches into which a case is divided: each is a call.
const MOST_BATCHES: usize = 2_000;

/// A way to divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    /// The most records of a batch.
    pub size: usize,
    /// Whether the state is saved, and restored in new instances, after so many records.
    pub restarts: bool,
    /// Whether several instances share the keys, if the stage keeps by key.
    pub shares: bool,
}

impl Division {
    /// All that differ for this many records; the first is the finest.
    pub(super) fn all(records: usize, has_checkpoint: bool, keeps_by_key: bool) -> Vec<Self> {
        let sizes = [1, 2, 3, 7, 100, 4096, usize::MAX];
        let worth = |size: &&usize| match **size {
            usize::MAX => true,
            1 if records <= 1 => false,
            size => size < records && records / size <= MOST_BATCHES,
        };
        let plain =
            sizes.iter().filter(worth).map(|&size| Self { size, restarts: false, shares: false });
        let mut all: Vec<_> = plain.collect();
        if has_checkpoint {
            const MOST_RESTARTS: usize = 50;
            let size = records.div_ceil(MOST_RESTARTS).max(1);
            all.push(Self { size, restarts: true, shares: false });
            if keeps_by_key {
                all.push(Self { size, restarts: true, shares: true });
            }
        }
        all
    }
}

impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            1 => f.write_str("one record a batch")?,
            usize::MAX => f.write_str("all records in one batch")?,
            size => write!(f, "{size} records a batch")?,
        }
        if self.restarts {
            f.write_str(", its state saved and restored after each")?;
        }
        if self.shares {
            f.write_str(", its keys shared by several instances")?;
        }
        Ok(())
    }
}

/// Records of all steps together.
pub(super) fn records(steps: &[Step]) -> usize {
    let of = |step: &Step| if let Step::Records(records) = step { records.times } else { 0 };
    steps.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_divided_finely_unless_it_is_large() {
        let sizes = |records| -> Vec<usize> {
            Division::all(records, false, false).iter().map(|division| division.size).collect()
        };
        assert_eq!(sizes(0), [usize::MAX]);
        assert_eq!(sizes(1), [usize::MAX]);
        assert_eq!(sizes(4), [1, 2, 3, usize::MAX]);
        assert_eq!(sizes(10_000), [7, 100, 4096, usize::MAX]);
        assert!(Division::all(1, true, false)[1].restarts);
        assert!(Division::all(1, true, true)[2].shares);
    }
}

//! A record that has not ended yet, of which no more than the limit is held in memory.

/// Bytes of an incomplete record, up to a limit; beyond it, they are only counted.
pub(super) struct PartialRecord {
    max_bytes: usize,
    bytes: Vec<u8>,
    /// Bytes so far of a record that is too long, and is skipped.
    passing: Option<u64>,
}

impl PartialRecord {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: Vec::new(), passing: None }
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes so far, skipped ones included.
    pub(super) fn len(&self) -> u64 {
        self.passing.unwrap_or(self.bytes.len() as u64)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        match &mut self.passing {
            Some(passed) => *passed += bytes.len() as u64,
            // One byte more than allowed may be the `\r` of the line end.
            None if self.bytes.len() + bytes.len() > self.max_bytes + 1 => {
                self.passing = Some((self.bytes.len() + bytes.len()) as u64);
                self.bytes = Vec::new();
            }
            None => self.bytes.extend_from_slice(bytes),
        }
    }

    /// The held bytes; none of a record that is skipped.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes were skipped, if the record is too long.
    pub(super) fn passed(&self) -> Option<u64> {
        self.passing
    }

    /// Resets it for the next record.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.passing = None;
    }
}

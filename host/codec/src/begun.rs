//! A record that has not ended yet, of which no more than the limit is held in memory.

use pipehost_config::TooLong;

/// Bytes of an incomplete record, up to a limit; beyond it, they are only counted.
pub(super) struct PartialRecord {
    max_bytes: usize,
    too_long: TooLong,
    bytes: Vec<u8>,
    /// Bytes so far of a record that is too long.
    passing: Option<u64>,
}

impl PartialRecord {
    pub(super) fn new(max_bytes: usize, too_long: TooLong) -> Self {
        Self { max_bytes, too_long, bytes: Vec::new(), passing: None }
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes so far, those that are not held included.
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
                match self.too_long {
                    TooLong::Reject => self.bytes = Vec::new(),
                    TooLong::Truncate => {
                        let room = self.max_bytes.saturating_sub(self.bytes.len());
                        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
                        self.bytes.truncate(self.max_bytes);
                    }
                }
            }
            None => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Counts bytes that nobody has any more.
    pub(super) fn pass(&mut self, bytes: u64) {
        self.passing = Some(self.len() + bytes);
        match self.too_long {
            TooLong::Reject => self.bytes = Vec::new(),
            TooLong::Truncate => self.bytes.truncate(self.max_bytes),
        }
    }

    /// The held bytes; of a record that is too long, its begin if it is truncated, or none.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes it has, if it is too long.
    pub(super) fn passed(&self) -> Option<u64> {
        self.passing
    }

    /// Whether a record that is too long is truncated.
    pub(super) fn truncates(&self) -> bool {
        self.too_long == TooLong::Truncate
    }

    /// Resets it for the next record.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.passing = None;
    }
}

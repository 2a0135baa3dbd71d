//! Whether those that process a stage's batches do not keep up with them.

use std::time::Duration;

/// So many batches in a row must have been followed by another that was waiting already.
const IN_A_ROW: u32 = 8;

/// Watches one queue and those that take from it.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    in_a_row: u32,
    worked: Duration,
    waited: Duration,
}

impl Overload {
    /// Time that was spent on a batch: processing it, and waiting to send what came of it.
    pub(crate) fn spent(&mut self, worked: Duration, waited: Duration) {
        self.worked += worked;
        self.waited += waited;
    }

    /// Whether more hands would help. Called when a batch was taken; `has_more`: another one waits.
    /// If most of the time goes into waiting for what comes next, they would not.
    pub(crate) fn is(&mut self, has_more: bool) -> bool {
        if !has_more {
            *self = Self::default();
            return false;
        }
        self.in_a_row += 1;
        if self.in_a_row < IN_A_ROW {
            return false;
        }
        let works = self.worked > self.waited;
        *self = Self::default();
        works
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What comes of some batches, each followed by another one.
    fn after(batches: u32, worked: Duration, waited: Duration) -> bool {
        let mut overload = Overload::default();
        (0..batches).any(|_| {
            overload.spent(worked, waited);
            overload.is(true)
        })
    }

    #[test]
    fn batches_that_keep_waiting_while_all_work_are_too_many() {
        assert!(after(IN_A_ROW, 2 * MS, MS));
        assert!(!after(IN_A_ROW - 1, 2 * MS, MS), "a few may wait");
        assert!(!after(100, MS, 2 * MS), "what comes next is slower");
    }

    #[test]
    fn a_pause_in_between_begins_anew() {
        let mut overload = Overload::default();
        for _ in 0..100 {
            for _ in 1..IN_A_ROW {
                overload.spent(MS, Duration::ZERO);
                assert!(!overload.is(true));
            }
            assert!(!overload.is(false));
        }
    }
}

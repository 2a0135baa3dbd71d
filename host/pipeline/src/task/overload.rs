//! Whether those that process a stage's batches do not keep up with them.

use std::time::Duration;

/// So many batches in a row must have been followed by another that was waiting already.
const IN_A_ROW: u32 = 2;
/// So much time must have gone into processing them: what is worked off sooner is a burst.
const WORKED: Duration = Duration::from_millis(5);

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
        if self.in_a_row < IN_A_ROW || self.worked + self.waited < WORKED {
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

    /// Whether some batches, each followed by another one, are too many.
    fn after(batches: u32, worked: Duration, waited: Duration) -> bool {
        let mut overload = Overload::default();
        (0..batches).any(|_| {
            overload.spent(worked, waited);
            overload.is(true)
        })
    }

    #[test]
    fn batches_that_keep_waiting_while_all_work_are_too_many() {
        assert!(after(2, 5 * MS, MS));
        assert!(!after(1, 50 * MS, MS), "one may wait");
        assert!(!after(100, MS, 2 * MS), "what comes next is slower");
    }

    #[test]
    fn many_that_are_soon_done_are_a_burst() {
        assert!(!after(100, MS / 100, Duration::ZERO));
        assert!(after(1000, MS / 100, Duration::ZERO));
    }

    #[test]
    fn a_pause_in_between_begins_anew() {
        let mut overload = Overload::default();
        for _ in 0..100 {
            for _ in 0..4 {
                overload.spent(MS, Duration::ZERO);
                assert!(!overload.is(true));
            }
            assert!(!overload.is(false));
        }
    }
}

//! Puts the results of several lanes back into the order of what they were made of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The next result to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// All parts of one number, after those of all lower numbers.
    InOrder(Vec<T>),
    /// A part that does not wait for lower numbers.
    Ahead(T),
}

/// Holds results until those of all lower numbers have come: no more than are in flight.
pub(crate) struct Resequencer<T> {
    next: u64,
    held: BTreeMap<u64, Held<T>>,
    ahead: VecDeque<T>,
    /// By number of which some parts went ahead: how many have come.
    parts_seen: BTreeMap<u64, usize>,
    /// Numbers of which all parts went ahead.
    gone: BTreeSet<u64>,
}

struct Held<T> {
    /// How many there will be.
    of: usize,
    parts: Vec<T>,
}

impl<T> Default for Resequencer<T> {
    fn default() -> Self {
        Self {
            next: 0,
            held: BTreeMap::new(),
            ahead: VecDeque::new(),
            parts_seen: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }
}

impl<T> Resequencer<T> {
    /// Adds one of the `of` parts of a number. One that goes `ahead` does not wait for lower
    /// numbers; all parts of a number do, or none.
    pub(crate) fn add(&mut self, number: u64, of: usize, part: T, ahead: bool) {
        if !ahead {
            let held = self.held.entry(number).or_insert_with(|| Held { of, parts: Vec::new() });
            held.parts.push(part);
            return;
        }
        let seen = self.parts_seen.entry(number).or_default();
        *seen += 1;
        if *seen >= of {
            self.parts_seen.remove(&number);
            self.gone.insert(number);
        }
        self.ahead.push_back(part);
    }

    /// The next result that can be sent.
    pub(crate) fn next(&mut self) -> Option<Next<T>> {
        if let Some(part) = self.ahead.pop_front() {
            return Some(Next::Ahead(part));
        }
        while self.gone.remove(&self.next) {
            self.next += 1;
        }
        let first = self.held.first_entry().filter(|entry| *entry.key() == self.next)?;
        if first.get().parts.len() < first.get().of {
            return None;
        }
        self.next += 1;
        Some(Next::InOrder(first.remove().parts))
    }

    /// The lowest number of which something is still to be sent.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::Next::{Ahead, InOrder};
    use super::*;

    fn all(resequencer: &mut Resequencer<&'static str>) -> Vec<Next<&'static str>> {
        std::iter::from_fn(|| resequencer.next()).collect()
    }

    #[test]
    fn results_wait_for_lower_numbers_and_for_all_their_parts() {
        let mut resequencer = Resequencer::default();
        resequencer.add(1, 1, "b", false);
        resequencer.add(2, 2, "c1", false);
        assert_eq!(all(&mut resequencer), []);
        resequencer.add(0, 1, "a", false);
        assert_eq!(all(&mut resequencer), [InOrder(vec!["a"]), InOrder(vec!["b"])]);
        assert_eq!(resequencer.position(), 2);
        resequencer.add(2, 2, "c2", false);
        assert_eq!(all(&mut resequencer), [InOrder(vec!["c1", "c2"])]);
    }

    #[test]
    fn what_goes_ahead_moves_the_position_once_all_its_parts_have_come() {
        let mut resequencer = Resequencer::default();
        resequencer.add(1, 2, "b1", true);
        assert_eq!(all(&mut resequencer), [Ahead("b1")]);
        resequencer.add(0, 1, "a", true);
        assert_eq!(all(&mut resequencer), [Ahead("a")]);
        assert_eq!(resequencer.position(), 1, "a part of 1 is missing");
        // A barrier waits for all before it.
        resequencer.add(2, 1, "barrier", false);
        assert_eq!(all(&mut resequencer), []);
        resequencer.add(1, 2, "b2", true);
        assert_eq!(all(&mut resequencer), [Ahead("b2"), InOrder(vec!["barrier"])]);
        assert_eq!(resequencer.position(), 3);
    }
}

//! The state that a stage saves, by key group.

use std::ops::Range;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower};

use super::violation::{Violation, violation};

/// The key group of a key: see `keeps` in the contract.
pub fn group_of(key: &[u8], count: u32) -> u32 {
    crc32fast::hash(key) % count
}

/// The key groups that an instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroups {
    /// Their numbers.
    pub held: Range<u32>,
    /// How many groups the stage has in all its instances.
    pub count: u32,
}

impl KeyGroups {
    /// The one group of a stage that does not keep by key.
    pub const ONE: Self = Self { held: 0..1, count: 1 };

    /// The part of `count` groups that one of several instances holds.
    pub fn share(number: usize, of: usize, count: u32) -> Self {
        let boundary = |number: usize| (number * count as usize / of) as u32;
        Self { held: boundary(number)..boundary(number + 1), count }
    }
}

impl Default for KeyGroups {
    fn default() -> Self {
        Self::ONE
    }
}

/// The state of one key group, as it crosses.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct CrossingState {
    number: u32,
    state: Vec<u8>,
}

/// The state of one key group. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    pub number: u32,
    pub state: Bytes,
}

impl From<CrossingState> for GroupState {
    fn from(CrossingState { number, state }: CrossingState) -> Self {
        Self { number, state: state.into() }
    }
}

impl From<GroupState> for CrossingState {
    fn from(GroupState { number, state }: GroupState) -> Self {
        Self { number, state: state.into() }
    }
}

/// Who saved a state.
#[derive(Debug, Clone, Default, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct SavedBy {
    /// The version in the description of the component.
    pub version: String,
    /// The configuration of the stage, a JSON object.
    pub config: String,
}

/// The key groups, as `save` is given them.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct GivenGroups {
    first: u32,
    end: u32,
    count: u32,
}

impl From<&KeyGroups> for GivenGroups {
    fn from(groups: &KeyGroups) -> Self {
        Self { first: groups.held.start, end: groups.held.end, count: groups.count }
    }
}

/// A saved state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub groups: Vec<GroupState>,
    pub by: SavedBy,
}

impl Saved {
    /// The part of some key groups.
    pub fn of(&self, groups: &KeyGroups) -> Self {
        let held = self.groups.iter().filter(|group| groups.held.contains(&group.number));
        Self { groups: held.cloned().collect(), by: self.by.clone() }
    }

    pub fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.state.len()).sum()
    }
}

/// Checks what `save` has answered.
///
/// # Errors
/// If a rule of the contract is broken; the error says which.
pub(crate) fn check(saved: &[GroupState], groups: &KeyGroups) -> Result<(), Violation> {
    let KeyGroups { held: Range { start, end }, count } = groups;
    if let Some(other) = saved.iter().find(|group| !groups.held.contains(&group.number)) {
        return Err(violation!(
            "it saved the key group {}, and it has those from {start} up to {end} of {count}",
            other.number
        ));
    }
    if !saved.is_sorted_by(|a, b| a.number < b.number) {
        return Err(violation!("the key groups that it saved do not ascend"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_all_groups_and_none_twice() {
        for (of, count) in [(1, 1), (1, 64), (3, 64), (64, 64), (5, 7)] {
            let shares = (0..of).map(|number| KeyGroups::share(number, of, count).held);
            let all: Vec<u32> = shares.flatten().collect();
            assert_eq!(all, Vec::from_iter(0..count), "{of} instances, {count} groups");
        }
    }

    #[test]
    fn what_is_saved_must_be_of_its_groups_and_ascend() {
        let group = |number| GroupState { number, state: Bytes::new() };
        let groups = KeyGroups { held: 2..4, count: 8 };
        check(&[group(2), group(3)], &groups).unwrap();
        check(&[], &groups).unwrap();
        for wrong in [vec![group(1)], vec![group(4)], vec![group(3), group(2)]] {
            check(&wrong, &groups).unwrap_err();
        }
        check(&[group(2), group(2)], &groups).unwrap_err();
    }
}

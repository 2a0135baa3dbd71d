//! The state of a stage as the host keeps it: bytes of each key group, and who saved them.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, state};

/// The key group of a key, as the contract defines it: its CRC-32, modulo the number of groups.
pub(crate) fn group_of(key: &[u8], count: u32) -> u32 {
    crc32fast::hash(key) % count.max(1)
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
    pub const ALL: Self = Self { held: 0..1, count: 1 };
}

/// Collects the state of a stage: see [`Checkpoint::save`](crate::Checkpoint::save).
#[derive(Debug)]
pub struct Save {
    groups: KeyGroups,
    whole: Vec<u8>,
    by_group: BTreeMap<u32, Vec<u8>>,
}

impl Save {
    pub(crate) fn new(groups: KeyGroups) -> Self {
        Self { groups, whole: Vec::new(), by_group: BTreeMap::new() }
    }

    /// Saves the state of the stage. Of a stage that keeps by key: what is the same in all its
    /// instances, as the last watermark is.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn put<T: Serialize + ?Sized>(&mut self, state: &T) -> Result<(), Error> {
        self.whole = state::encode(state)?;
        Ok(())
    }

    /// Saves what the stage keeps by key. A key may occur several times.
    ///
    /// # Errors
    /// If it cannot be encoded, or a key belongs to another instance: it is not what the records
    /// have in the field that the stage keeps by.
    pub fn put_by_key<'k, V: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = (&'k [u8], V)>,
    ) -> Result<(), Error> {
        let mut by_group: BTreeMap<u32, Vec<(&[u8], V)>> = BTreeMap::new();
        for (key, value) in entries {
            let group = group_of(key, self.groups.count);
            if !self.groups.held.contains(&group) {
                let key = String::from_utf8_lossy(key);
                return Err(Error::from(format!(
                    "state is saved for {key:?}, which is not one of the keys of this instance: save \
                     it under the bytes of the field of `keeps_by_key`"
                )));
            }
            by_group.entry(group).or_default().push((key, value));
        }
        for (group, entries) in by_group {
            self.by_group.insert(group, state::encode(&entries)?);
        }
        Ok(())
    }

    /// The bytes of each group: the length of the common part, a little-endian u32; the common
    /// part; the entries.
    pub(crate) fn into_groups(mut self) -> Vec<(u32, Vec<u8>)> {
        let held = self.groups.held.clone();
        let bytes = |group| {
            let entries = self.by_group.remove(&group).unwrap_or_default();
            let length = self.whole.len() as u32;
            (!self.whole.is_empty() || !entries.is_empty())
                .then(|| (group, [&length.to_le_bytes()[..], &self.whole, &entries].concat()))
        };
        held.filter_map(bytes).collect()
    }
}

/// A saved state, and who saved it: see [`Checkpoint::restore`](crate::Checkpoint::restore).
#[derive(Debug)]
pub struct Saved {
    version: String,
    config: Value,
    changed: Vec<String>,
    /// The common part and the entries of each group.
    groups: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Saved {
    /// `config` is the configuration of the stage that takes the state.
    pub(crate) fn new(
        groups: impl IntoIterator<Item = Vec<u8>>,
        version: String,
        saved_with: &str,
        config: &str,
    ) -> Result<Self, Error> {
        let (then, now): (Value, Value) =
            (serde_json::from_str(saved_with)?, serde_json::from_str(config)?);
        let none = serde_json::Map::new();
        let settings = |config: &Value| config.as_object().cloned().unwrap_or(none.clone());
        let (then_settings, now_settings) = (settings(&then), settings(&now));
        let mut changed: Vec<String> = (then_settings.keys().chain(now_settings.keys()))
            .filter(|name| then_settings.get(*name) != now_settings.get(*name))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        let groups = groups.into_iter().map(|bytes| {
            let (length, rest) = bytes.split_first_chunk()?;
            let (whole, entries) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some((whole.to_vec(), entries.to_vec()))
        });
        let groups = groups.collect::<Option<_>>().ok_or("it was saved in another format")?;
        Ok(Self { version, config: then, changed, groups })
    }

    /// The version of the component that saved it, as in its description.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The configuration of the stage when it was saved.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The settings that are not what they were when it was saved.
    pub fn changed(&self) -> &[String] {
        &self.changed
    }

    /// Accepts the state if the configuration is the one that it was saved with, apart from
    /// these settings.
    ///
    /// # Errors
    /// If another setting has changed; the error names it.
    pub fn accept_changes_of(&self, settings: &[&str]) -> Result<(), Error> {
        let others: Vec<_> = (self.changed.iter())
            .filter(|name| !settings.contains(&name.as_str()))
            .map(|name| format!("`{name}`"))
            .collect();
        match &others[..] {
            [] => Ok(()),
            others => Err(format!(
                "it was made with another configuration; what differs: {}",
                others.join(", ")
            )
            .into()),
        }
    }

    /// What was [`put`](Save::put).
    ///
    /// # Errors
    /// If nothing was, or it has another shape.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let (whole, _) = self.groups.last().ok_or("nothing was saved")?;
        state::decode(whole)
    }

    /// What was [`put_by_key`](Save::put_by_key).
    ///
    /// # Errors
    /// If it has another shape.
    pub fn by_key<V: DeserializeOwned>(&self) -> Result<Vec<(Vec<u8>, V)>, Error> {
        let mut all = Vec::new();
        for (_, entries) in self.groups.iter().filter(|(_, entries)| !entries.is_empty()) {
            all.extend(state::decode::<Vec<(Vec<u8>, V)>>(entries)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_the_crc_32_modulo_the_number_of_groups() {
        // The check value of CRC-32, in every description of it.
        assert_eq!(group_of(b"123456789", 64), 0xCBF4_3926 % 64);
        assert_eq!(group_of(b"", 64), 0);
        assert_eq!(group_of(b"any", 1), 0);
    }

    #[test]
    fn groups_can_be_given_to_other_instances() {
        let keys: Vec<Vec<u8>> = (0..100).map(|n| format!("key {n}").into_bytes()).collect();
        let mut save = Save::new(KeyGroups { held: 0..8, count: 8 });
        save.put(&7_i64).unwrap();
        save.put_by_key(keys.iter().map(|key| (&key[..], key.len()))).unwrap();
        let groups = save.into_groups();
        assert_eq!(
            groups.iter().map(|(group, _)| *group).collect::<Vec<_>>(),
            Vec::from_iter(0..8)
        );
        let half = groups.into_iter().filter(|(group, _)| *group < 4).map(|(_, bytes)| bytes);
        let half = Saved::new(half, "1".to_owned(), "{}", "{}").unwrap();
        assert_eq!(half.get::<i64>().unwrap(), 7);
        let mut found = half.by_key::<usize>().unwrap();
        let mut wanted: Vec<_> = (keys.into_iter())
            .filter(|key| group_of(key, 8) < 4)
            .map(|key| (key.clone(), key.len()))
            .collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_key_of_another_instance_is_refused() {
        let mut save = Save::new(KeyGroups { held: 0..4, count: 8 });
        let (mine, other): (Vec<_>, Vec<_>) =
            (0..100_u8).map(|n| vec![n]).partition(|key| group_of(key, 8) < 4);
        save.put_by_key(mine.iter().map(|key| (&key[..], 1))).unwrap();
        let refused = save.put_by_key(other.iter().map(|key| (&key[..], 1))).unwrap_err();
        assert!(refused.message.contains("not one of the keys of this instance"), "{refused:?}");
    }

    #[test]
    fn settings_that_changed_are_known_by_name() {
        let saved = |then, now| Saved::new([], "1".to_owned(), then, now).unwrap().changed;
        assert!(saved(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#).is_empty());
        let (then, now) = (r#"{"a":1,"b":2}"#, r#"{"a":2,"c":3}"#);
        assert_eq!(saved(then, now), ["a", "b", "c"]);
        let saved = Saved::new([], "1".to_owned(), then, now).unwrap();
        saved.accept_changes_of(&["a", "b", "c"]).unwrap();
        let refused = saved.accept_changes_of(&["b"]).unwrap_err().message;
        assert!(refused.ends_with("what differs: `a`, `c`"), "{refused}");
    }
}

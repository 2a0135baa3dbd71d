//! Compiled components, stored in the user's cache directory.
//!
//! An entry is named by the SHA-256 of the source and a hash of wasmtime's settings. Its native
//! code is run without further checks, so its checksum is stored beside it. All entries together
//! have a size limit; the least recently used are removed first.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::job::Compiled;

/// Maximum bytes of all entries together.
const MOST: u64 = 1 << 30;
/// The time of last use is updated at most this often.
const NOTED: Duration = Duration::from_secs(3600);
/// Notes about checked configurations are removed this long after their last use.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Unfinished files of this age are removed: nobody will finish them.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Metadata of an entry, in postcard's wire format, in a file beside the code.
#[derive(Debug, Serialize, Deserialize)]
struct EntryMeta {
    hash: String,
    size: u64,
    /// Bytes of the native code, and their CRC-32 (IEEE).
    length: u64,
    crc: u32,
}

/// A complete entry.
#[derive(Debug)]
pub struct CacheEntry {
    /// SHA-256 of the component, in hexadecimal, and its bytes.
    pub hash: String,
    pub size: u64,
    /// Path of the native code.
    pub code: PathBuf,
}

/// A directory of entries.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    most: u64,
}

impl Cache {
    /// `pipehost` in the user's cache directory, readable by the user alone; `None` if there is no
    /// cache directory.
    pub fn of_user() -> Option<Self> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        let directory = base.join("pipehost");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
        let metadata = fs::metadata(&directory).ok()?;
        let mine = metadata.uid() == rustix::process::getuid().as_raw();
        (mine && metadata.mode() & 0o022 == 0).then_some(Self { directory, most: MOST })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// An entry, if it exists and is complete.
    pub fn get(&self, name: &str) -> Option<CacheEntry> {
        let about = fs::read(self.path(&format!("{name}.about"))).ok()?;
        let about = postcard::from_bytes::<EntryMeta>(&about).ok();
        let code = about.as_ref().map(|about| self.code(name, about.crc));
        if code.as_ref().is_some_and(|code| !code.exists()) {
            return None; // It was removed to make room.
        }
        let whole = about.zip(code).filter(|(about, code)| {
            checksum(code).is_ok_and(|found| found == (about.length, about.crc))
        });
        let Some((EntryMeta { hash, size, .. }, code)) = whole else {
            tracing::warn!(
                "{name} in the cache is damaged: its checksum is wrong; it is compiled again"
            );
            return None;
        };
        note_use(&code);
        note_use(&self.path(&format!("{name}.about")));
        Some(CacheEntry { hash, size, code })
    }

    /// Stores an entry, and removes others if there is no room for it.
    pub fn put(&self, name: &str, compiled: &Compiled) {
        // One entry must not take the room of all others.
        if compiled.code.len() as u64 > self.most / 4 {
            return;
        }
        let crc = crc32fast::hash(&compiled.code);
        let about = EntryMeta {
            hash: compiled.hash.clone(),
            size: compiled.size,
            length: compiled.code.len() as u64,
            crc,
        };
        let kept = postcard::to_stdvec(&about).map_err(io::Error::other).and_then(|about| {
            self.write(&self.code(name, crc), &compiled.code)?;
            self.write(&self.path(&format!("{name}.about")), &about)
        });
        if let Err(error) = kept.and_then(|()| self.evict()) {
            tracing::debug!("cannot keep a compiled component: {error}");
        }
    }

    /// Whether there is a note of this name.
    pub fn has_note(&self, name: &str) -> bool {
        let path = self.path(&format!("{name}.ok"));
        let there = path.is_file();
        if there {
            note_use(&path);
        }
        there
    }

    /// Writes a note without contents.
    pub fn note(&self, name: &str) {
        let _ = self.write(&self.path(&format!("{name}.ok")), &[]);
    }

    /// Writes a note with contents.
    pub(crate) fn write_note(&self, name: &str, bytes: &[u8]) {
        let _ = self.write(&self.path(&format!("{name}.ok")), bytes);
    }

    /// The contents of a note.
    pub(crate) fn read_note(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path(&format!("{name}.ok"));
        let bytes = fs::read(&path).ok()?;
        note_use(&path);
        Some(bytes)
    }

    /// Path of the native code. Its name includes the checksum, so that runs that write the same
    /// entry at the same time do not mix their code.
    fn code(&self, name: &str, crc: u32) -> PathBuf {
        self.path(&format!("{name}-{crc:08x}.cwasm"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }

    fn evict(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)?.flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let age = now.duration_since(used).unwrap_or_default();
            if path.extension().is_some_and(|kind| kind == "ok") && age > FORGOTTEN {
                let _ = fs::remove_file(path);
                continue;
            }
            let kinds = ["cwasm", "about", "ok"];
            if path.extension().is_some_and(|kind| kinds.iter().any(|k| kind == *k)) {
                entries.push((used, metadata.len().max(1), path));
            } else if age > ABANDONED {
                let _ = fs::remove_file(path);
            }
        }
        entries.sort();
        let mut all: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if all <= self.most {
                return Ok(());
            }
            fs::remove_file(path)?;
            all -= bytes;
        }
        Ok(())
    }
}

/// Length and CRC-32 of a file, read in small parts.
fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, crc.finalize())),
            read => {
                crc.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

fn note_use(path: &Path) {
    let old = |used: SystemTime| used.elapsed().is_ok_and(|age| age > NOTED);
    if fs::metadata(path).and_then(|m| m.modified()).is_ok_and(old)
        && let Ok(file) = File::options().append(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(bytes: usize) -> Compiled {
        Compiled { hash: "h".to_owned(), size: 1, code: vec![7; bytes] }
    }

    #[test]
    fn a_damaged_entry_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: folder.path().to_owned(), most: MOST };
        assert!(cache.get("a").is_none());
        cache.put("a", &compiled(100));
        assert_eq!(fs::read(cache.get("a").unwrap().code).unwrap(), [7; 100]);
        let path = cache.get("a").unwrap().code;
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(cache.get("a").is_none(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(cache.get("a").is_none(), "truncated at {at}");
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: folder.path().to_owned(), most: 5000 };
        let age = |name: &str, hours: u64| {
            let file = File::options().append(true).open(cache.get(name).unwrap().code).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        };
        cache.put("a", &compiled(1200));
        age("a", 3);
        cache.put("b", &compiled(1200));
        age("b", 2);
        assert!(cache.get("a").is_some(), "used now");
        for name in ["c", "d"] {
            cache.put(name, &compiled(1200));
        }
        cache.put("e", &compiled(1200));
        assert!(cache.get("b").is_none());
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
    }
}

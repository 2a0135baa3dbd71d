//! The lock: which digest each tag had when somebody looked.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;

const HEADER: &str = "\
# Written by pipehost: the components that the tags of this pipeline meant.
# Keep this file with the pipeline.

";
const VERSION: u32 = 1;

/// The digests of references with tags. A reference with a digest needs none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    digests: BTreeMap<String, Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    components: BTreeMap<String, String>,
}

impl Lock {
    /// Reads a lock; an empty one if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |why: String| Error::Lock { file: path.to_owned(), why };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(wrong),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!(
                "it has version {}, and this program knows {VERSION}",
                file.version
            ));
        }
        let mut digests = BTreeMap::new();
        for (reference, digest) in file.components {
            let reference: Reference =
                reference.parse().map_err(|error: Error| error.to_string())?;
            let digest = digest.parse().map_err(|error: Error| error.to_string())?;
            digests.insert(reference.to_string(), digest);
        }
        Ok(Self { digests })
    }

    /// The text of the file: the same for the same digests.
    pub fn text(&self) -> String {
        let components = self.digests.iter();
        let components =
            components.map(|(key, digest)| (key.clone(), digest.to_string())).collect();
        let file = File { version: VERSION, components };
        HEADER.to_owned() + &toml::to_string(&file).expect("texts and a number are TOML")
    }

    /// Writes the lock: the old file, or the new one, but no part of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write(path, self.text().as_bytes())
    }

    /// The reference with its digest, if the lock has it.
    pub fn pin(&self, reference: &Reference) -> Option<Reference> {
        if reference.digest().is_some() {
            return Some(reference.clone());
        }
        self.digests.get(&reference.to_string()).map(|digest| reference.pinned(*digest))
    }

    /// Keeps what a tag means.
    pub fn keep(&mut self, reference: &Reference, digest: Digest) {
        if reference.digest().is_none() {
            self.digests.insert(reference.to_string(), digest);
        }
    }

    /// Forgets all that is not one of these.
    pub fn retain(&mut self, references: &[Reference]) {
        let used = references.iter().map(Reference::to_string).collect::<Vec<_>>();
        self.digests.retain(|reference, _| used.contains(reference));
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let wrong = |why| Error::Write { file: path.to_owned(), why };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(wrong)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(wrong)?;
    file.persist(path).map(|_| ()).map_err(|error| wrong(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipehost.lock");
        let [a, b] = ["oci://ghcr.io/a:1", "oci://ghcr.io/b:1"].map(|text| text.parse().unwrap());
        let digest = Digest::of(b"a");
        let mut lock = Lock::read(&path).unwrap();
        assert_eq!(lock, Lock::default());
        lock.keep(&b, digest);
        lock.keep(&a, digest);
        lock.keep(&a.pinned(digest), Digest::of(b"another"));
        lock.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = format!(
            "{HEADER}version = 1\n\n[components]\n\
             \"oci://ghcr.io/a:1\" = \"{digest}\"\n\"oci://ghcr.io/b:1\" = \"{digest}\"\n"
        );
        assert_eq!(text, expected);
        let mut lock = Lock::read(&path).unwrap();
        assert_eq!(lock.pin(&a), Some(a.pinned(digest)));
        assert_eq!(lock.pin(&a.pinned(digest)), Some(a.pinned(digest)));
        lock.retain(&[a]);
        assert_eq!(lock.pin(&b), None);
    }

    #[test]
    fn a_lock_that_is_not_understood_is_not_used() {
        for (text, why) in [
            ("version = 2", "version 2"),
            ("", "version"),
            ("version = 1\n[components]\n\"a\" = \"sha256:\"", "oci://"),
            ("version = 1\n[components]\n\"oci://ghcr.io/a:1\" = \"x\"", "not a digest"),
            ("version = 1\n[stages]", "unknown field"),
        ] {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}

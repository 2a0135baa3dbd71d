//! A file: one that appears complete or not at all, one that is appended to, or one that a
//! state directory cuts back to where its last cut ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Resume;
use crate::codec;
use crate::config::{FilePartition, FileSink as Config, Rotate};
use crate::engine::content_hash;
use crate::fingerprint::crc;
use crate::folder;
use crate::reach;
use crate::record::Batch;
use crate::rotation;
use crate::template::key_or_attribute;

pub struct FileSink {
    config: Arc<Config>,
    /// Whether files are cut back after a crash.
    kept: bool,
    /// None while a write is under way.
    files: Option<Files>,
}

/// By path.
#[derive(Default)]
struct Files {
    open: BTreeMap<PathBuf, Open>,
    /// Of those that were not there when the sink was opened, where they ended: they may
    /// come back.
    gone: BTreeMap<PathBuf, Value>,
}

/// Files that a sink may write, one for each value in its path: what a stage makes up must
/// not make files without end.
const MOST_FILES: usize = 1000;

/// The file that is written now.
struct Open {
    path: PathBuf,
    target: Target,
    /// Bytes in it.
    length: u64,
    /// When it was begun.
    begun: SystemTime,
    /// Written since it was synced.
    dirty: bool,
    rotate: Rotate,
    /// The highest number that a rotated file had.
    rotated: u64,
}

enum Target {
    /// Written beside the path and renamed at the end; removed if that does not come.
    Complete(NamedTempFile),
    /// Written in place, by appending.
    Appended(File),
    /// A device or a pipe, which a rename would replace.
    Stream(File),
    /// Written in place, and cut back after a crash.
    Kept(File),
}

/// Where a file ended.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    length: u64,
    /// The CRC-32 of its last bytes, [`TAIL`] at most: another file does not end like this.
    tail: u32,
    begun: SystemTime,
    /// The highest number that a rotated file had.
    rotated: u64,
}

const TAIL: u64 = 4096;

impl Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_due() {
            self.rotate()?;
        }
        self.dirty = true;
        self.target.file().write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn is_due(&self) -> bool {
        let age = || self.begun.elapsed().unwrap_or_default();
        !matches!(self.target, Target::Stream(_))
            && self.length > 0
            && (self.rotate.bytes.is_some_and(|bytes| self.length >= bytes)
                || self.rotate.every.is_some_and(|every| age() >= every))
    }

    /// Gives the file a number, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        // Numbers are not used again, also if somebody has taken files away.
        self.rotated = self.rotated.max(rotation::highest(&self.path)) + 1;
        let next = rotation::numbered(&self.path, self.rotated);
        self.target = match &self.target {
            Target::Stream(_) => unreachable!("a stream is never due"),
            Target::Complete(file) => {
                let new = folder::temporary(&self.path, file.as_file().metadata()?.permissions())?;
                match std::mem::replace(&mut self.target, Target::Complete(new)) {
                    Target::Complete(file) => file.persist(next).map_err(|error| error.error)?,
                    _ => unreachable!("it was complete a moment ago"),
                };
                (self.length, self.begun) = (0, SystemTime::now());
                return Ok(());
            }
            Target::Appended(_) => {
                fs::rename(&self.path, next)?;
                Target::Appended(OpenOptions::new().create(true).append(true).open(&self.path)?)
            }
            Target::Kept(_) => {
                fs::rename(&self.path, next)?;
                Target::Kept(create(&self.path, true)?)
            }
        };
        (self.length, self.begun) = (0, SystemTime::now());
        folder::keep_name(&self.path)
    }

    fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        match self.target.file().sync_all() {
            // Pipes and terminals have nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    fn position(&self) -> io::Result<Option<Position>> {
        let Target::Kept(file) = &self.target else { return Ok(None) };
        let (length, tail) = (self.length, TAIL.min(self.length));
        let tail = crc(file, length - tail, tail)?;
        let (begun, rotated) = (self.begun, self.rotated);
        Ok(Some(Position { length, tail, begun, rotated }))
    }
}

impl Target {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Complete(file) => file.as_file_mut(),
            Self::Appended(file) | Self::Stream(file) | Self::Kept(file) => file,
        }
    }
}

/// A file to read and write, at its end.
fn create(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).read(true).write(true).truncate(truncate).open(path)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

impl FileSink {
    pub(super) fn open(config: &Config, resume: &Resume<'_>) -> Result<Self, String> {
        let mut files = Files::default();
        match (&config.partition, resume) {
            (None, _) => {
                let path = &config.path.value;
                files.open.insert(path.clone(), Open::new(path, config, resume)?);
            }
            (Some(_), Resume::FromPosition(position)) => {
                let positions: BTreeMap<PathBuf, Value> =
                    serde_json::from_value((*position).clone()).map_err(unknown_position)?;
                for (path, position) in positions {
                    let Position { rotated, .. } =
                        serde_json::from_value(position.clone()).map_err(unknown_position)?;
                    let undone = rotation::undo_after(&path, rotated);
                    undone.map_err(|error| cannot_write(&path, &error))?;
                    if !path.try_exists().map_err(|error| cannot_write(&path, &error))? {
                        tracing::warn!(
                            "{} is gone: if it stays so, it is begun anew",
                            path.display()
                        );
                        files.gone.insert(path, position); // Taken away when it was done with.
                        continue;
                    }
                    let open = Open::new(&path, config, &Resume::FromPosition(&position))?;
                    files.open.insert(path, open);
                }
            }
            (Some(_), _) => {}
        }
        let kept = !matches!(resume, Resume::NotAtAll);
        Ok(Self { config: Arc::new(config.clone()), kept, files: Some(files) })
    }

    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let batch = batch.clone();
        let (config, kept) = (self.config.clone(), self.kept);
        // Encoded there too: a batch can become much text.
        self.blocking(move |files| {
            let parts = match &config.partition {
                None => BTreeMap::from([(config.path.value.clone(), None)]),
                Some(partition) => divide(partition, &batch),
            };
            for (path, rows) in parts {
                if !files.open.contains_key(&path) {
                    if files.open.len() >= MOST_FILES {
                        let path = config.path.value.display();
                        return Err(format!("{path} makes more than {MOST_FILES} files"));
                    }
                    make_folder(&config, &path)?;
                    let back = files.gone.remove(&path).filter(|_| path.exists());
                    let resume = match &back {
                        Some(position) => Resume::FromPosition(position),
                        None if kept => Resume::New,
                        None => Resume::NotAtAll,
                    };
                    files.open.insert(path.clone(), Open::new(&path, &config, &resume)?);
                }
                let open = files.open.get_mut(&path).expect("it was just made");
                let part = rows.map_or_else(|| batch.clone(), |rows| batch.pick(Arc::new(rows)));
                codec::encode_pieces(&config.encoding, &part, |piece| open.write(piece))
                    .map_err(|error| cannot_write(&path, &error))?;
            }
            Ok(())
        })
        .await
    }

    /// Makes durable what was written, and says where it ends; none if it cannot be cut
    /// back.
    pub(super) async fn sync(&mut self) -> Result<Option<Value>, String> {
        let is_divided = self.config.partition.is_some();
        self.blocking(move |files| {
            let mut positions = files.gone.clone();
            for (path, open) in &mut files.open {
                let position = open.sync().and_then(|()| open.position());
                if let Some(position) = position.map_err(|error| cannot_write(path, &error))? {
                    let json = serde_json::to_value(position).expect("its keys are texts");
                    positions.insert(path.clone(), json);
                }
            }
            Ok(match is_divided {
                true => Some(serde_json::to_value(positions).map_err(|error| error.to_string())?),
                false => positions.into_values().next(),
            })
        })
        .await
    }

    pub(super) async fn finish(mut self) -> Result<Option<Value>, String> {
        let position = self.sync().await?;
        for open in self.files.unwrap_or_default().open.into_values() {
            if let Target::Complete(file) = open.target {
                let persisted = file.persist(&open.path);
                persisted.map_err(|error| cannot_write(&open.path, &error.error))?;
                folder::keep_name(&open.path).map_err(|error| cannot_write(&open.path, &error))?;
            }
        }
        Ok(position)
    }

    async fn blocking<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> Result<R, String> + Send + 'static,
    ) -> Result<R, String> {
        let mut files = self.files.take().expect("one write at a time");
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&mut files);
            (files, result)
        });
        let (files, result) = work.await.expect("writing does not panic");
        self.files = Some(files);
        result
    }
}

/// The rows of a batch, by the file that they go to; none: all.
fn divide(partition: &FilePartition, batch: &Batch) -> BTreeMap<PathBuf, Option<Vec<u32>>> {
    let mut by_path: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    let mut path = Vec::new();
    for row in 0..batch.len {
        path.clear();
        partition.path.render_with(&mut path, |name, out| {
            push_name(key_or_attribute(batch, row, name).unwrap_or_default(), out);
        });
        finish_names(&mut path, partition.path.ends_with_name());
        match by_path.get_mut(&path) {
            Some(rows) => rows.push(row as u32),
            None => drop(by_path.insert(path.clone(), vec![row as u32])),
        }
    }
    let whole = |path: Vec<u8>| partition.base.join(OsString::from_vec(path));
    by_path.into_iter().map(|(path, rows)| (whole(path), Some(rows))).collect()
}

/// Makes names of what records have made: none is too long for a file system, and none is that
/// of a file that was rotated away, `NAME.1`. Two that differ stay different.
fn finish_names(path: &mut Vec<u8>, ends_with_name: bool) {
    const LONGEST: usize = 200;
    let digits = path.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let dot = path.len().checked_sub(digits + 1);
    if let Some(dot) = dot.filter(|&dot| ends_with_name && digits > 0 && path[dot] == b'.') {
        path.splice(dot..=dot, *b"%2E");
    }
    if path.split(|&byte| byte == b'/').any(|name| name.len() > LONGEST) {
        let name = |name: &[u8]| match name.len() {
            0..=LONGEST => name.to_vec(),
            _ => shortened(name, name, LONGEST),
        };
        let names: Vec<_> = path.split(|&byte| byte == b'/').map(name).collect();
        *path = names.join(&b'/');
    }
}

/// The begin of a name that is too long, told apart from others by what it stands for.
fn shortened(name: &[u8], meaning: &[u8], longest: usize) -> Vec<u8> {
    const DIGITS: usize = 32;
    let digest = content_hash(meaning);
    // No value is written like this: behind a `%` stand hexadecimal digits then.
    [&name[..longest - DIGITS - 2], b"%-", &digest.as_bytes()[..DIGITS]].concat()
}

/// Makes the folder of a file whose name strangers chose. It must be where it says: no link
/// below the part of the path that the operator wrote leads anywhere else.
fn make_folder(config: &Config, path: &Path) -> Result<(), String> {
    let failed = |error: io::Error| cannot_write(path, &error);
    let folder = folder::of(path);
    let (fixed, _) = reach::fixed_before(&config.path.value, &['{']);
    fs::create_dir_all(&fixed).map_err(failed)?;
    let real = fixed.canonicalize().map_err(failed)?;
    // Each before it is made: what is made behind a link is made elsewhere.
    let mut there = fixed.clone();
    for part in folder.strip_prefix(&fixed).unwrap_or(folder).components() {
        if part == Component::CurDir {
            continue;
        }
        there.push(part);
        match fs::symlink_metadata(&there) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => break,
            _ => fs::create_dir(&there).map_err(failed)?,
        }
    }
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
    if is_link(&there) && there != fixed
        || is_link(path)
        || !folder.canonicalize().map_err(failed)?.starts_with(&real)
    {
        return Err(format!(
            "cannot write {}: there is a link, and its name was made of a record; name what it \
             leads to, or take it away",
            path.display()
        ));
    }
    Ok(())
}

/// A value as a part of a path: it cannot lead to another folder, nor hide. What is not plain is
/// written as in a URL (RFC 3986, section 2.1), so that no two values have one name.
fn push_name(value: &[u8], out: &mut Vec<u8>) {
    const LONGEST: usize = 100;
    const NONE: &[u8] = b"none";
    if value.is_empty() {
        out.extend_from_slice(NONE);
        return;
    }
    let start = out.len();
    for (at, &byte) in value.iter().take(LONGEST + 1).enumerate() {
        let is_plain = match byte {
            b'.' => at > 0,
            byte => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
        };
        match byte {
            _ if value == NONE && at == 0 => out.extend_from_slice(b"%6E"),
            byte if is_plain => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    if out.len() - start > LONGEST {
        let name = shortened(&out[start..], value, LONGEST);
        out.splice(start.., name);
    }
}

impl Open {
    fn new(path: &Path, config: &Config, resume: &Resume<'_>) -> Result<Self, String> {
        let failed = |error: io::Error| cannot_write(path, &error);
        let existing = fs::metadata(path).ok();
        if !folder::of(path).is_dir() {
            let folder = folder::of(path).display();
            return Err(format!(
                "cannot write {}: the folder {folder} does not exist",
                path.display()
            ));
        }
        // A link stays, and what it points to is replaced.
        let path =
            if existing.is_some() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let is_regular = existing.as_ref().is_none_or(fs::Metadata::is_file);
        let (mut begun, mut rotated) = (SystemTime::now(), 0);
        let target = match resume {
            Resume::FromPosition(position) if is_regular => {
                let position: Position =
                    serde_json::from_value((*position).clone()).map_err(unknown_position)?;
                (begun, rotated) = (position.begun, position.rotated);
                go_on(&path, &position)?
            }
            Resume::New if is_regular => {
                let file = create(&path, !config.append).map_err(failed)?;
                rotated = rotation::highest(&path);
                folder::keep_name(&path).map_err(failed)?;
                Target::Kept(file)
            }
            _ if !is_regular => {
                Target::Stream(OpenOptions::new().append(true).open(&path).map_err(failed)?)
            }
            _ if config.append => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                folder::keep_name(&path).map_err(failed)?;
                Target::Appended(file.map_err(failed)?)
            }
            _ => {
                // Those of the file that it replaces; else what any new file gets, less the
                // umask.
                let new = || Permissions::from_mode(0o666);
                let permissions = existing.map_or_else(new, |metadata| metadata.permissions());
                Target::Complete(folder::temporary(&path, permissions).map_err(failed)?)
            }
        };
        let mut open = Self {
            target,
            length: 0,
            begun,
            dirty: true,
            rotate: config.rotate.clone(),
            rotated,
            path,
        };
        if is_regular {
            let metadata = open.target.file().metadata();
            open.length = metadata.map_err(|error| cannot_write(&open.path, &error))?.len();
        }
        Ok(open)
    }
}

/// Cuts a file back to where it ended, and goes on from there.
fn go_on(path: &Path, position: &Position) -> Result<Target, String> {
    let failed = |error: io::Error| cannot_write(path, &error);
    let Position { length, tail, rotated, .. } = *position;
    rotation::undo_after(path, rotated).map_err(failed)?;
    let differs = |what: &str| {
        format!(
            "cannot go on with {}: {what}. Bring it back as it was, or write it anew from here on: \
             pipehost state reset DIR --node NAME",
            path.display()
        )
    };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(differs(&format!("it had {length} bytes, and is gone")));
        }
        Err(error) => return Err(failed(error)),
    };
    let there = file.metadata().map_err(failed)?.len();
    if there < length {
        return Err(differs(&format!("it had {length} bytes, and has {there}")));
    }
    let end = TAIL.min(length);
    if crc(&file, length - end, end).map_err(failed)? != tail {
        return Err(differs("it is not the file that was written"));
    }
    file.set_len(length).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok(Target::Kept(file))
}

fn unknown_position(error: serde_json::Error) -> String {
    format!("the state does not know where it ended: {error}")
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_have_one_name() {
        let name = |value: &[u8]| {
            let mut path = b"out/".to_vec();
            push_name(value, &mut path);
            finish_names(&mut path, true);
            String::from_utf8(path).unwrap()
        };
        for (value, expected) in [
            ("INFO", "INFO"),
            ("a/b", "a%2Fb"),
            ("a_b", "a_b"),
            ("a%2Fb", "a%252Fb"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("1.2", "1%2E2"),
            ("1.2.3", "1.2%2E3"),
            ("1_2", "1_2"),
            ("none", "%6Eone"),
            ("", "none"),
            ("a\0\n", "a%00%0A"),
        ] {
            assert_eq!(name(value.as_bytes()), format!("out/{expected}"));
        }
        let long: Vec<_> = ["x", "y", "/"].map(|end| "a".repeat(150) + end).into();
        let names: std::collections::BTreeSet<_> =
            long.iter().map(|l| name(l.as_bytes())).collect();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.len() == "out/".len() + 100));
        assert_ne!(name(&[b'/'; 100]), name(&[b'/'; 101]));
    }
}

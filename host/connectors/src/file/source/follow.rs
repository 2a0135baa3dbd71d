//! Follows files that grow, as `tail -F` does: through rotation, truncation, and from before they
//! exist. Files are polled, not watched, so that network file systems work too.
//!
//! The search for files never waits for the pipeline: a file that is renamed while a queue is full
//! is opened before it is deleted.

use anyhow::{Result, anyhow};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::file::source::bytes::{InputStart, Piece, Pieces, ReceiverGone, SendOutcome};
use crate::file::source::compression::{self, keep_tail};
use crate::file::source::input::{
    begins_as_utf16, end_of_lines, head_of, is_too_old, is_utf8, is_written, tail_of,
    warn_rewritten,
};
use crate::file::source::paths::{FoundFile, Paths};
use crate::file::source::positions::{FilePosition, FilePositions, KnownFile};
use crate::file::written::WrittenFiles;
use pipehost_codec::{CONVERT, is_utf16};
use pipehost_config::{BeginAt, FileSource as Config};
use pipehost_files::fingerprint::{Fingerprint, inode, is_at};
use pipehost_files::folder::{self, kept};
use pipehost_files::paths::cannot_read;
use pipehost_observe::progress::Progress;
use pipehost_record::foreign::Foreign;

/// How long to wait when no file has grown, and between two searches for new files.
const LOOK: Duration = Duration::from_millis(100);
/// A change more recent than this may share its timestamp with a later one.
const SETTLES: Duration = Duration::from_millis(50);
/// The most nameless files that are kept open.
const MOST_NAMELESS: usize = 1000;

/// A file that is being followed.
struct Followed {
    path: PathBuf,
    /// The path as saved in the state.
    kept: PathBuf,
    is_utf8: bool,
    /// The path of its first find: files found there one after the other are one rotation.
    rotation: PathBuf,
    file: File,
    fingerprint: Fingerprint,
    content: Content,
    /// Its path is gone, or leads to another file.
    nameless: bool,
    /// Since when it is nameless and has not grown.
    quiet: Option<Instant>,
}

enum Content {
    Plain(Plain),
    Compressed(Compressed),
    /// Nothing more is read; it stays listed, so that it is not opened again.
    Done,
}

struct Plain {
    /// Bytes that were read, and the last of them.
    offset: u64,
    tail: Vec<u8>,
    /// Size and time of the file when it was last found fully read.
    seen: Option<Change>,
}

struct Compressed {
    reader: Box<dyn Read + Send>,
    /// Bytes of decompressed content that were read.
    offset: u64,
    /// Size and time of the file when it was read to its end, or to where it is torn.
    ended: Option<Change>,
    /// Whether it was read to its end, not to where it is torn.
    whole: bool,
    /// The earliest time to reread it from its start: otherwise, each small write to a large file
    /// would have all of it decompressed again.
    again: Option<Instant>,
}

/// After a reread, the next one waits this many times as long as that took.
const REST: u32 = 9;

/// When a file was last changed (its ctime), and its size then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Compressed {
    fn new(reader: Box<dyn Read + Send>, offset: u64) -> Self {
        Self { reader, offset, ended: None, whole: false, again: None }
    }
}

impl Change {
    fn of(metadata: &fs::Metadata) -> Self {
        let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
        Self { size: metadata.len(), seconds, nanoseconds }
    }

    /// Whether a later change would get a later timestamp.
    fn is_settled(self) -> bool {
        let at = Duration::new(
            self.seconds.max(0).unsigned_abs(),
            u32::try_from(self.nanoseconds).unwrap_or(0),
        );
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(at).is_some_and(|since| since > SETTLES)
    }
}

struct Follower<'a> {
    config: &'a Config,
    /// By number, in the order in which they were found.
    files: BTreeMap<usize, Followed>,
    by_inode: HashMap<(u64, u64), usize>,
    /// Saved positions of files that have not been found yet.
    known: FilePositions,
    written: WrittenFiles,
    next: usize,
    /// Pieces to send, in this order.
    out: VecDeque<Result<Piece>>,
    /// Files that cannot be read, and were warned about.
    told: HashSet<PathBuf>,
    keeps_state: bool,
    /// Whether files that no run has read are read from their end on.
    begins_at_end: bool,
    progress: &'a Progress,
    /// Bytes that were read of all files.
    read: u64,
}

/// What an earlier run has left.
pub(crate) struct Earlier {
    pub(crate) known: FilePositions,
    /// Whether there was none.
    pub(crate) is_none: bool,
}

/// Follows files until the run is over.
pub(crate) fn follow(
    config: &Config,
    mut paths: Paths,
    earlier: Earlier,
    written: WrittenFiles,
    keeps_state: bool,
    progress: &Progress,
    pieces: &Pieces,
) -> Result<(), ReceiverGone> {
    let mut follower = Follower {
        config,
        files: BTreeMap::new(),
        by_inode: HashMap::new(),
        known: earlier.known,
        written,
        next: 0,
        out: VecDeque::new(),
        told: HashSet::new(),
        keeps_state,
        begins_at_end: earlier.is_none && config.begin_at == BeginAt::End,
        progress,
        read: progress.done(),
    };
    let named = paths.files_so_far();
    follower.catch_up(&named);
    let mut is_first = true;
    while !pieces.are_unwanted() {
        follower.look(&mut paths);
        if std::mem::take(&mut is_first) {
            // What comes from now on is new.
            follower.begins_at_end = false;
            follower.note_gone();
        }
        let read = follower.read(pieces);
        while let Some(piece) = follower.out.pop_front() {
            let failed = piece.is_err();
            match pieces.send_within(piece, LOOK)? {
                SendOutcome::Yes if failed => return Ok(()),
                SendOutcome::Yes => {}
                SendOutcome::NotYet(piece) => {
                    follower.out.push_front(piece);
                    follower.look(&mut paths);
                }
            }
            if pieces.are_unwanted() {
                break;
            }
        }
        if !read {
            std::thread::sleep(LOOK);
        }
    }
    follower.stop(pieces)
}

impl Follower<'_> {
    /// Finds files that were renamed or compressed since the earlier run; `named` are those that
    /// the configured paths find.
    fn catch_up(&mut self, named: &[FoundFile]) {
        let named: HashSet<_> = (named.iter())
            .filter_map(|found| fs::metadata(&found.path).ok())
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .collect();
        let folders: BTreeSet<_> = (self.known.iter())
            .map(|position| folder::of(&self.config.base.join(&position.path)).to_owned())
            .collect();
        let entries = || folders.iter().flat_map(fs::read_dir).flatten().flatten();
        for entry in entries() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let inode = (metadata.dev(), metadata.ino());
            // Open a renamed file before the file that has its old name now.
            let known = self.known.of_inode(inode).filter(|known| {
                !named.contains(&inode) || known.path.file_name() != path.file_name()
            });
            // Another file may reuse the inode: compare the first bytes too.
            let renamed = known.filter(|known| {
                open_regular(&path).and_then(|file| known.file.begins(&file)).unwrap_or(false)
            });
            let Some(kept) = renamed.map(|known| known.path.clone()) else { continue };
            let Ok(file) = open_regular(&path) else { continue };
            self.open(&path, &kept, file);
        }
        // A missing file may have been compressed: the copy also holds its unread rest.
        for entry in entries() {
            let is_compressed =
                |file: &File| compression::decompress(file).is_ok_and(|d| d.is_some());
            let Ok(file) = open_regular(&entry.path()) else { continue };
            if is_compressed(&file) {
                self.find_copy(&entry.path(), file);
            }
        }
    }

    /// Resumes in a compressed file, if it holds the content of a known file that is missing.
    fn find_copy(&mut self, path: &Path, file: File) {
        if inode(&file).is_ok_and(|inode| self.known.of_inode(inode).is_some()) {
            return;
        }
        let candidates: Vec<_> = (self.known.iter())
            .filter(|known| {
                let there = open_regular(&self.config.base.join(&known.path));
                let is_there = there.and_then(|there| {
                    let same = inode(&there)? == known.file.inode();
                    Ok(same && known.file.begins(&there)?)
                });
                known.file.head > 0 && !is_there.unwrap_or(false)
            })
            .cloned()
            .collect();
        for known in candidates {
            let holds = |length: u64| -> io::Result<Option<Vec<u8>>> {
                let reader = compression::decompress(&file)?;
                reader.map_or(Ok(None), |mut reader| compression::skip(&mut reader, length))
            };
            let is_it = |length: u64, crc: u32| {
                holds(length).is_ok_and(|tail| tail.is_some_and(|t| crc32fast::hash(&t) == crc))
            };
            if !is_it(known.file.head, known.file.crc) || !is_it(known.offset, known.tail) {
                continue;
            }
            tracing::info!(
                "{} was compressed to {}: the rest of it is read there",
                known.path.display(),
                path.display()
            );
            self.known.take_inode(known.file.inode());
            let (Ok(fingerprint), Ok(Some(mut reader))) =
                (Fingerprint::of(&file, u64::MAX), compression::decompress(&file))
            else {
                return;
            };
            let Ok(Some(tail)) = compression::skip(&mut reader, known.offset) else { return };
            let (offset, records) = (known.offset, known.records);
            let Ok(head) = head_of(&file, offset, &self.config.codec) else { return };
            let content = Content::Compressed(Compressed::new(reader, offset));
            let rotation = self.config.base.join(&known.path);
            let begin = InputStart {
                place: path.display().to_string().into(),
                file: Some((known.path.clone(), fingerprint.clone())),
                offset,
                records,
                tail,
                head,
                known: Some(known),
            };
            self.begin(&rotation, file, fingerprint, content, begin);
            return;
        }
    }

    /// Reports the files of the earlier run that are missing.
    fn note_gone(&mut self) {
        let gone = self.known.iter().map(|known| known.file.inode()).collect();
        self.out.push_back(Ok(Piece::Missing(gone)));
    }

    /// Looks for new files and new names, and reads no content.
    fn look(&mut self, paths: &mut Paths) {
        for found in paths.files_so_far() {
            self.find(&found);
        }
        for file in self.files.values_mut() {
            file.nameless = !is_at(&file.path, &file.file);
        }
        self.tell_lag();
    }

    /// Tells how many bytes are not read; not while a compressed file is being read, of which nobody
    /// knows how much it holds.
    fn tell_lag(&self) {
        let is_open = |file: &Followed| match &file.content {
            Content::Compressed(compressed) => compressed.ended.is_none(),
            Content::Plain(_) | Content::Done => false,
        };
        if self.files.values().any(is_open) {
            return self.progress.forget_goal();
        }
        let unread = |file: &Followed| match &file.content {
            Content::Plain(plain) => {
                let length = file.file.metadata().map_or(0, |metadata| metadata.len());
                length.saturating_sub(plain.offset)
            }
            Content::Compressed(_) | Content::Done => 0,
        };
        let unread: u64 = self.files.values().map(unread).sum();
        self.progress.set_goal_bytes(self.read + unread);
    }

    /// Reads what was added to each file; true if there was something.
    fn read(&mut self, pieces: &Pieces) -> bool {
        let mut read = false;
        let newest = self.newest_nameless();
        for number in self.files.keys().copied().collect::<Vec<_>>() {
            let file = self.files.get_mut(&number).expect("it is there");
            let out = &mut self.out;
            let told = &mut self.told;
            let got = match &mut file.content {
                Content::Plain(_) => file.read_plain(number, pieces, out, told),
                Content::Compressed(_) => file.read_compressed(number, pieces, out, told),
                Content::Done => Ok(false),
            };
            if let Some(Ok(Piece::Bytes(_, chunk))) = self.out.back()
                && matches!(got, Ok(true))
            {
                self.read += chunk.len() as u64;
            }
            match got {
                Ok(got) => read |= got,
                Err(error) => {
                    self.out.push_back(Err(cannot_read(&file.path, &error)));
                    return true;
                }
            }
            if matches!(got, Ok(true)) || !file.nameless {
                file.quiet = None;
                continue;
            }
            // A writer may still write to a file that was renamed. Once a newer file of the
            // rotation is renamed too, it has stopped.
            let waited = file.quiet.get_or_insert_with(Instant::now).elapsed();
            let is_removed = file.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
            let is_whole = match &file.content {
                Content::Done => true,
                Content::Compressed(compressed) => compressed.whole,
                Content::Plain(_) => false,
            };
            let is_over = is_whole || is_removed || !newest.contains(&number);
            if is_over && waited >= self.config.rotate_wait {
                self.forget(number, is_removed);
            }
        }
        read
    }

    /// The newest nameless file of each rotation, [`MOST_NAMELESS`] in all.
    fn newest_nameless(&self) -> HashSet<usize> {
        let nameless = || self.files.iter().filter(|(_, file)| file.nameless);
        let by_rotation: HashMap<&Path, usize> =
            nameless().map(|(&number, file)| (&*file.rotation, number)).collect();
        let mut newest: Vec<_> = by_rotation.into_values().collect();
        newest.sort_unstable();
        newest.into_iter().rev().take(MOST_NAMELESS).collect()
    }

    /// Opens the file at a path, unless it is followed already.
    fn find(&mut self, found: &FoundFile) {
        let path = &*found.path;
        let Ok(metadata) = fs::metadata(path) else { return }; // Not there (yet).
        if !metadata.is_file() {
            if !found.is_of_pattern() {
                let path = path.display();
                self.out.push_back(Err(anyhow!("cannot follow {path}: it is not a regular file")));
            }
            return; // It was created since; the next look skips it.
        }
        let inode = (metadata.dev(), metadata.ino());
        if let Some(&number) = self.by_inode.get(&inode) {
            let followed = self.files.get_mut(&number).expect("it is known by its inode");
            followed.path = path.to_owned(); // It may have been renamed.
            return;
        }
        if self.written.has(inode) {
            self.out.push_back(Err(is_written(path)));
            return;
        }
        let is_known = self.known.knows(inode, &kept(&self.config.base, path));
        if !is_known && is_too_old(&metadata, self.config.ignore_older) {
            if self.told.insert(path.to_owned()) {
                tracing::info!("{} is left out: it was last changed too long ago", path.display());
            }
            return;
        }
        match found.open() {
            Ok(file) => {
                let kept = kept(&self.config.base, path);
                self.open(path, &kept, file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.tell(path, &error.to_string()),
        }
    }

    /// Warns that a file is not read, once per file.
    fn tell(&mut self, path: &Path, why: &str) {
        tell(&mut self.told, path, why);
    }

    fn forget(&mut self, number: usize, is_removed: bool) {
        let Some(file) = self.files.remove(&number) else { return };
        let inode = file.fingerprint.inode();
        self.by_inode.remove(&inode);
        self.out.push_back(Ok(match is_removed {
            true => Piece::Gone(number, inode),
            false => Piece::End(number),
        }));
    }

    /// Begins to follow a file. `kept` is its path in the state: of a renamed file, the old one.
    fn open(&mut self, path: &Path, kept: &Path, file: File) {
        let mut opened = || -> io::Result<_> {
            if is_utf8(&self.config.codec) && begins_as_utf16(&file)? {
                return Err(io::Error::other(CONVERT));
            }
            let mut reader = compression::decompress(&file)?;
            let mut begun = match self.known.take(kept, &file, reader.is_some())? {
                Some(KnownFile::Rewritten(position)) => {
                    warn_rewritten(path, position.offset);
                    Some((position, false))
                }
                Some(KnownFile::Same(position)) => Some((position, true)),
                None => None,
            };
            let fingerprint = Fingerprint::of(&file, u64::MAX)?;
            let place = |begun: &Option<(_, bool)>| match begun {
                Some((position, true)) => {
                    let position: &FilePosition = position;
                    (position.offset, position.records)
                }
                _ => (0, 0),
            };
            let (mut offset, mut records) = place(&begun);
            if self.begins_at_end && begun.is_none() {
                offset = end_of_lines(&file, &self.config.codec)?;
                if offset > 0 {
                    tracing::info!(
                        "{} is read from its end on: {offset} bytes of it are left out",
                        path.display()
                    );
                }
            }
            let mut tail = Vec::new();
            let content = match &mut reader {
                None => {
                    tail = tail_of(&file, offset)?;
                    Content::Plain(Plain { offset, tail: tail.clone(), seen: None })
                }
                Some(compressed) => {
                    let skipped = compression::skip(compressed, offset)?;
                    let expected = begun.as_ref().map(|(position, _)| position.tail);
                    let is_it = |tail: &Vec<u8>| {
                        expected
                            .is_none_or(|expected| offset == 0 || expected == crc32fast::hash(tail))
                    };
                    match skipped.filter(is_it) {
                        Some(skipped) => tail = skipped,
                        None => {
                            warn_rewritten(path, offset);
                            if let Some((_, same)) = &mut begun {
                                *same = false;
                            }
                            (offset, records) = (0, 0);
                            reader = compression::decompress(&file)?;
                        }
                    }
                    let reader = reader.expect("it is compressed");
                    Content::Compressed(Compressed::new(reader, offset))
                }
            };
            let known = begun.map(|(position, _)| position);
            let head = head_of(&file, offset, &self.config.codec)?;
            Ok((fingerprint, offset, records, tail, head, content, known))
        };
        let (fingerprint, offset, records, tail, head, content, known) = match opened() {
            Ok(opened) => opened,
            // The file is gone, or not there yet: the next look tries again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.tell(path, &error.to_string()),
        };
        let begin = InputStart {
            place: path.display().to_string().into(),
            file: Some((kept.to_owned(), fingerprint.clone())),
            offset,
            records,
            tail,
            head,
            known,
        };
        self.told.remove(path);
        let rotation = self.config.base.join(kept);
        self.begin(&rotation, file, fingerprint, content, begin);
    }

    fn begin(
        &mut self,
        rotation: &Path,
        file: File,
        fingerprint: Fingerprint,
        content: Content,
        begin: InputStart,
    ) {
        let number = self.next;
        self.next += 1;
        let kept = begin.file.as_ref().map_or_else(PathBuf::new, |(kept, _)| kept.clone());
        self.out.push_back(Ok(Piece::Begin(number, begin.into())));
        self.by_inode.insert(fingerprint.inode(), number);
        let followed = Followed {
            // If the paths find a renamed file, `find` sets its new path.
            path: rotation.to_owned(),
            kept,
            is_utf8: is_utf8(&self.config.codec),
            rotation: rotation.to_owned(),
            file,
            fingerprint,
            content,
            nameless: false,
            quiet: None,
        };
        self.files.insert(number, followed);
    }

    /// Without a state, ends fully read files: a last line without its end is decoded too.
    fn stop(mut self, pieces: &Pieces) -> Result<(), ReceiverGone> {
        if self.keeps_state {
            return Ok(());
        }
        for (&number, file) in &self.files {
            let is_read = match &file.content {
                Content::Plain(plain) => {
                    file.file.metadata().is_ok_and(|metadata| metadata.len() == plain.offset)
                }
                Content::Compressed(compressed) => compressed.whole,
                Content::Done => false,
            };
            if is_read {
                self.out.push_back(Ok(Piece::End(number)));
            }
        }
        for piece in self.out {
            pieces.send(piece)?;
        }
        Ok(())
    }
}

fn tell(told: &mut HashSet<PathBuf>, path: &Path, why: &str) {
    if told.insert(path.to_owned()) {
        let path = path.display().to_string();
        tracing::warn!("{} is not read: {why}. It is looked at again", Foreign::new(&path));
    }
}

type Out = VecDeque<Result<Piece>>;

impl Followed {
    /// Reads what was added to a plain file; true if there was something.
    fn read_plain(
        &mut self,
        number: usize,
        pieces: &Pieces,
        out: &mut Out,
        told: &mut HashSet<PathBuf>,
    ) -> io::Result<bool> {
        let Content::Plain(plain) = &mut self.content else { return Ok(false) };
        let metadata = self.file.metadata()?;
        let change = Change::of(&metadata);
        // Most files have not changed: skip them without reading.
        if change.size == plain.offset && plain.seen == Some(change) {
            return Ok(false);
        }
        if plain.offset == 0 {
            // Whether it is compressed shows only in its first bytes.
            if compression::is_too_short(&self.file)? {
                return Ok(false);
            }
            if let Some(reader) = compression::decompress(&self.file)? {
                self.content = Content::Compressed(Compressed::new(reader, 0));
                return Ok(true);
            }
            if self.is_utf8 && begins_as_utf16(&self.file)? {
                tell(told, &self.path, CONVERT);
                self.content = Content::Done;
                return Ok(true);
            }
        }
        let is_what_it_was = |plain: &Plain| {
            Ok::<_, io::Error>(
                self.fingerprint.begins(&self.file)?
                    && pipehost_files::fingerprint::ends_before(
                        &self.file,
                        plain.offset,
                        crc32fast::hash(&plain.tail),
                    )?,
            )
        };
        let rewritten = !is_what_it_was(plain)?;
        let chunk = match rewritten {
            true => None,
            false => {
                let mut at = At { file: &self.file, offset: plain.offset };
                Some(pieces.read(&mut at)?).filter(|chunk| !chunk.is_empty())
            }
        };
        // If it was rewritten meanwhile, a chunk of the new content is dropped: it is read again.
        let stays = match &chunk {
            Some(chunk) if !is_what_it_was(plain)? => {
                let mut now = vec![0; chunk.len()];
                self.file.read_exact_at(&mut now, plain.offset).is_err() || now != **chunk
            }
            _ => true,
        };
        if let Some(chunk) = chunk.filter(|_| stays) {
            plain.offset += chunk.len() as u64;
            keep_tail(&mut plain.tail, &chunk);
            // The fingerprint of a file that was short when found covers few bytes: extend it.
            if let Ok(fingerprint) = Fingerprint::of(&self.file, plain.offset)
                && fingerprint.head > self.fingerprint.head
                && is_what_it_was(plain)?
            {
                self.fingerprint = fingerprint.clone();
                out.push_back(Ok(Piece::Known(number, fingerprint)));
            }
            out.push_back(Ok(Piece::Bytes(number, chunk)));
            return Ok(true);
        }
        if rewritten || !stays {
            warn_rewritten(&self.path, plain.offset);
            *plain = Plain { offset: 0, tail: Vec::new(), seen: None };
            self.fingerprint = Fingerprint::of(&self.file, 0)?;
            out.push_back(Ok(Piece::End(number)));
            let begin = InputStart {
                place: self.path.display().to_string().into(),
                file: Some((self.kept.clone(), self.fingerprint.clone())),
                offset: 0,
                records: 0,
                head: Vec::new(),
                tail: Vec::new(),
                known: None,
            };
            out.push_back(Ok(Piece::Begin(number, begin.into())));
            return Ok(true);
        }
        plain.seen = change.is_settled().then_some(change);
        Ok(false)
    }

    /// Reads what was added to a compressed file; true if there was something.
    fn read_compressed(
        &mut self,
        number: usize,
        pieces: &Pieces,
        out: &mut Out,
        told: &mut HashSet<PathBuf>,
    ) -> io::Result<bool> {
        let Content::Compressed(compressed) = &mut self.content else { return Ok(false) };
        let change = Change::of(&self.file.metadata()?);
        if let Some(ended) = compressed.ended {
            // A nameless file may be closed before that time: do not wait.
            let rests =
                !self.nameless && compressed.again.is_some_and(|again| Instant::now() < again);
            if rests || (ended == change && change.is_settled()) {
                return Ok(false);
            }
            let start = Instant::now();
            // From the start: bytes behind the old end complete a torn member, or are another one.
            let Some(mut reader) = compression::decompress(&self.file)? else { return Ok(false) };
            let skipped = compression::skip(&mut reader, compressed.offset);
            let again = Some(Instant::now() + start.elapsed() * REST);
            match skipped {
                Ok(Some(_)) => {
                    *compressed = Compressed { again, ..Compressed::new(reader, compressed.offset) }
                }
                Ok(None) | Err(_) => {
                    (compressed.ended, compressed.again) = (Some(change), again);
                    return Ok(false);
                }
            }
        }
        match pieces.read(&mut compressed.reader) {
            Ok(chunk) if chunk.is_empty() => {
                // Another member may be appended: read again once the file changes.
                (compressed.ended, compressed.whole) = (Some(change), true);
                if let Ok(fingerprint) = Fingerprint::of(&self.file, u64::MAX) {
                    self.fingerprint = fingerprint.clone();
                    out.push_back(Ok(Piece::Known(number, fingerprint)));
                }
                return Ok(false);
            }
            Ok(chunk) if compressed.offset == 0 && self.is_utf8 && is_utf16(&chunk) => {
                tell(told, &self.path, CONVERT);
                self.content = Content::Done;
            }
            Ok(chunk) => {
                compressed.offset += chunk.len() as u64;
                out.push_back(Ok(Piece::Bytes(number, chunk)));
            }
            Err(error) => {
                compressed.ended = Some(change);
                let why = format!("it cannot be read to its end: {error}");
                tell(told, &self.path, &why);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Opens a file in a folder where others may create anything: opening a pipe would wait for a
/// writer.
fn open_regular(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// A reader of a file from an offset.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, self.offset)
    }
}

//! Files that grow, as `tail -F` reads them: through rotation, truncation, and a file that
//! is not there yet. Files are looked at in turn, not watched, so that network file
//! systems work too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bytes_source::{Begin, Chunk, Gone, Piece, Pieces};
use super::compression;
use super::file_positions::FilePositions;
use super::file_source::cannot_read;
use super::paths::{Found, Paths};
use crate::fingerprint::Fingerprint;
use crate::folder;

/// How long to wait when no file has grown.
const LOOK: Duration = Duration::from_millis(100);
/// How long a file whose name is gone may still grow: a writer does not know at once.
const LINGER: Duration = Duration::from_secs(2);

/// A file that is being followed.
struct Followed {
    path: PathBuf,
    file: File,
    fingerprint: Fingerprint,
    /// Bytes that were read.
    offset: u64,
    /// Its name is gone, or is another file's: it ends where it ends.
    last: bool,
    /// Since when its name is gone and it has not grown.
    quiet: Option<Instant>,
    /// It was compressed, and read whole: it stays here to be known.
    done: bool,
}

struct Follower<'a> {
    /// By number, in the order in which they were found.
    files: BTreeMap<usize, Followed>,
    by_inode: HashMap<(u64, u64), usize>,
    /// Files of an earlier run that have not been found yet.
    known: FilePositions,
    next: usize,
    pieces: &'a Pieces,
}

/// Follows files until the run is over.
pub(super) fn follow(mut paths: Paths, known: FilePositions, pieces: &Pieces) -> Result<(), Gone> {
    let mut follower =
        Follower { files: BTreeMap::new(), by_inode: HashMap::new(), known, next: 0, pieces };
    if let Err(why) = follower.catch_up()? {
        return pieces.send(Err(why));
    }
    while !pieces.are_unwanted() {
        match follower.look(&mut paths)? {
            Ok(true) => {}
            Ok(false) => std::thread::sleep(LOOK),
            Err(why) => return pieces.send(Err(why)),
        }
    }
    Ok(())
}

type Looked<T> = Result<Result<T, String>, Gone>;

impl Follower<'_> {
    /// Reads the rest of files that were renamed since the earlier run.
    fn catch_up(&mut self) -> Looked<()> {
        let folders: BTreeSet<_> =
            self.known.iter().map(|position| folder::of(&position.path).to_owned()).collect();
        for entry in folders.iter().flat_map(fs::read_dir).flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let known = self.known.of_inode((metadata.dev(), metadata.ino()));
            // Those that still have their name are found by it.
            // An inode may be used again: by a file that nobody named.
            let renamed = known.is_some_and(|known| {
                known.path.file_name() != path.file_name()
                    && File::open(&path).and_then(|file| known.file.begins(&file)).unwrap_or(false)
            });
            if !renamed {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            if let Err(why) = self.open(&path, file)? {
                return Ok(Err(why));
            }
        }
        // These end where they end.
        self.files.values_mut().for_each(|file| file.last = true);
        Ok(Ok(()))
    }

    /// Looks at everything once; true if something was read.
    fn look(&mut self, paths: &mut Paths) -> Looked<bool> {
        for found in paths.files_so_far() {
            if let Err(why) = self.find(&found)? {
                return Ok(Err(why));
            }
        }
        let mut read = false;
        let mut gone = Vec::new();
        for (&number, file) in &mut self.files {
            // Asked first: what is written before the name goes is read.
            let nameless = file.last || !is_at(&file.path, &file.file);
            if file.done {
                if nameless {
                    gone.push(number);
                }
                continue;
            }
            // Most files have not grown: those are not read.
            let grown = file.file.metadata().map_or(true, |metadata| metadata.len() > file.offset);
            let chunk = match grown.then(|| self.pieces.read(&mut file.file)).transpose() {
                Ok(chunk) => chunk.filter(|chunk| !chunk.is_empty()),
                Err(error) => return Ok(Err(cannot_read(&file.path, &error))),
            };
            if chunk.is_some() || !nameless {
                file.quiet = None;
            } else if file.quiet.get_or_insert_with(Instant::now).elapsed() >= LINGER {
                self.pieces.send(Ok(Piece::End(number)))?;
                gone.push(number);
                continue;
            }
            if let Some(chunk) = chunk {
                read = true;
                file.grow(number, chunk, self.pieces)?;
            }
        }
        gone.into_iter().for_each(|number| self.forget(number));
        Ok(Ok(read))
    }

    /// Sees whether a path is a file that is not followed yet, or one that was truncated.
    fn find(&mut self, found: &Found) -> Looked<()> {
        let path = &*found.path;
        let Ok(metadata) = fs::metadata(path) else { return Ok(Ok(())) }; // Not there (yet).
        if !metadata.is_file() {
            if found.is_of_pattern() {
                return Ok(Ok(())); // It has come since; the next look leaves it out.
            }
            return Ok(Err(format!("cannot follow {}: it is no regular file", path.display())));
        }
        if let Some(&number) = self.by_inode.get(&(metadata.dev(), metadata.ino())) {
            let followed = self.files.get_mut(&number).expect("it is known by its inode");
            followed.path = path.to_owned(); // It may have been renamed.
            followed.last = false;
            if followed.done || metadata.len() >= followed.offset {
                return Ok(Ok(()));
            }
            tracing::warn!("{} was truncated: it is read from its begin", path.display());
            self.pieces.send(Ok(Piece::End(number)))?;
            self.forget(number);
        }
        match found.open() {
            Ok(file) => self.open(path, file),
            // It is not there any more, or is something else by now.
            Err(error) if found.is_of_pattern() || error.kind() == io::ErrorKind::NotFound => {
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(cannot_read(path, &error))),
        }
    }

    fn forget(&mut self, number: usize) {
        if let Some(file) = self.files.remove(&number) {
            self.by_inode.remove(&file.fingerprint.inode());
        }
    }

    fn open(&mut self, path: &Path, mut file: File) -> Looked<()> {
        let number = self.next;
        let opened = || -> io::Result<_> {
            if compression::is_too_short(&file)? {
                return Ok(None); // It is looked at again.
            }
            let begun = self.known.take(path, &file)?;
            let fingerprint = Fingerprint::of(&file, u64::MAX)?;
            let (mut offset, mut records) =
                begun.as_ref().map_or((0, 0), |p| (p.offset, p.records));
            let mut compressed = compression::decompress(&file)?;
            if let Some(reader) = &mut compressed {
                io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
            } else {
                if file.metadata()?.len() < offset {
                    tracing::warn!("{} was truncated: it is read from its begin", path.display());
                    (offset, records) = (0, 0);
                }
                file.seek(SeekFrom::Start(offset))?;
            }
            Ok(Some((file, fingerprint, offset, records, compressed, begun)))
        };
        let (file, fingerprint, offset, records, compressed, known) = match opened() {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
            Err(error) => return Ok(Err(cannot_read(path, &error))),
        };
        self.next += 1;
        let place: std::sync::Arc<str> = path.display().to_string().into();
        let begin = Begin {
            place: place.clone(),
            file: Some((path.to_owned(), fingerprint.clone())),
            offset,
            records,
            known,
        };
        self.pieces.send(Ok(Piece::Begin(number, begin.into())))?;
        let path = path.to_owned();
        let done = compressed.is_some();
        if let Some(mut reader) = compressed {
            // Whole when it appears, and then done with.
            if self.pieces.read_to_end(number, &place, &mut reader)? {
                self.pieces.send(Ok(Piece::End(number)))?;
            }
        }
        self.by_inode.insert(fingerprint.inode(), number);
        let quiet = None;
        let followed = Followed { path, file, fingerprint, offset, last: false, quiet, done };
        self.files.insert(number, followed);
        Ok(Ok(()))
    }
}

impl Followed {
    /// Passes on what was read.
    fn grow(&mut self, number: usize, chunk: Chunk, pieces: &Pieces) -> Result<(), Gone> {
        self.offset += chunk.len() as u64;
        // A file that was empty when it was found could be any.
        if let Ok(fingerprint) = Fingerprint::of(&self.file, self.offset)
            && fingerprint.head > self.fingerprint.head
        {
            self.fingerprint = fingerprint.clone();
            pieces.send(Ok(Piece::Known(number, fingerprint)))?;
        }
        pieces.send(Ok(Piece::Bytes(number, chunk)))
    }
}

fn is_at(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        _ => false,
    }
}

//! Files that grow, as `tail -F` reads them: through rotation, truncation, and a file that
//! is not there yet. Files are looked at in turn, not watched, so that network file
//! systems work too.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bytes_source::{Begin, FilePosition, Gone, Piece, Pieces, read_chunk, read_to_end};
use super::compression;
use super::file_source::{cannot_read, expand, take};
use crate::fingerprint::Fingerprint;
use crate::folder;

/// How long to wait when no file has grown.
const LOOK: Duration = Duration::from_millis(100);
/// How long a file whose name is gone may still grow: a writer does not know at once.
const LINGER: Duration = Duration::from_secs(2);

/// A file that is being followed.
struct Followed {
    number: usize,
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
    files: Vec<Followed>,
    /// Files of an earlier run that have not been found yet.
    known: Vec<FilePosition>,
    next: usize,
    send: &'a Pieces,
}

/// Follows files until the run is over.
pub(super) fn follow(
    paths: &[PathBuf],
    known: Vec<FilePosition>,
    send: &Pieces,
) -> Result<(), Gone> {
    let mut follower = Follower { files: Vec::new(), known, next: 0, send };
    if let Err(why) = follower.catch_up()? {
        return send.blocking_send(Err(why));
    }
    while !send.is_closed() {
        match follower.look(paths)? {
            Ok(true) => {}
            Ok(false) => std::thread::sleep(LOOK),
            Err(why) => return send.blocking_send(Err(why)),
        }
    }
    Ok(())
}

type Looked<T> = Result<Result<T, String>, Gone>;

impl Follower<'_> {
    /// Reads the rest of files that were renamed since the earlier run.
    fn catch_up(&mut self) -> Looked<()> {
        for position in self.known.clone() {
            for entry in fs::read_dir(folder::of(&position.path)).into_iter().flatten().flatten() {
                let path = entry.path();
                // Those that still have their name are found by it.
                let renamed = entry.file_name() != position.path.file_name().unwrap_or_default()
                    && entry.metadata().is_ok_and(|metadata| {
                        (metadata.dev(), metadata.ino())
                            == (position.file.device, position.file.inode)
                    });
                if renamed && let Err(why) = self.open(&path)? {
                    return Ok(Err(why));
                }
            }
        }
        // These end where they end.
        self.files.iter_mut().for_each(|file| file.last = true);
        Ok(Ok(()))
    }

    /// Looks at everything once; true if something was read.
    fn look(&mut self, paths: &[PathBuf]) -> Looked<bool> {
        for path in paths.iter().flat_map(|path| expand(path).unwrap_or_default()) {
            if let Err(why) = self.find(&path)? {
                return Ok(Err(why));
            }
        }
        let mut read = false;
        let mut index = 0;
        while index < self.files.len() {
            let file = &mut self.files[index];
            // Asked first: what is written before the name goes is read.
            let gone = file.last || !is_at(&file.path, &file.file);
            if file.done {
                if gone {
                    drop(self.files.remove(index))
                } else {
                    index += 1
                }
                continue;
            }
            // Most files have not grown: those are not read.
            let grown = file.file.metadata().map_or(true, |metadata| metadata.len() > file.offset);
            let bytes = match if grown { read_chunk(&mut file.file) } else { Ok(Vec::new()) } {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(cannot_read(&file.path, &error))),
            };
            if !bytes.is_empty() || !gone {
                file.quiet = None;
            } else if file.quiet.get_or_insert_with(Instant::now).elapsed() >= LINGER {
                self.send.blocking_send(Ok(Piece::End(file.number)))?;
                self.files.remove(index);
                continue;
            }
            index += 1;
            if !bytes.is_empty() {
                read = true;
                file.grow(bytes, self.send)?;
            }
        }
        Ok(Ok(read))
    }

    /// Sees whether a path is a file that is not followed yet, or one that was truncated.
    fn find(&mut self, path: &Path) -> Looked<()> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(Ok(())) }; // Not there (yet).
        if !metadata.is_file() {
            return Ok(Err(format!("cannot follow {}: it is no regular file", path.display())));
        }
        let is_it = |followed: &Followed| {
            followed
                .file
                .metadata()
                .is_ok_and(|m| (m.dev(), m.ino()) == (metadata.dev(), metadata.ino()))
        };
        if let Some(index) = self.files.iter().position(is_it) {
            let followed = &mut self.files[index];
            followed.path = path.to_owned(); // It may have been renamed.
            if followed.done || metadata.len() >= followed.offset {
                return Ok(Ok(()));
            }
            tracing::warn!("{} was truncated: it is read from its begin", path.display());
            self.send.blocking_send(Ok(Piece::End(followed.number)))?;
            self.files.remove(index);
        }
        self.open(path)
    }

    fn open(&mut self, path: &Path) -> Looked<()> {
        let number = self.next;
        let mut opened = || -> io::Result<_> {
            let mut file = File::open(path)?;
            if compression::is_too_short(&file)? {
                return Ok(None); // It is looked at again.
            }
            let begun = take(&mut self.known, path, &file)?;
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
        self.send.blocking_send(Ok(Piece::Begin(number, begin.into())))?;
        let path = path.to_owned();
        let done = compressed.is_some();
        if let Some(mut reader) = compressed {
            // Whole when it appears, and then done with.
            if read_to_end(number, &place, &mut reader, self.send)? {
                self.send.blocking_send(Ok(Piece::End(number)))?;
            }
        }
        self.files.push(Followed {
            number,
            path,
            file,
            fingerprint,
            offset,
            last: false,
            quiet: None,
            done,
        });
        Ok(Ok(()))
    }
}

impl Followed {
    /// Passes on what was read.
    fn grow(&mut self, bytes: Vec<u8>, send: &Pieces) -> Result<(), Gone> {
        self.offset += bytes.len() as u64;
        // A file that was empty when it was found could be any.
        if let Ok(fingerprint) = Fingerprint::of(&self.file, self.offset)
            && fingerprint.head > self.fingerprint.head
        {
            self.fingerprint = fingerprint.clone();
            send.blocking_send(Ok(Piece::Known(self.number, fingerprint)))?;
        }
        send.blocking_send(Ok(Piece::Bytes(self.number, bytes)))
    }
}

fn is_at(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        _ => false,
    }
}

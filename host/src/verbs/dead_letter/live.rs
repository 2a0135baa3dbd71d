//! Dead letters of a pipeline that runs, through its control interface.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::Method;

use crate::control::{self, Client};
use crate::error::Error;
use crate::runtime::one_thread;
use pipehost_codec::frames::write_letter;
use pipehost_record::Letter;
use pipehost_serve::status::{Kind, Status};
use pipehost_serve::{LARGEST_REPLAY, Replayed, Rotated};

/// A pipeline that runs and writes dead letters.
pub(super) struct Live {
    client: Client,
    status: Status,
}

/// The pipeline that writes this file, if one runs and can be found.
pub(super) fn writing(file: &Path) -> Result<Option<Live>, Error> {
    let found = control::with_file(file, |status| status.dead_letters.as_deref());
    let found = one_thread()?.block_on(found);
    Ok(found.map(|(client, status)| Live { client, status }))
}

impl Live {
    /// Has it close the file and go on with a new one; `None` if there was nothing in it.
    pub(super) fn rotate(&self) -> Result<Option<PathBuf>, Error> {
        let rotated = self.post::<Rotated>("/dead-letters/rotate", Bytes::new())?;
        Ok(rotated.file)
    }

    /// Whether it takes letters of this node.
    pub(super) fn takes(&self, name: &str) -> bool {
        let mut nodes = self.status.nodes.iter();
        nodes.any(|node| node.name == name && node.kind != Kind::Source)
    }

    /// Has it take some letters, from the first one on; returns how many that were.
    pub(super) fn replay(&self, letters: &[Letter]) -> Result<usize, Error> {
        let (mut body, mut count) = (Vec::new(), 0);
        for letter in letters {
            let before = body.len();
            write_letter(letter, &mut body);
            if body.len() > LARGEST_REPLAY && count > 0 {
                body.truncate(before);
                break;
            }
            count += 1;
        }
        self.post::<Replayed>("/dead-letters/replay", body.into())?;
        Ok(count)
    }

    fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, Error> {
        one_thread()?.block_on(self.client.call(Method::POST, path, body))
    }
}

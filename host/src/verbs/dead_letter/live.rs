//! Dead letters of a pipeline that runs, through its control interface.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use hyper::Method;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::{self, Client};
use crate::error::Error;
use crate::runtime::one_thread;
use pipehost_codec::frames::write_letter;
use pipehost_observe::log::stderr;
use pipehost_record::Letter;
use pipehost_serve::status::{Kind, Status};
use pipehost_serve::{Replayed, Rotated};

/// A pipeline that runs and writes dead letters.
pub(super) struct Run {
    client: Client,
    status: Status,
}

/// Bytes of letters that are sent at once; a larger letter is sent alone.
const AT_ONCE: usize = 4 << 20;
/// After so long, it is said what is waited for.
const SAY: Duration = Duration::from_secs(2);

/// The pipeline that writes this file, if one runs and can be found.
pub(super) fn writing(file: &Path, live: &super::Live) -> Result<Option<Run>, Error> {
    let of = |status: &Status| status.dead_letters.clone();
    let found = control::with_file(file, live.control.as_ref(), of);
    Ok(one_thread()?.block_on(found)?.map(|(client, status)| Run { client, status }))
}

impl Run {
    /// Has it close this file and go on with a new one; `None` if there was nothing in it.
    pub(super) fn rotate(&self, file: &Path) -> Result<Option<PathBuf>, Error> {
        let rotated = self.post::<Rotated>("/dead-letters/rotate", Bytes::new())?;
        let Some(rotated) = rotated.file else { return Ok(None) };
        // The same folder and name as the one that was asked for, with a number: whatever a run
        // answers, no other file is touched.
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let whole = file
            .canonicalize()
            .map_err(|error| Error::Failed(anyhow!("cannot find {}: {error}", file.display())))?;
        let number = name(&rotated).strip_prefix(&format!("{}.", name(&whole))).map(str::to_owned);
        match number.filter(|number| number.parse::<u64>().is_ok()) {
            Some(number) => Ok(Some(whole.with_file_name(format!("{}.{number}", name(&whole))))),
            None => Err(Error::Failed(anyhow!(
                "the run says that it has closed {}, which is not {} with a number: nothing was done",
                rotated.display(),
                file.display()
            ))),
        }
    }

    /// Whether it has a node of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.status.nodes.iter().any(|node| node.name == name)
    }

    /// Whether it takes letters of this node.
    pub(super) fn takes(&self, name: &str) -> bool {
        let mut nodes = self.status.nodes.iter();
        nodes.any(|node| node.name == name && node.kind != Kind::Source)
    }

    /// Has it take some letters, from the first one on; returns how many that were.
    pub(super) fn replay(&self, letters: &[Letter]) -> Result<usize, Error> {
        let (body, count) = some(letters);
        self.post::<Replayed>("/dead-letters/replay", body)?;
        Ok(count)
    }

    /// Asks whether it would take these letters.
    ///
    /// # Errors
    /// If it would not: why.
    pub(super) fn check(&self, letters: &[Letter]) -> Result<(), Error> {
        let (body, _) = some(letters);
        self.post::<Replayed>("/dead-letters/replay?check=true", body).map(drop)
    }

    /// Waits for the answer: without it, nobody knows what was done. A second signal ends the program.
    fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, Error> {
        one_thread()?.block_on(async {
            let mut call = std::pin::pin!(self.client.call(Method::POST, path, body));
            let cannot = |error| Error::Failed(anyhow!("cannot wait for signals: {error}"));
            let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
            let mut was_asked = false;
            let mut say = std::pin::pin!(tokio::time::sleep(SAY));
            let mut is_said = false;
            loop {
                tokio::select! {
                    answer = &mut call => return answer,
                    () = &mut say, if !is_said => {
                        is_said = true;
                        stderr::say(
                            "waiting until all open records of the pipeline are written; `pipehost top` \
                             shows who holds it up",
                        );
                    }
                    _ = interrupt.recv() => was_asked = stop(was_asked)?,
                    _ = terminate.recv() => was_asked = stop(was_asked)?,
                }
            }
        })
    }
}

/// As many of the letters, from the first one on, as are sent at once.
fn some(letters: &[Letter]) -> (Bytes, usize) {
    let (mut body, mut count) = (Vec::new(), 0);
    for letter in letters {
        let before = body.len();
        write_letter(letter, &mut body);
        if body.len() > AT_ONCE && count > 0 {
            body.truncate(before);
            break;
        }
        count += 1;
    }
    (body.into(), count)
}

/// A signal has come.
fn stop(was_asked: bool) -> Result<bool, Error> {
    if was_asked {
        return Err(Error::Failed(anyhow!(
            "ended without an answer: what is under way may reach a sink, and again with the next replay"
        )));
    }
    stderr::say("waiting for the answer of the pipeline; another signal ends this without it");
    Ok(true)
}

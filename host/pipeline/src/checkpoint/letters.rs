//! The dead letters of the nodes of a run.

use anyhow::{Result, anyhow};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::dead_letter::{DeadLetters, Encoded};
use pipehost_record::Letter;

/// Bytes of dead letters, compressed, that may wait before a checkpoint is requested to write them.
const LETTERS: usize = 16 << 20;

/// A handle that takes the dead letters of one node. With checkpoints, they wait for the next one,
/// so that work repeated after a crash does not write them twice.
#[derive(Clone)]
pub(crate) struct Letters {
    file: Option<Arc<DeadLetters>>,
    waiting: Option<Arc<Waiting>>,
}

/// Dead letters that wait for the next checkpoint.
pub(super) struct Waiting {
    letters: Mutex<Encoded>,
    demand: Arc<Notify>,
    /// Whether those of the last checkpoint still wait for room.
    full: watch::Receiver<bool>,
}

impl Waiting {
    pub(super) fn new(demand: Arc<Notify>, full: watch::Receiver<bool>) -> Self {
        Self { letters: Mutex::default(), demand, full }
    }
}

/// How often to check whether there is room for dead letters again.
const LOOK: Duration = Duration::from_millis(500);

impl Letters {
    /// Without `waiting`, dead letters are written as they come.
    pub(super) fn new(file: Option<Arc<DeadLetters>>, waiting: Option<Waiting>) -> Self {
        Self { file, waiting: waiting.map(Arc::new) }
    }

    /// Takes dead letters, and waits while there is no room for them.
    pub(crate) async fn keep(&self, letters: Vec<Letter>) -> Result<()> {
        let file = self.file.clone().expect("the graph was checked for it");
        let letters = Encoded::new(&letters);
        let Some(waiting) = &self.waiting else { return write_all(file, letters).await };
        file.expect(letters.bytes)?;
        {
            let mut wait = waiting.letters.lock().expect("nobody panics here");
            wait.extend(letters);
            if wait.held_bytes() > LETTERS || wait.bytes > 16 * LETTERS {
                waiting.demand.notify_one();
            }
        }
        // Back-pressure: while letters of the last checkpoint wait for room, nobody adds more.
        let _ = waiting.full.clone().wait_for(|full| !full).await;
        Ok(())
    }

    pub(super) fn take(&self) -> Encoded {
        let Some(waiting) = &self.waiting else { return Encoded::default() };
        std::mem::take(&mut waiting.letters.lock().expect("nobody panics here"))
    }
}

/// Writes dead letters as room allows, in a run without checkpoints.
async fn write_all(file: Arc<DeadLetters>, mut letters: Encoded) -> Result<()> {
    let mut told = false;
    loop {
        let (writer, before) = (file.clone(), letters.bytes);
        // A write to a pipe that nobody reads blocks: use a thread that may block.
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&mut letters)?;
            Ok::<_, anyhow::Error>(letters)
        });
        letters = written.await.expect("writing does not panic")?;
        if letters.is_empty() {
            return Ok(());
        }
        if letters.bytes == before {
            wait_for_room(&file, &mut told).await?;
        }
    }
}

/// Called when there is no room: fails, or waits a while, as configured.
pub(super) async fn wait_for_room(file: &DeadLetters, told: &mut bool) -> Result<()> {
    if !file.waits() {
        return Err(anyhow!(file.full()));
    }
    if !std::mem::replace(told, true) {
        tracing::warn!("{}. The pipeline waits", file.full());
    }
    tokio::time::sleep(LOOK).await;
    Ok(())
}

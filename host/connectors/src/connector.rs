//! What a connector does: the traits of sources and sinks, and what they speak of.

use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

use pipehost_codec::Decoded;
use pipehost_files::rename::Rename;
use pipehost_record::{Batch, Rejected};

/// What a source does. The defaults are those of one that nothing is saved of, and that nobody
/// waits for.
pub(crate) trait SourceConnector: Sized {
    /// Waits until there is something to decode; false at the end of the input. Cancel-safe: may
    /// be dropped while it waits, and called again.
    ///
    /// # Errors
    /// If the input cannot be read.
    async fn ready(&mut self) -> Result<bool>;

    /// Decodes the available input, until `full`.
    ///
    /// # Errors
    /// If no later input can be decoded either, as after a damaged frame.
    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()>;

    /// The origin that the source's records carry right now.
    fn place(&self) -> Arc<str>;

    /// The position behind the last record given out; `None` if the source cannot resume there.
    fn position(&self) -> Option<Value> {
        None
    }

    /// Stops reading input; true if input that was read must still be decoded.
    fn stop(&mut self) -> bool {
        false
    }

    /// How many records are incomplete, because reading stopped within them.
    fn torn(&self) -> u64 {
        0
    }

    /// Assigns the records given out since the last call to the checkpoint of this number.
    fn checkpoint(&mut self, _number: u64) {}

    /// Closes the source after its end, and waits until every client has its answer.
    async fn close(self) {}
}

/// Where a sink resumes when it opens.
pub enum Resume<'a> {
    /// No state is kept: a run is complete or failed.
    NotAtAll,
    /// A state directory is kept, without a position of this sink; `first`: without a checkpoint.
    New { first: bool },
    /// Where it ended at the last checkpoint.
    FromPosition(&'a Value),
}

/// Why a sink did not take a batch.
#[derive(Debug)]
pub enum SinkError {
    /// The reader of stdout has closed the pipe: the run ends quietly, as with `head`.
    ClosedPipe,
    Failed(anyhow::Error),
}

/// What a sink reports at a checkpoint.
#[derive(Debug, Default)]
pub struct Synced {
    /// The position that the sink can be truncated to; `None` if it cannot.
    pub position: Option<Value>,
    /// Renames to do once the checkpoint is written, in this order.
    pub names: Vec<Rename>,
    /// The position after these renames, if there are any.
    pub settled: Option<Value>,
}

/// What a sink does. The defaults are those of one whose finished writes are as durable as this
/// program can make them, and that cannot be truncated.
pub(crate) trait SinkConnector: Sized {
    /// Writes a batch. With `refusals`, returns the records that the target refuses for good, and
    /// writes the others all the same.
    ///
    /// # Errors
    /// If a record was neither written nor refused; without `refusals`, also if one was refused.
    async fn write(&mut self, batch: &Batch, refusals: bool) -> Result<Vec<Rejected>, SinkError>;

    /// Creates the file, or truncates it to the saved position: once everything else is open.
    ///
    /// # Errors
    /// If the file cannot be created, renamed or truncated.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes the written records durable, and reports the position to truncate to, if there is one.
    ///
    /// # Errors
    /// If the file cannot be written or synced.
    async fn sync(&mut self) -> Result<Synced> {
        Ok(Synced::default())
    }

    /// As [`SinkConnector::sync`], after the last batch; completes the files.
    ///
    /// # Errors
    /// If a file cannot be written, synced or renamed.
    async fn finish(self) -> Result<Synced> {
        Ok(Synced::default())
    }
}

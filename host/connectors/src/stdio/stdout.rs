//! Standard output.

use anyhow::anyhow;
use std::io::{ErrorKind, Write};

use crate::connector::{SinkConnector, SinkError};
use pipehost_config::Encoding;
use pipehost_record::{Batch, Rejected};

/// Encodes what it writes to stdout.
pub(crate) struct Stdout(pub Encoding);

impl SinkConnector for Stdout {
    async fn write(&mut self, batch: &Batch, _: bool) -> Result<Vec<Rejected>, SinkError> {
        let (encoding, batch) = (self.0.clone(), batch.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            pipehost_codec::encode_pieces(&encoding, &batch, |piece| stdout.write_all(piece))?;
            stdout.flush()
        });
        match written.await.expect("writing does not panic") {
            Ok(()) => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(SinkError::ClosedPipe),
            Err(error) => Err(SinkError::Failed(anyhow!("cannot write to stdout: {error}"))),
        }
    }
}

//! Standard output.

use anyhow::anyhow;
use std::io::{ErrorKind, Write};

use crate::SinkError;
use pipehost_config::Encoding;
use pipehost_record::Batch;

pub(crate) async fn write(encoding: Encoding, batch: Batch) -> Result<(), SinkError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut stdout = std::io::stdout().lock();
        pipehost_codec::encode_pieces(&encoding, &batch, |piece| stdout.write_all(piece))?;
        stdout.flush()
    });
    match written.await.expect("writing does not panic") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(SinkError::ClosedPipe),
        Err(error) => Err(SinkError::Failed(anyhow!("cannot write to stdout: {error}"))),
    }
}

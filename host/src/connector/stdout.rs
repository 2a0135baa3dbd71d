//! Standard output.

use std::io::{ErrorKind, Write};

use super::SinkError;
use crate::codec;
use crate::config::Encoding;
use crate::record::Batch;

pub(super) async fn write(encoding: Encoding, batch: Batch) -> Result<(), SinkError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut stdout = std::io::stdout().lock();
        codec::encode_pieces(&encoding, &batch, |piece| stdout.write_all(piece))?;
        stdout.flush()
    });
    match written.await.expect("writing does not panic") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(SinkError::ClosedPipe),
        Err(error) => Err(SinkError::Failed(format!("cannot write to stdout: {error}"))),
    }
}

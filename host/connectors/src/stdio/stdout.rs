//! Standard output.

use anyhow::anyhow;
use std::io::{ErrorKind, Write};

use crate::connector::{SinkConnector, SinkError};
use pipehost_config::Encoding;
use pipehost_record::{Batch, Rejected};

/// Encodes what it writes to stdout.
pub(crate) struct Stdout {
    encoding: Encoding,
    has_begun: bool,
}

impl Stdout {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, has_begun: false }
    }
}

impl SinkConnector for Stdout {
    async fn write(&mut self, batch: &Batch, _: bool) -> Result<Vec<Rejected>, SinkError> {
        let (encoding, batch) = (self.encoding.clone(), batch.clone());
        let begins = !std::mem::replace(&mut self.has_begun, true);
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            if begins {
                let mut head = Vec::new();
                pipehost_codec::begin(&encoding, &mut head);
                stdout.write_all(&head)?;
            }
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

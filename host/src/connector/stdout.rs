//! Standard output.

use std::io::{ErrorKind, Write};

use super::SinkError;

pub(super) async fn write(bytes: Vec<u8>) -> Result<(), SinkError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&bytes)?;
        stdout.flush()
    });
    match written.await.expect("writing does not panic") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(SinkError::ClosedPipe),
        Err(error) => Err(SinkError::Failed(format!("cannot write to stdout: {error}"))),
    }
}

//! Inputs of bytes, read by a thread of their own: a read that blocks (a pipe, a slow
//! disk) holds up nothing else, and batches can still be flushed meanwhile.

use std::io::Read;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Progress;
use crate::codec::{Decoded, Decoder};
use crate::config::Decoding;
use crate::record::BatchBuilder;

const CHUNK: usize = 256 << 10;
/// Chunks that are read ahead.
const AHEAD: usize = 2;

/// What the reading thread sends.
enum Piece {
    /// An input begins; records give this place as their origin.
    Begin(Arc<str>),
    Bytes(Vec<u8>),
    /// The input that began last has ended.
    End,
}

/// An input for [`BytesSource::spawn`].
pub struct Named<R> {
    pub place: Arc<str>,
    pub reader: R,
}

/// Decodes inputs of bytes, one after the other.
pub struct BytesSource {
    pieces: mpsc::Receiver<Result<Piece, String>>,
    decoding: Decoding,
    decoder: Decoder,
    place: Arc<str>,
    piece: Option<Piece>,
    /// Bytes of the piece at hand that are decoded.
    taken: usize,
    progress: Arc<Progress>,
}

impl BytesSource {
    /// Starts to read. `inputs` is advanced on the reading thread.
    pub(super) fn spawn<R: Read>(
        inputs: impl Iterator<Item = Result<Named<R>, String>> + Send + 'static,
        decoding: Decoding,
        progress: Arc<Progress>,
    ) -> Self {
        let (send, pieces) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            // A receiver that has gone means that the run is over.
            let _ = read_all(inputs, &send);
        });
        let place: Arc<str> = "".into();
        let decoder = Decoder::new(&decoding, place.clone());
        Self { pieces, decoding, decoder, place, piece: None, taken: 0, progress }
    }

    pub(super) async fn ready(&mut self) -> Result<bool, String> {
        if self.piece.is_none() {
            self.piece = self.pieces.recv().await.transpose()?;
        }
        Ok(self.piece.is_some())
    }

    pub(super) fn decode(
        &mut self,
        out: &mut Decoded,
        full: impl Fn(&BatchBuilder) -> bool,
    ) -> Result<(), String> {
        match &self.piece {
            None => return Ok(()),
            Some(Piece::Begin(place)) => {
                self.place = place.clone();
                self.decoder = Decoder::new(&self.decoding, place.clone());
            }
            Some(Piece::Bytes(bytes)) => {
                let taken = self.decoder.decode(&bytes[self.taken..], out, full)?;
                self.taken += taken;
                self.progress.add(taken as u64);
                if self.taken < bytes.len() {
                    return Ok(());
                }
                self.taken = 0;
            }
            Some(Piece::End) => self.decoder.end(out),
        }
        self.piece = None;
        Ok(())
    }

    pub(super) fn place(&self) -> Arc<str> {
        self.place.clone()
    }
}

fn read_all<R: Read>(
    inputs: impl Iterator<Item = Result<Named<R>, String>>,
    send: &mpsc::Sender<Result<Piece, String>>,
) -> Result<(), mpsc::error::SendError<Result<Piece, String>>> {
    for input in inputs {
        let Named { place, mut reader } = match input {
            Ok(input) => input,
            Err(why) => return send.blocking_send(Err(why)),
        };
        send.blocking_send(Ok(Piece::Begin(place.clone())))?;
        loop {
            let mut bytes = vec![0; CHUNK];
            match reader.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => {
                    bytes.truncate(read);
                    send.blocking_send(Ok(Piece::Bytes(bytes)))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return send.blocking_send(Err(format!("cannot read {place}: {error}")));
                }
            }
        }
        send.blocking_send(Ok(Piece::End))?;
    }
    Ok(())
}

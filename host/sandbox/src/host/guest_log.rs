//! What a guest prints: lines in the stage's log, under a rate limit.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::foreign::Foreign;

/// Bytes that a guest may write to a stream after it has asked.
const PERMIT: usize = 64 << 10;
/// A line longer than this is logged in pieces.
const LINE: usize = 4096;
/// Maximum bytes that are kept of the last message.
const LAST: usize = 1024;
const WINDOW: Duration = Duration::from_secs(1);

/// Receives stdout and stderr of the instances of one worker.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Mutex<State>>);

struct State {
    stage: Arc<str>,
    worker: usize,
    bytes_per_second: usize,
    window: Instant,
    used: usize,
    line: Vec<u8>,
    last: String,
    dropped: IntCounter,
}

impl GuestLog {
    /// The log of one worker, limited to this many bytes a second.
    pub(crate) fn new(
        stage: Arc<str>,
        worker: usize,
        bytes_per_second: usize,
        metrics: &NodeMetrics,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            stage,
            worker,
            bytes_per_second,
            window: Instant::now(),
            used: 0,
            line: Vec::new(),
            last: String::new(),
            dropped: metrics.log_dropped.clone(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("writing a log line does not panic")
    }

    /// The last line that looks like a message: part of the message of a failure.
    pub(crate) fn last_words(&self) -> String {
        let mut state = self.state();
        state.end_line();
        std::mem::take(&mut state.last).trim_end().to_owned()
    }
}

impl State {
    fn write(&mut self, bytes: &[u8]) {
        if self.window.elapsed() >= WINDOW {
            self.window = Instant::now();
            self.used = 0;
        }
        let room = self.bytes_per_second - self.used;
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        self.used += kept.len();
        for piece in kept.split_inclusive(|&byte| byte == b'\n') {
            for piece in piece.chunks(LINE) {
                self.line.extend_from_slice(piece);
                if piece.ends_with(b"\n") || self.line.len() >= LINE {
                    self.end_line();
                }
            }
        }
        if !dropped.is_empty() {
            if room > 0 {
                tracing::warn!(
                    stage = &*self.stage,
                    worker = self.worker,
                    "prints more than {} bytes a second; the rest is dropped (limits.log)",
                    self.bytes_per_second
                );
            }
            self.dropped.inc_by(dropped.len() as u64);
        }
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = Foreign::new(text.trim_end()).whole().to_string();
        self.line.clear();
        if text.is_empty() {
            return;
        }
        tracing::info!(target: "guest", stage = &*self.stage, worker = self.worker, "{text}");
        // Rust's panics end with a note about backtraces, which says nothing about the panic.
        if !text.starts_with("note: run with") {
            // The message of a Rust panic is on the line after its location.
            let panic = self.last.contains("panicked at") && self.last.ends_with(':');
            self.last = if panic { format!("{} {text} ", self.last) } else { text };
            if self.last.len() > LAST {
                self.last = self.last.chars().take(LAST / 4).collect();
            }
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream { log: self.clone(), permit: 0 })
    }
}

/// An output stream that a guest has opened.
struct LogStream {
    log: GuestLog,
    /// Bytes that the guest may write before it asks again.
    permit: usize,
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let (length, permit) = (bytes.len(), self.permit);
        self.permit = permit.checked_sub(length).ok_or_else(|| {
            StreamError::trap(&format!("it wrote {length} bytes, and was permitted {permit}"))
        })?;
        self.log.state().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.permit = PERMIT;
        Ok(PERMIT)
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! What a guest prints: lines in the stage's log, under a rate limit; and what it said last before
//! it failed.

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
    /// What the current call wrote to stderr.
    said: Said,
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
            said: Said::default(),
            dropped: metrics.log_dropped.clone(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("writing a log line does not panic")
    }

    /// A call begins: what was said before is not about it.
    pub(crate) fn begin_call(&self) {
        self.state().said.clear();
    }

    /// What the call wrote to stderr, for the message of its failure; empty if it wrote nothing.
    pub(crate) fn last_words(&self) -> String {
        let mut state = self.state();
        state.end_line();
        state.said.words()
    }

    /// The guest's stdout.
    pub(crate) fn stdout(&self) -> Stream {
        Stream { log: self.clone(), is_stderr: false }
    }

    /// The guest's stderr.
    pub(crate) fn stderr(&self) -> Stream {
        Stream { log: self.clone(), is_stderr: true }
    }
}

impl State {
    fn write(&mut self, bytes: &[u8], is_stderr: bool) {
        if is_stderr {
            self.said.hear(bytes);
        }
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
    }
}

/// Bytes that are kept of each end of what a call writes to stderr.
const KEPT: usize = 500;

/// The beginning and the end of what a call wrote to stderr.
#[derive(Default)]
struct Said {
    first: Vec<u8>,
    /// What came after `first`; its beginning is dropped now and then.
    then: Vec<u8>,
}

impl Said {
    fn clear(&mut self) {
        self.first.clear();
        self.then.clear();
    }

    fn hear(&mut self, bytes: &[u8]) {
        let (first, then) = bytes.split_at(bytes.len().min(KEPT - self.first.len()));
        self.first.extend_from_slice(first);
        self.then.extend_from_slice(&then[then.len().saturating_sub(KEPT)..]);
        if self.then.len() > 2 * KEPT {
            self.then.drain(..self.then.len() - KEPT);
        }
    }

    /// The first 500 bytes, as one line. Of a traceback of Python, whose last lines say what
    /// happened, the last frame and the error instead.
    fn words(&self) -> String {
        let all = [&self.first[..], &self.then].concat();
        let all = String::from_utf8_lossy(&all);
        let traceback = all.rfind(TRACEBACK).map(|at| &all[at..]);
        let last_frame = traceback.and_then(|text| text.rfind("\n  File \"").map(|at| &text[at..]));
        let first = String::from_utf8_lossy(&self.first);
        let text = last_frame.unwrap_or(&first);
        let text: String = text.chars().take(KEPT).collect();
        let mut words = String::new();
        // Rust's panics end with a note about backtraces, which says nothing about the panic.
        let is_told = |line: &&str| !line.is_empty() && !line.starts_with("note: run with");
        for line in text.lines().map(str::trim).filter(is_told) {
            match words.chars().last() {
                None => {}
                Some(':') => words.push(' '),
                Some(_) => words.push_str("; "),
            }
            words.push_str(line);
        }
        words
    }
}

/// How a traceback of Python begins.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// Stdout or stderr.
#[derive(Clone)]
pub(crate) struct Stream {
    log: GuestLog,
    is_stderr: bool,
}

impl Stream {
    fn put(&self, bytes: &[u8]) {
        self.log.state().write(bytes, self.is_stderr);
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream { to: self.clone(), permit: 0 })
    }
}

/// An output stream that a guest has opened.
struct LogStream {
    to: Stream,
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
        self.to.put(&bytes);
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

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(said: &[&str]) -> String {
        let mut all = Said::default();
        said.iter().for_each(|piece| all.hear(piece.as_bytes()));
        all.words()
    }

    #[test]
    fn last_words_are_the_first_500_bytes_as_one_line() {
        assert_eq!(words(&[]), "");
        assert_eq!(
            words(&["panic: boom\n\ngoroutine 1 [running]:\n", "main.f()"]),
            "panic: boom; goroutine 1 [running]: main.f()"
        );
        let rust = "\nthread '<unnamed>' panicked at src/lib.rs:9:5:\nboom\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(words(&[rust]), "thread '<unnamed>' panicked at src/lib.rs:9:5: boom");
        let long = words(&["Error: boom\n", &"x".repeat(10_000)]);
        assert!(long.starts_with("Error: boom; xxx") && long.len() <= KEPT + 1, "{long}");
    }

    #[test]
    fn of_a_traceback_the_last_frame_and_the_error_are_told() {
        let frame = |n| format!("  File \"/app/stage.py\", line {n}, in process\n    f(x)\n");
        let deep: String = (0..100).map(frame).collect();
        assert_eq!(
            words(&["starting\n", TRACEBACK, "\n", &deep, "ValueError: boom\n"]),
            "File \"/app/stage.py\", line 99, in process; f(x); ValueError: boom"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut said = Said::default();
        (0..1000).for_each(|_| said.hear(&[b'x'; 333]));
        said.hear(&[b'y'; 100_000]);
        assert!(said.first.len() == KEPT && said.then.len() <= 2 * KEPT);
    }
}

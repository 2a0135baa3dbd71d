//! Signals: requests to end a run, or to go on with another pipeline.

use anyhow::anyhow;
use std::fs;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::Error;
use pipehost_pipeline::Request;

/// The name of a signal.
pub fn name_of(signal: i32) -> &'static str {
    match signal {
        signal if signal == SignalKind::interrupt().as_raw_value() => "SIGINT",
        signal if signal == SignalKind::hangup().as_raw_value() => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// A signal that is repeated within this time counts once: timeout(1) sends each twice.
const BURST: Duration = Duration::from_millis(200);

/// Whether a signal was ignored when this program started, as by nohup(1).
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

/// Requests to a run, and where others may send them too.
pub type Requests = (mpsc::Sender<Request>, mpsc::Receiver<Request>);

/// Receives SIGINT, SIGTERM and SIGHUP from now on: all end the run.
pub fn signals() -> Result<Requests, Error> {
    let (send, receive) = stops()?;
    if !is_ignored(SignalKind::hangup()) {
        end_on(&[SignalKind::hangup()], &send)?;
    }
    Ok((send, receive))
}

/// Receives SIGINT and SIGTERM from now on, which end the run.
pub fn stops() -> Result<Requests, Error> {
    let (send, receive) = mpsc::channel(4);
    end_on(&[SignalKind::interrupt(), SignalKind::terminate()], &send)?;
    Ok((send, receive))
}

/// Receives SIGHUP from now on. One that comes before the last one was received counts once. Others
/// may send to it too.
pub fn hangups() -> Result<(mpsc::Sender<&'static str>, mpsc::Receiver<&'static str>), Error> {
    let (hang_up, hangups) = mpsc::channel(1);
    let sender = hang_up.clone();
    if !is_ignored(SignalKind::hangup()) {
        let mut signals = signal(SignalKind::hangup()).map_err(cannot)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = hang_up.try_send("SIGHUP");
            }
        });
    }
    Ok((sender, hangups))
}

fn cannot(error: std::io::Error) -> Error {
    Error::Failed(anyhow!("cannot wait for signals: {error}"))
}

/// Has these signals end the run.
fn end_on(kinds: &[SignalKind], send: &mpsc::Sender<Request>) -> Result<(), Error> {
    for &kind in kinds {
        let mut signals = signal(kind).map_err(cannot)?;
        let send = send.clone();
        tokio::spawn(async move {
            let mut last: Option<Instant> = None;
            while signals.recv().await.is_some() {
                if last.replace(Instant::now()).is_some_and(|last| last.elapsed() < BURST) {
                    continue;
                }
                if send.send(Request::Stop(kind.as_raw_value())).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

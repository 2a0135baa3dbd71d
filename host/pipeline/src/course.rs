//! What lasts while one pipeline replaces another: the time, and the requests to end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::replace::Replacement;
use crate::run::{Request, RunReport, StopCause};

/// What lasts while one pipeline replaces another: the time, and the requests to end.
pub(crate) struct Course {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) start: Instant,
    pub(crate) stopped_by: Option<StopCause>,
    /// When the run ends although it has not drained.
    pub(crate) patience: Instant,
    /// A pipeline that is to replace this one once dead letters are replayed.
    pub(crate) waiting: Option<Box<Replacement>>,
}

/// A time that never comes.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(86400 * 365 * 30)
}

impl Course {
    pub(crate) fn new(requests: mpsc::Receiver<Request>, start: Instant) -> Self {
        Self { requests, start, stopped_by: None, patience: far(), waiting: None }
    }

    /// Keeps a replacement for later, instead of an earlier one.
    pub(crate) fn wait(&mut self, asked: Box<Replacement>) {
        if let Some(before) = self.waiting.replace(asked) {
            before.refuse_another();
        }
    }

    /// Notes a reason to end. Whether there was one before: then the run ends at once.
    pub(crate) fn stop(&mut self, cause: StopCause, grace: Duration) -> bool {
        self.patience = Instant::now() + grace;
        let is_second = self.stopped_by.replace(cause).is_some();
        if !is_second {
            tracing::info!("draining, for {grace:?} at most; another signal ends the run at once");
        }
        is_second
    }

    /// The report of a run that has delivered all.
    pub(crate) fn report(&self) -> RunReport {
        RunReport {
            failure: None,
            stopped_by: self.stopped_by,
            undelivered: Vec::new(),
            unfinished: Vec::new(),
            elapsed: self.start.elapsed(),
        }
    }
}

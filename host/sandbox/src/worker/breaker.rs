//! The breaker of a stage: while the stage keeps failing, it is not called.
//!
//! The three states are those of Nygard's circuit breaker ("Release It!"): closed, open,
//! and half open, in which one call probes whether the stage works again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::instance::Failure;
use pipehost_config::OnOpen;
use pipehost_observe::metrics::{Activity, BreakerState, NodeMetrics};

/// Shared by the workers of a stage.
pub struct Breaker {
    /// Name of the stage, for the log.
    stage: Arc<str>,
    config: pipehost_config::Breaker,
    state: Mutex<State>,
    /// Notified when a probe has ended.
    probed: Notify,
    metrics: Arc<NodeMetrics>,
}

enum State {
    /// Times of the calls that failed within the window.
    Closed(VecDeque<Instant>),
    Open {
        until: Instant,
        why: String,
    },
    /// One call is testing whether the stage works again.
    Probing {
        why: String,
    },
}

/// Why a call is not made.
pub(super) enum NotAdmitted {
    /// The records are rejected.
    Records(String),
    /// The pipeline fails.
    Pipeline(String),
}

impl Breaker {
    pub fn new(
        stage: Arc<str>,
        config: pipehost_config::Breaker,
        metrics: Arc<NodeMetrics>,
    ) -> Self {
        let state = Mutex::new(State::Closed(VecDeque::new()));
        Self { stage, config, state, probed: Notify::new(), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the breaker in hand")
    }

    /// Asks to make a call. If the pipeline pauses while the breaker is open, waits until the stage
    /// may be called again.
    pub(super) async fn admit(&self) -> Result<(), NotAdmitted> {
        loop {
            let probed = self.probed.notified();
            let until = {
                let mut state = self.state();
                let (until, why) = match &*state {
                    State::Closed(_) => return Ok(()),
                    State::Open { until, why } if *until <= Instant::now() => {
                        *state = State::Probing { why: why.clone() };
                        self.metrics.breaker(BreakerState::Probing);
                        return Ok(());
                    }
                    State::Open { until, why } => (Some(*until), why),
                    State::Probing { why } => (None, why),
                };
                match self.config.on_open {
                    OnOpen::Fail => return Err(NotAdmitted::Pipeline(why.clone())),
                    OnOpen::DeadLetter => {
                        return Err(NotAdmitted::Records(format!("breaker: its stage {why}")));
                    }
                    OnOpen::Pause => until,
                }
            };
            let _waits = self.metrics.begin(Activity::WaitingToRetry);
            match until {
                Some(until) => sleep_until(until).await,
                None => probed.await,
            }
        }
    }

    /// A call went well.
    pub(super) fn success(&self) {
        let mut state = self.state();
        if let State::Probing { .. } = *state {
            *state = State::Closed(VecDeque::new());
            self.metrics.breaker(BreakerState::Closed);
            tracing::info!("stage `{}` works again: its breaker is closed", self.stage);
            self.probed.notify_waiters();
        }
    }

    /// A call failed.
    pub(super) fn failure(&self, failure: &Failure) {
        let now = Instant::now();
        let mut state = self.state();
        let open = match &mut *state {
            State::Closed(failures) => {
                failures.push_back(now);
                while failures.front().is_some_and(|&at| now - at > self.config.window) {
                    failures.pop_front();
                }
                failures.len() >= self.config.failures
            }
            State::Probing { .. } => true,
            State::Open { .. } => false,
        };
        if !open {
            return;
        }
        let why = format!(
            "failed {} times within {:?}, the last: {failure}",
            self.config.failures, self.config.window
        );
        tracing::warn!("the breaker of stage `{}` is open: it {why}", self.stage);
        *state = State::Open { until: now + self.config.cool_down, why };
        self.metrics.breaker(BreakerState::Open);
        self.metrics.breaker_opened.inc();
        self.probed.notify_waiters();
    }
}

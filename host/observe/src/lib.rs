//! Observing a run: metrics, the server that shows them, taps, the log, profiles.

mod activity;
pub mod log;
pub mod metrics;
pub mod own;
pub mod pace;
pub mod profile;
pub mod progress;
pub mod server;
pub mod tap;

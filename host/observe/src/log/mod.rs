//! The log, on stderr.

pub mod secrets;
pub mod stderr;

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line of text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Which events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Errors,
    Warnings,
    Usual,
    /// Also why instances failed.
    Verbose,
}

/// Starts the log of this process.
pub fn start(format: Format, level: Level) {
    stderr::set_format(format);
    let level = match level {
        Level::Verbose => LevelFilter::DEBUG,
        Level::Errors => LevelFilter::ERROR,
        Level::Warnings => LevelFilter::WARN,
        Level::Usual => LevelFilter::INFO,
    };
    // Libraries log much that is of no use to an operator. The names of our own crates all begin
    // with `pipehost`. What wasmtime's WASI logs, a guest can cause as often as it likes.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("wasmtime_wasi", LevelFilter::OFF)
        .with_target("pipehost", level)
        .with_target("guest", level);
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr::Log { format });
    let registry = tracing_subscriber::registry();
    let started = match format {
        Format::Json => registry.with(layer.json().with_filter(filter)).try_init(),
        Format::Text => {
            let layer = layer.with_ansi(color && std::io::stderr().is_terminal());
            registry.with(layer.with_target(false).with_filter(filter)).try_init()
        }
    };
    debug_assert!(started.is_ok(), "the log is started once");
}

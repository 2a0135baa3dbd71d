//! The log, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::{LogFormat, stderr};

pub(super) fn start(format: LogFormat, verbose: bool, quiet: bool) {
    let level = match (verbose, quiet) {
        (true, _) => LevelFilter::DEBUG,
        (_, true) => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    // Libraries have much to say that is of no use to an operator.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("pipehost", level)
        .with_target("guest", level);
    let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr::Log { format });
    let registry = tracing_subscriber::registry();
    let started = match format {
        LogFormat::Json => registry.with(layer.json().with_filter(filter)).try_init(),
        LogFormat::Text => {
            let layer = layer.with_ansi(color && std::io::stderr().is_terminal());
            registry.with(layer.with_target(false).with_filter(filter)).try_init()
        }
    };
    debug_assert!(started.is_ok(), "the log is started once");
}

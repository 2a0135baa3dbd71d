//! Parse, run, exit.

mod cli;
mod closed;
mod control;
mod error;
mod facts;
mod grant;
mod load;
mod progress;
mod remote;
mod runtime;
mod seen;
mod setting;
mod signals;
mod summary;
mod table;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;
use pipehost_sandbox::compile;

fn main() -> ExitCode {
    match compile::begin() {
        Some(code) => code,
        None => cli::main(cli::Cli::parse()),
    }
}

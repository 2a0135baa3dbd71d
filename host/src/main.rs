//! Parse, run, exit.

use std::process::ExitCode;

use clap::Parser;
use pipehost::cli::{self, Cli};
use pipehost::compile;

fn main() -> ExitCode {
    match compile::begin() {
        Some(code) => code,
        None => cli::main(Cli::parse()),
    }
}

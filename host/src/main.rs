//! Parse, run, exit.

use std::process::ExitCode;

use clap::Parser;
use pipehost::cli::{self, Cli};

fn main() -> ExitCode {
    cli::main(Cli::parse())
}

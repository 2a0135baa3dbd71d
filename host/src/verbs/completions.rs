//! `pipehost completions`.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::error::{Error, print};

#[derive(Debug, clap::Args)]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn completions(args: &Args) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pipehost", &mut script);
    print(&script)
}

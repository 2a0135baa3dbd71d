//! `pipehost completions`.

use crate::error::{Error, print};

#[derive(Debug, clap::Args)]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn completions(args: &Args, mut program: clap::Command) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "pipehost", &mut script);
    print(&script)
}

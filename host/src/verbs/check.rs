//! `pipehost check`.

use std::path::PathBuf;

use crate::error::{Error, print};
use crate::load::PipelineArgs;
use crate::runtime::runtime;
use pipehost_observe::log::stderr;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// More pipelines to check: the mistakes of all are told.
    #[arg(value_name = "PIPELINE.toml")]
    more: Vec<PathBuf>,
}

pub fn check(args: &Args) -> Result<u8, Error> {
    let first = check_one(&args.pipeline);
    if args.more.is_empty() {
        return first;
    }
    let more = args.more.iter().map(|file| check_one(&args.pipeline.with_file(file)));
    let mut code = 0;
    for checked in std::iter::once(first).chain(more) {
        code = code.max(match checked {
            Ok(code) => code,
            Err(Error::ClosedPipe) => return Err(Error::ClosedPipe),
            Err(error) => {
                stderr::fail(&error.text());
                error.code()
            }
        });
    }
    Ok(code)
}

fn check_one(pipeline: &PipelineArgs) -> Result<u8, Error> {
    let prepared = runtime()?.block_on(pipeline.prepare(None))?;
    let config = &prepared.config;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    print(
        format!(
            "{}: no mistakes ({}, {}, {})\n",
            config.name,
            count(config.sources.len(), "source"),
            count(config.stages.len(), "stage"),
            count(config.sinks.len(), "sink")
        )
        .as_bytes(),
    )
}

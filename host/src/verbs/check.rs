//! `pipehost check`.

use crate::error::{Error, print};
use crate::load::PipelineArgs;
use crate::runtime::runtime;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn check(args: &Args) -> Result<u8, Error> {
    let prepared = runtime()?.block_on(args.pipeline.prepare(None))?;
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

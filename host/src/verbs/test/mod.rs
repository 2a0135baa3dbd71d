//! `pipehost test` and `pipehost conformance`.

mod pipeline;
mod report;

use anyhow::anyhow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, print};
use crate::facts;
use crate::runtime::runtime;
use pipehost_config::limits::Limits;
use pipehost_kit::cases::{self, Named, Unreadable};
use pipehost_kit::conformance;
use pipehost_observe::log::{self, stderr};
use pipehost_sandbox::compile::{Metering, Source};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::plugin;
use report::{Report, plural};

pub const ABOUT: &str = "\
Run test cases: those of a stage, which are the files tests/*.toml in its folder, or those of a
pipeline, which are NAME.test.toml and NAME.….test.toml beside NAME.toml.

    pipehost test my-stage

    pipehost test logs.toml

A stage is built first. A case of it says what goes in and what is expected. It is run several times,
with its records divided into batches in another way each time, and, if the stage keeps a state, with
this saved and restored in between: so a stage whose answer depends on that is found. The clock stands
still and random numbers are the same in each run.

    [config]
    level = \"ERROR\"

    [[input]]
    value = \"disk full\"
    attributes = { level = \"ERROR\" }

    [[output]]
    value = \"disk full\"
    attributes = { level = \"ERROR\" }

A case of a pipeline says to which source, stage or sink each record is given, and which records are
expected at named nodes. Its stages run as they are, with their clocks fixed; nothing else is read or
written.

    [[input]]
    to = \"log\"
    value = \"2026-11-30T10:00:00Z ERROR disk full\"

    [[output]]
    from = \"alerts\"
    value = \"disk full\"

    [[rejected]]
    by = \"parse\"
    reason_contains = \"no time\"";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the stage, or the file of a pipeline.
    #[arg(default_value = ".", value_name = "FOLDER|PIPELINE.toml")]
    subject: PathBuf,
    /// Test this component instead of building the folder.
    #[arg(long, value_name = "FILE.wasm")]
    component: Option<PathBuf>,
    /// Write what comes out into the cases as what is expected. Look at what changed.
    #[arg(long)]
    bless: bool,
    /// Show what the stage prints.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, clap::Args)]
pub struct ConformanceArgs {
    /// A component that does what `tests/conformance/README.md` says, written with the SDK: a
    /// `.wasm`, or a folder with its source.
    component: PathBuf,
    /// Show what the stage prints.
    #[arg(short, long)]
    verbose: bool,
}

pub fn test(args: &Args) -> Result<u8, Error> {
    if args.subject.is_file() {
        if args.bless || args.component.is_some() {
            return Err(Error::Usage(anyhow!(
                "--bless and --component are for a stage: {} is a pipeline",
                args.subject.display()
            )));
        }
        let level = if args.verbose { log::Level::Usual } else { log::Level::Errors };
        log::start(log::Format::Text, level);
        return pipeline::test(&args.subject);
    }
    let cases = cases::of_folder(&args.subject.join("tests")).map_err(|why| match why {
        Unreadable::Mistakes(text) => Error::Mistakes(text.trim_end().to_owned()),
        Unreadable::Other(error) => Error::Usage(error),
    })?;
    let source = match &args.component {
        Some(component) => facts::source(component)?,
        None => {
            let built = plugin::build(&args.subject, &mut stderr::say).map_err(Error::Failed)?;
            plugin::source(&built, Limits::default().component_bytes).map_err(Error::Failed)?
        }
    };
    run(&cases, &source, args.verbose, args.bless)
}

pub fn conformance(args: &ConformanceArgs) -> Result<u8, Error> {
    let cases = conformance::cases().map_err(Error::Failed)?;
    run(&cases, &facts::source(&args.component)?, args.verbose, false)
}

fn run(cases: &[Named], source: &Source, verbose: bool, bless: bool) -> Result<u8, Error> {
    log::start(log::Format::Text, if verbose { log::Level::Usual } else { log::Level::Warnings });
    // A case has one instance at a time, one that takes over, and one that describes itself.
    let engine = Engine::new(Metering::Fuel, cases::INSTANCES).map_err(Error::Failed)?;
    let engine = Arc::new(engine);
    let runtime = runtime()?;
    let mut report = Report::new(cases.iter().map(|named| named.name.clone()));
    for named in cases {
        let run = cases::run(&engine, source, &named.case);
        let verdict = runtime
            .block_on(run)
            .map_err(|why| Error::Failed(anyhow!("{}: {why:#}", named.name)))?;
        let name = &named.name;
        match &verdict.complaint {
            None => {
                let (records, divisions) = (verdict.records, verdict.divisions);
                let (s, t) = (plural(records), plural(divisions));
                let how = format!("{records} record{s}, {divisions} way{t} to divide them");
                report.passed(name, &how);
            }
            Some(_) if bless && verdict.can_be_blessed => {
                let blessed = cases::blessed(named, &verdict).map_err(Error::Failed)?;
                fs::write(Path::new(name), blessed)
                    .map_err(|error| Error::Failed(anyhow!("cannot write {name}: {error}")))?;
                report.written(name);
            }
            Some(complaint) => report.failed(name, complaint),
        }
    }
    let (text, code) = report.end();
    print(text.as_bytes())?;
    Ok(code)
}

//! `pipehost test` and `pipehost conformance`.

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
use pipehost_record::foreign::Foreign;
use pipehost_sandbox::compile::{Metering, Source};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::plugin;

pub const ABOUT: &str = "\
Build a stage and run its test cases: the files tests/*.toml in its folder.

A case says what goes in and what is expected. It is run several times, with its records divided
into batches in another way each time, and, if the stage keeps a state, with this saved and
restored in between: so a stage whose answer depends on that is found. The clock stands still and
random numbers are the same in each run.

    [config]
    level = \"ERROR\"

    [[input]]
    value = \"disk full\"
    attributes = { level = \"ERROR\" }

    [[output]]
    value = \"disk full\"
    attributes = { level = \"ERROR\" }";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the stage.
    #[arg(default_value = ".")]
    folder: PathBuf,
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
    let cases = cases::of_folder(&args.folder.join("tests")).map_err(|why| match why {
        Unreadable::Mistakes(text) => Error::Mistakes(text.trim_end().to_owned()),
        Unreadable::Other(error) => Error::Usage(error),
    })?;
    let source = match &args.component {
        Some(component) => facts::source(component)?,
        None => {
            let built = plugin::build(&args.folder, &mut stderr::say).map_err(Error::Failed)?;
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
    let width = cases.iter().map(|named| named.name.chars().count()).max().unwrap_or(0);
    let (mut passed, mut failed, mut text) = (0, 0, String::new());
    for named in cases {
        let run = cases::run(&engine, source, &named.case);
        let verdict = runtime
            .block_on(run)
            .map_err(|why| Error::Failed(anyhow!("{}: {why:#}", named.name)))?;
        let name = &named.name;
        match &verdict.complaint {
            None => {
                passed += 1;
                let (records, divisions) = (verdict.records, verdict.divisions);
                let (s, t) = (plural(records), plural(divisions));
                text.push_str(&format!(
                    "{name:<width$}  ok      {records} record{s}, {divisions} way{t} to divide them\n"
                ));
            }
            Some(_) if bless && verdict.can_be_blessed => {
                let blessed = cases::blessed(named, &verdict).map_err(Error::Failed)?;
                fs::write(Path::new(name), blessed)
                    .map_err(|error| Error::Failed(anyhow!("cannot write {name}: {error}")))?;
                passed += 1;
                text.push_str(&format!("{name:<width$}  written\n"));
            }
            Some(complaint) => {
                failed += 1;
                text.push_str(&format!("{name:<width$}  FAILED\n"));
                for line in complaint.lines() {
                    text.push_str(&format!("    {}\n", Foreign::new(line).whole()));
                }
            }
        }
    }
    text.push_str(&format!("\n{passed} passed, {failed} failed\n"));
    print(text.as_bytes())?;
    Ok(u8::from(failed > 0))
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

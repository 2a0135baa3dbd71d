//! `pipehost bench`.

mod picture;
mod report;
mod runs;

use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Error, print};
use crate::runtime::runtime;
use crate::{grant, load, remote, setting, summary};
use pipehost_config::grants::Grants;
use pipehost_config::mistake::Mistake;
use pipehost_config::{
    At, Batching, Config, Decoding, FileSource, Generate, Input, OnError, Plugin, Rotate, Sink,
    SinkKind, Source, SourceKind, Stage, StageConfig,
};
use pipehost_observe::log::stderr;
use pipehost_observe::metrics::Metrics;
use pipehost_observe::pace::Pace;
use pipehost_pipeline::prepare::{Prepared, prepare};
use pipehost_record::template::Template;
#[cfg(feature = "native")]
use pipehost_sandbox::describe;
use pipehost_sandbox::{Program, Runner};
use report::{Latency, Report};
use runs::Runs;

/// The default input of a component: lines of a log, of some 105 bytes.
const LINE: &str = "2023-10-27T10:00:00Z INFO request {n} was served to a client somewhere in the network in good time";

pub const ABOUT: &str = "\
Measure a pipeline or a component: sandboxed, and native where there is such a stage.

Runs the pipeline several times, in turn sandboxed, with the native ones of pipehost's own
stages, and sandboxed once more as a control: times on a shared machine mean little, the
ratios of one command do, and the control says how much. Then it runs at a fixed rate, and
says how long records take from when they were due until they are written. What the pipeline
has made is left as it is: files are written beside theirs and removed, what goes to stdout
is thrown away, and a state directory is not used.

    pipehost bench pipeline.toml

    pipehost bench filter --set field=value --set contains=ERROR --input in.log";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline whose sources end; or a stage that comes with pipehost, a `.wasm`, a `.wat` or
    /// the folder of a crate, which gets lines and is followed by nothing.
    #[arg(value_name = "PIPELINE.toml|COMPONENT")]
    target: PathBuf,
    /// A member of the component's configuration.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Grant something to the component: read=/GUEST=FOLDER, write=/GUEST=FOLDER,
    /// network=ADDRESS:PORT, http=URL, env=NAME[=VALUE],
    /// clock=fixed, random=fixed.
    #[arg(long = "grant", value_name = "GRANT=VALUE")]
    grant: Vec<String>,
    /// A file of lines for the component, instead of generated log lines.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How many lines are generated.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, conflicts_with = "input")]
    records: u64,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Records a second at which latency is measured [default: half of what the pipeline can do]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// For how many seconds latency is measured, if the records last so long.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print JSON, in seconds and bytes.
    #[arg(long)]
    json: bool,
    /// Also write a chart.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse().map_err(|_| anyhow!("{text:?} is not a number"))?;
    let valid = rate.is_finite() && rate > 0.0;
    if valid { Ok(rate) } else { Err(anyhow!("it must be more than 0")) }
}

pub fn bench(args: &Args) -> Result<u8, Error> {
    let runtime = runtime()?;
    let report = runtime.block_on(measure(args))?;
    let text = if args.json {
        let json = serde_json::to_value(&report).expect("its keys are texts");
        format!("{json:#}\n")
    } else {
        report.text()
    };
    let code = print(text.as_bytes())?;
    if let Some(path) = &args.svg {
        std::fs::write(path, picture::svg(&report)).map_err(|error| {
            Error::Failed(anyhow!("cannot write the picture {}: {error}", path.display()))
        })?;
    }
    Ok(code)
}

async fn measure(args: &Args) -> Result<Report, Error> {
    let (mut config, mut known, render) = configuration(args)?;
    let file = args.target.extension().is_some_and(|ending| ending == "toml");
    remote::fetch(&mut config, file.then_some(&args.target), &mut known).await;
    let Repeatable { config, mut notes, _folders } = repeatable(config)?;
    let mut say = stderr::say;
    let prepared = prepare(config, known, load::options(), &mut say).await.map_err(render)?;
    let native = native_runners(&prepared).await;
    if !native.left.is_empty() && !native.names.is_empty() {
        notes.push(format!(
            "sandboxed in both runs, as there is no native version: {}",
            native.left.join(", ")
        ));
    }
    let runners = (!native.names.is_empty()).then_some(native.runners);
    let runs = Runs::alternate(&prepared, runners.as_deref(), args.rounds).await?;
    let rejected = runs.sandboxed.first().map_or(0, |run| run.rejected);
    if rejected > 0 {
        notes.push(format!("records rejected in each run: {}", summary::number(rejected)));
    }
    let latency = latency(&prepared, args, &runs).await?;
    Ok(Report::new(prepared.config.name.clone(), &runs, native.names, latency, notes))
}

type Render = Box<dyn Fn(Vec<Mistake>) -> Error>;

/// The pipeline that is named, or one around the component that is named.
fn configuration(args: &Args) -> Result<(Config, Vec<Mistake>, Render), Error> {
    if args.target.extension().is_some_and(|ending| ending == "toml") {
        if !args.set.is_empty() || !args.grant.is_empty() || args.input.is_some() {
            return Err(Error::Usage(anyhow!("--set, --grant and --input are for a component")));
        }
        let mut loaded = load::file(&args.target)?;
        let known = std::mem::take(&mut loaded.mistakes);
        let config = loaded.config.clone();
        return Ok((config, known, Box::new(move |mistakes| loaded.render(&mistakes))));
    }
    let value = setting::object(&args.set)?;
    let config = around(&args.target, value, grant::grants(&args.grant)?, args);
    let target = args.target.display().to_string();
    let render = move |mistakes: Vec<Mistake>| {
        let texts: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
        Error::Usage(anyhow!("{target} cannot be measured: {}", texts.join("; ")))
    };
    Ok((config, Vec::new(), Box::new(render)))
}

/// A pipeline of records, the component, and a sink that drops everything.
fn around(component: &Path, config: serde_json::Value, grants: Grants, args: &Args) -> Config {
    let kind = match &args.input {
        Some(path) => {
            SourceKind::File(FileSource::once(PathBuf::new(), path.clone(), Decoding::default()))
        }
        None => SourceKind::Generate(Generate {
            count: Some(args.records),
            rate: None,
            key: None,
            template: Template::parse(LINE).expect("it is one"),
        }),
    };
    let plugin = At::nowhere(Plugin::new(Path::new(""), component));
    let name = plugin.value.stem();
    let input = Input::from(At::nowhere("records".to_owned()));
    let stage = Stage::new(At::nowhere(name.clone()), plugin, input);
    Config {
        name: name.clone(),
        sources: vec![Source {
            name: At::nowhere("records".to_owned()),
            kind,
            batch: Batching::default(),
            on_error: At::nowhere(OnError::Fail),
            watermark: None,
        }],
        stages: vec![Stage {
            config: StageConfig::new(config),
            grants,
            on_error: At::nowhere(OnError::Skip),
            ..stage
        }],
        sinks: vec![Sink {
            name: At::nowhere("null".to_owned()),
            kind: SinkKind::Null,
            input: Input::from(At::nowhere(name)),
            batch: None,
            rate: None,
            on_error: At::nowhere(OnError::Fail),
        }],
        ..Config::default()
    }
}

/// A pipeline that can run again and again, without changing the files that it usually writes.
struct Repeatable {
    config: Config,
    notes: Vec<String>,
    /// The folders that it writes to during the measurement.
    _folders: Vec<TempDir>,
}

fn repeatable(mut config: Config) -> Result<Repeatable, Error> {
    for source in &config.sources {
        let name = &source.name.value;
        let endless = match &source.kind {
            SourceKind::Stdin { .. } => Some("stdin cannot be read a second time"),
            SourceKind::Http(_) => Some("it waits for requests"),
            SourceKind::File(FileSource { follow: true, .. }) => {
                Some("it follows its files (follow)")
            }
            SourceKind::Generate(generate) if generate.count.is_none() => Some("it has no count"),
            SourceKind::Sqlite(sqlite) if sqlite.poll.is_some() => {
                Some("it looks for new rows (poll)")
            }
            SourceKind::File(_) | SourceKind::Generate(_) | SourceKind::Sqlite(_) => None,
        };
        if let Some(why) = endless {
            return Err(Error::Usage(anyhow!(
                "the source `{name}` has no end: {why}. Give it a file, or a count, to measure with"
            )));
        }
    }
    let mut notes = Vec::new();
    if config.state.take().is_some() {
        notes.push("measured without the state directory: each run begins anew".to_owned());
    }
    let mut folders = Vec::new();
    if let Some(letters) = &mut config.dead_letters {
        letters.value.path = aside(&letters.value.path, &mut folders)?;
    }
    for sink in &mut config.sinks {
        let name = &sink.name.value;
        match &mut sink.kind {
            SinkKind::Stdout { .. } => {
                notes.push(format!("`{name}` writes nothing here, instead of stdout"));
                sink.kind = SinkKind::Null;
            }
            SinkKind::Http(_) | SinkKind::Sqlite(_) => {
                return Err(Error::Usage(anyhow!(
                    "the sink `{name}` would get all records several times; measure with a file or null"
                )));
            }
            SinkKind::File(file) => {
                if file.partition.take().is_some() {
                    notes.push(format!("`{name}` writes one file here, instead of many"));
                }
                // A device or a pipe is written directly.
                if std::fs::metadata(&file.path.value).map_or(true, |metadata| metadata.is_file()) {
                    file.path.value = aside(&file.path.value, &mut folders)?;
                }
                (file.append, file.rotate) = (false, Rotate::default());
            }
            SinkKind::Null => {}
        }
    }
    Ok(Repeatable { config, notes, _folders: folders })
}

/// A temporary path for what a measurement writes, on the same disk.
fn aside(path: &Path, folders: &mut Vec<TempDir>) -> Result<PathBuf, Error> {
    // The folder of a path with `{…}` in it may not exist yet.
    let existing = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = existing.unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".pipehost-bench-").tempdir_in(folder);
    let made = made.map_err(|error| {
        Error::Failed(anyhow!("cannot write to the folder {}: {error}", folder.display()))
    })?;
    let path = made.path().join("out");
    folders.push(made);
    Ok(path)
}

/// The runners of a pipeline, native where possible.
struct Native {
    runners: Vec<Runner>,
    /// Stages that run natively, and those that do not.
    names: Vec<String>,
    left: Vec<String>,
}

async fn native_runners(prepared: &Prepared) -> Native {
    let mut all = Native { runners: Vec::new(), names: Vec::new(), left: Vec::new() };
    let metrics = Arc::new(Metrics::default());
    for (stage, runner) in prepared.config.stages.iter().zip(&prepared.runners) {
        let name = stage.name.value.clone();
        let native = match runner.program() {
            Some(program) => native_runner(program, stage, &metrics).await,
            None => None,
        };
        match native {
            Some(native) => {
                all.names.push(name);
                all.runners.push(native);
            }
            None => {
                all.left.push(name);
                all.runners.push(runner.clone());
            }
        }
    }
    all
}

/// The native stage of a component, with the same configuration; `None` if there is none. A native
/// stage of the same name but with another plan is another stage.
#[cfg(feature = "native")]
async fn native_runner(program: &Program, stage: &Stage, metrics: &Metrics) -> Option<Runner> {
    let node = metrics.node(&stage.name.value);
    let description = describe(program.component(), &node).await.ok()?;
    let config = stage.config.value.to_string();
    let native = pipehost_native::runner(&description.name, &config)?.ok()?;
    (native.plan() == program.plan()).then_some(native)
}

/// This program has no native stages.
#[cfg(not(feature = "native"))]
async fn native_runner(_: &Program, _: &Stage, _: &Metrics) -> Option<Runner> {
    None
}

/// Runs once more at a fixed rate; by default, at half of the rate that was measured.
async fn latency(prepared: &Prepared, args: &Args, runs: &Runs) -> Result<Latency, Error> {
    let sources = prepared.config.sources.len() as f64;
    let rate = args.rate.unwrap_or_else(|| (runs.records_per_second() / 2.0).max(1.0));
    let pace = Arc::new(Pace::new(rate / sources, Duration::from_secs(args.seconds)));
    runs::run(prepared, None, Some(pace.clone())).await?;
    Ok(Latency::new(rate, &pace))
}

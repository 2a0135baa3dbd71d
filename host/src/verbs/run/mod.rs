//! `pipehost run`.

mod profiling;
mod reload;
mod watch;

use anyhow::anyhow;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::load::{self, PipelineArgs};
use crate::progress::ProgressDisplay;
use crate::runtime::Threads;
use crate::signals::{hangups, name_of, signals, stops};
use crate::{closed, summary};
use pipehost_config::{Config, SinkKind, SourceKind};
use pipehost_http::Listener;
use pipehost_observe::log::{self, stderr};
use pipehost_observe::metrics::Metrics;
use pipehost_observe::server;
use pipehost_pipeline::prepare::Prepared;
use pipehost_pipeline::{Request, RunReport, StopCause};
use pipehost_serve::address::{self, Address, Bound};
use pipehost_serve::{Control, Limits};
use profiling::Profiling;
use reload::Reload;

pub const ABOUT: &str = "\
Run a pipeline until its sources end, and print a summary.

The pipeline is a file, or a chain of plugins between stdin and stdout:

    pipehost run pipeline.toml

    pipehost run --plugin parse-log --plugin filter \\
        --set filter.attribute=level --set filter.equals=ERROR < in.log > out.log

SIGINT and SIGTERM drain the pipeline. SIGHUP has one that is a file go on with what the file says
now, and so has each change with --watch; if it has mistakes, they are told, and the pipeline goes on
as it was.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Serve Prometheus metrics at /metrics, /healthz and /readyz, and a CPU profile of the host
    /// for pprof at /debug/pprof/profile?seconds=N.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<std::net::SocketAddr>,
    /// Where `pipehost top`, `tap` and others look into the run: ADDRESS:PORT, the path of a Unix
    /// socket, or `none`. The default is a socket that only this user can open, in
    /// $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/pipehost or /tmp/pipehost-USER. Whoever can connect may
    /// see all records, and replay dead letters.
    #[arg(long, value_name = "ADDR", value_parser = control)]
    control: Option<Place>,
    /// Go on with the changed pipeline each time that its file, or a component that it names, has
    /// changed, as after SIGHUP.
    #[arg(long)]
    watch: bool,
    /// Write what the stages spent their time in, for <https://profiler.firefox.com>: a track
    /// for each, with the functions of its component. Costs some speed.
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// How to write the log, which goes to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log more: also why instances failed.
    #[arg(short, long)]
    verbose: bool,
    /// Show neither progress nor a summary; of the log, only warnings.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

/// Where the control interface is.
#[derive(Debug, Clone)]
enum Place {
    Nowhere,
    At(Address),
}

fn control(text: &str) -> Result<Place, String> {
    match text {
        "none" => Ok(Place::Nowhere),
        text => text.parse().map(Place::At),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Args {
    /// With the defaults for all but the pipeline.
    pub fn of(pipeline: PipelineArgs) -> Self {
        Self {
            pipeline,
            metrics: None,
            control: None,
            watch: false,
            profile: None,
            log_format: LogFormat::Text,
            verbose: false,
            quiet: false,
        }
    }
}

/// Runs a pipeline. `changes` are further reasons to read it again, instead of SIGHUP.
pub fn run(args: Args, changes: Option<mpsc::Receiver<&'static str>>) -> Result<u8, Error> {
    let format = match args.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let level = match (args.verbose, args.quiet) {
        (true, _) => log::Level::Verbose,
        (_, true) => log::Level::Warnings,
        _ => log::Level::Usual,
    };
    log::start(format, level);
    let threads = Threads::new()?;
    let result = threads.control.block_on(run_async(args, changes, threads.work.handle()));
    threads.end();
    result
}

async fn run_async(
    args: Args,
    changes: Option<mpsc::Receiver<&'static str>>,
    work: &Handle,
) -> Result<u8, Error> {
    if args.pipeline.file() == Some(Path::new(load::STDIN)) {
        return Err(Error::Usage(anyhow!(
            "a pipeline that runs is a file: stdin may be its input (only `check` reads `-`)"
        )));
    }
    let profiling = args.profile.as_deref().map(Profiling::begin).transpose()?;
    let profile = profiling.as_ref().map(|profiling| profiling.profile.clone());
    // First of all: it must not end a program that is still building or compiling.
    let hangups = match changes {
        Some(changes) => Some(changes),
        None => match args.pipeline.file() {
            Some(file) => {
                let (sender, hangups) = hangups()?;
                if args.watch {
                    watch::watch(file.to_owned(), sender);
                }
                Some(hangups)
            }
            None if args.watch => {
                return Err(Error::Usage(anyhow!("--watch is for a pipeline that is a file")));
            }
            None => None,
        },
    };
    let prepared = args.pipeline.prepare(profile.clone()).await?;
    let metrics = prepared.metrics.clone();
    let name = prepared.config.name.clone();
    say_what_runs(&prepared);
    let stdout_is_used =
        prepared.config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Stdout { .. }));
    are_open(&prepared.config)?;
    let (send, mut requests) = if hangups.is_some() { stops()? } else { signals()? };
    let ready = match args.metrics {
        Some(address) => Some(serve(address, metrics.clone())?),
        None => None,
    };
    let controlled = listen(args.control.as_ref())?;
    // On another thread: opening a pipe may block until someone reads it, and a signal must end
    // that too.
    let starting = work.spawn(pipehost_pipeline::start(prepared));
    let running = tokio::select! {
        started = starting => match started {
            Ok(started) => started.map_err(Error::Failed)?,
            Err(panic) => return Err(Error::Failed(anyhow!("the pipeline did not start: {panic}"))),
        },
        Some(Request::Stop(number)) = requests.recv() => {
            let ending = RunReport {
                failure: None,
                stopped_by: Some(StopCause::Signal(number)),
                undelivered: Vec::new(),
                unfinished: Vec::new(),
                elapsed: Duration::ZERO,
            };
            return conclude(ending);
        }
    };
    if let Some(ready) = &ready {
        ready.set();
    }
    let view = running.view();
    let _bound = controlled.map(|(listener, bound)| {
        let (view, metrics, requests) = (view.clone(), metrics.clone(), send.clone());
        let (pipeline, since) = (name.clone(), Instant::now());
        pipehost_serve::serve(
            listener,
            Control { pipeline, view, metrics, requests, since, limits: Limits::default() },
        );
        bound
    });
    let processed = metrics.processed.clone();
    let drawing = (!args.quiet && !stderr::is_json())
        .then(|| ProgressDisplay::start(view.clone(), processed, stdout_is_used));
    let reload = hangups.map(|hangups| {
        let (pipeline, metrics) = (args.pipeline.clone(), metrics.clone());
        Reload { pipeline, profile, metrics, send, hangups }
    });
    let reloading = async {
        match reload {
            Some(reload) => reload.run().await,
            None => std::future::pending().await,
        }
    };
    let ending = tokio::select! {
        ending = running.finish(requests) => ending,
        () = reloading => unreachable!("it waits for signals"),
    };
    drop(drawing);
    let profiled = profiling.map_or(Ok(()), Profiling::end);
    if !args.quiet {
        let (nodes, processed) = (view.nodes(), metrics.processed.get());
        if stderr::is_json() {
            let fields = summary::fields(&nodes, processed, &ending);
            stderr::tell("INFO", &summary::headline(&name, processed, &ending), fields);
        } else {
            stderr::say(&summary::render(&name, &nodes, processed, &ending));
        }
    }
    conclude(ending).and_then(|code| profiled.map(|()| code))
}

/// Opens the control interface. Without the usual one, the pipeline runs all the same.
fn listen(place: Option<&Place>) -> Result<Option<(Listener, Bound)>, Error> {
    let bound = match place {
        Some(Place::Nowhere) => return Ok(None),
        Some(Place::At(address)) => {
            let bound = address.bind().map_err(Error::Failed)?;
            tracing::info!("control at {}", bound.1.address);
            return Ok(Some(bound));
        }
        None => address::usual().and_then(|address| address.bind()),
    };
    match bound {
        Ok(bound) => Ok(Some(bound)),
        Err(why) => {
            tracing::debug!("`pipehost top` and `tap` will not find this run: {why:#}");
            Ok(None)
        }
    }
}

/// Logs the version, the pipeline and the SHA-256 of each component. Text has it with --verbose.
fn say_what_runs(prepared: &Prepared) {
    let version = env!("CARGO_PKG_VERSION");
    let pipeline = &*prepared.config.name;
    let stages = prepared.config.stages.iter().zip(&prepared.runners);
    let components: Vec<_> =
        stages.map(|(stage, runner)| format!("{}={}", stage.name.value, runner.hash())).collect();
    let components = components.join(" ");
    if stderr::is_json() {
        tracing::info!(version, pipeline, components, "starts");
    } else {
        tracing::debug!(version, pipeline, components, "starts");
    }
}

/// Checks that stdin and stdout are open, if the pipeline reads or writes them.
fn are_open(config: &Config) -> Result<(), Error> {
    for sink in &config.sinks {
        if matches!(sink.kind, SinkKind::Stdout { .. }) && closed::stdout() {
            let name = &sink.name.value;
            return Err(Error::Failed(anyhow!(
                "the sink `{name}` writes to stdout, and stdout is closed"
            )));
        }
    }
    for source in &config.sources {
        if matches!(source.kind, SourceKind::Stdin { .. }) && closed::stdin() {
            let name = &source.name.value;
            return Err(Error::Failed(anyhow!(
                "the source `{name}` reads stdin, and stdin is closed (for empty input, give </dev/null)"
            )));
        }
    }
    Ok(())
}

fn conclude(ending: RunReport) -> Result<u8, Error> {
    let lost: Vec<_> = (ending.undelivered.iter())
        .map(|(node, records)| format!("{} before or in `{node}`", summary::number(*records)))
        .collect();
    let unfinished: Vec<_> = ending.unfinished.iter().map(|node| format!("`{node}`")).collect();
    let delivered = match (&lost[..], &unfinished[..]) {
        ([], []) => "every record that was read was delivered".to_owned(),
        ([], unfinished) => format!("did not finish: {}", unfinished.join(", ")),
        (lost, _) => format!("records not delivered: {}", lost.join(", ")),
    };
    if let Some(failure) = ending.failure {
        let text = if lost.is_empty() { failure } else { anyhow!("{failure:#}\n{delivered}") };
        return Err(Error::Failed(text));
    }
    let (why, code) = match ending.stopped_by {
        None => return Ok(0),
        Some(StopCause::Deadline) => ("the deadline passed".to_owned(), 124),
        Some(StopCause::Signal(number)) => {
            let name = name_of(number);
            (format!("stopped by {name}"), 128 + number)
        }
    };
    stderr::say(&format!("{why}: {delivered}"));
    Ok(u8::try_from(code).unwrap_or(1))
}

fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<server::Ready, Error> {
    let listener = TcpListener::bind(address)
        .map_err(|error| Error::Failed(anyhow!("cannot serve metrics at {address}: {error}")))?;
    let bound = listener.local_addr().map_err(|error| Error::Failed(error.into()))?;
    tracing::info!("serving metrics at http://{bound}/metrics");
    Ok(server::serve(listener, metrics))
}

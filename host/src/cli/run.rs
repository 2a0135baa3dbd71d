//! `pipehost run` and `pipehost check`.

use std::fs::{self, File};
use std::io::BufWriter;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::progress::Drawing;
use super::{Error, PipelineArgs, RunArgs, closed, load, logging, stderr, summary};
use crate::config::{Config, SinkKind, SourceKind};
use crate::folder;
use crate::metrics::Metrics;
use crate::pipeline::{self, Ending, Stop, StoppedBy};
use crate::prepare::{Prepared, prepare_profiled};
use crate::profile::GuestProfile;
use crate::telemetry;

pub(super) fn check(args: PipelineArgs) -> Result<u8, Error> {
    let prepared = runtime()?.block_on(ready(&args, None))?;
    let config = &prepared.config;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    super::print(
        format!(
            "{}: fit to run ({}, {}, {})\n",
            config.name,
            count(config.sources.len(), "source"),
            count(config.stages.len(), "stage"),
            count(config.sinks.len(), "sink")
        )
        .as_bytes(),
    )
}

pub(super) fn run(args: RunArgs) -> Result<u8, Error> {
    let format = args.log_format;
    logging::start(format, args.verbose, args.quiet);
    let threads = Threads::new()?;
    let result = threads.control.block_on(run_async(args, threads.work.handle()));
    threads.end();
    result
}

/// What a run is made on. What guests run on is apart from both: see [`crate::stage::guests`].
pub(super) struct Threads {
    /// This thread: signals, the deadline, metrics, the end. No record is touched on it, so
    /// that nothing keeps it busy.
    pub control: Runtime,
    /// Sources, sinks, and what is between.
    pub work: Runtime,
}

impl Threads {
    pub(super) fn new() -> Result<Self, Error> {
        let cannot = |error| Error::Failed(format!("cannot start the runtime: {error}"));
        let control = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        Ok(Self { control, work: runtime()? })
    }

    /// A write that is under way holds the file that it writes to, which is removed after it.
    /// A read or a guest may never come to an end; nobody waits for that.
    pub(super) fn end(self) {
        self.control.shutdown_background();
        self.work.shutdown_timeout(Duration::from_secs(1));
    }
}

pub(super) fn runtime() -> Result<Runtime, Error> {
    // Files that are followed, and those that a sink divides its records into, stay open. The
    // lower limit is for programs that use select(2).
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    Builder::new_multi_thread()
        .thread_name("work")
        .enable_all()
        .build()
        .map_err(|error| Error::Failed(format!("cannot start the runtime: {error}")))
}

/// Reads, builds, compiles and checks, or reports every mistake.
async fn ready(args: &PipelineArgs, profile: Option<Arc<GuestProfile>>) -> Result<Prepared, Error> {
    let mut loaded = load::pipeline(args)?;
    let known = std::mem::take(&mut loaded.mistakes);
    let mut say = stderr::say;
    let prepared = prepare_profiled(loaded.config.clone(), known, profile, &mut say).await;
    prepared.map_err(|mistakes| loaded.render(&mistakes))
}

/// A profile of guests, and the file that it is written to.
struct Profiling {
    profile: Arc<GuestProfile>,
    path: PathBuf,
    /// Made before anything runs: a folder that is missing should not be found at the end.
    file: ProfileFile,
}

enum ProfileFile {
    /// It takes the place of another only when it is complete.
    Complete(NamedTempFile),
    /// A pipe or a device is written as it is.
    Stream(File),
}

impl Profiling {
    fn begin(path: &Path) -> Result<Self, Error> {
        let failed = |error| cannot_write(path, &error);
        fs::metadata(folder::of(path)).map_err(failed)?;
        // A link is followed.
        let path =
            &if path.exists() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
        let file = if path.exists() && !path.is_file() {
            ProfileFile::Stream(File::options().write(true).open(path).map_err(failed)?)
        } else {
            let file = folder::temporary(path, fs::Permissions::from_mode(0o666));
            ProfileFile::Complete(file.map_err(failed)?)
        };
        let name = path.file_stem().map_or("pipehost".into(), |stem| stem.to_string_lossy());
        let profile = Arc::new(GuestProfile::new(&name));
        Ok(Self { profile, path: path.to_owned(), file })
    }

    fn end(self) -> Result<(), Error> {
        let written = match self.file {
            ProfileFile::Stream(file) => self.profile.write(BufWriter::new(file)),
            ProfileFile::Complete(file) => {
                let written = self.profile.write(BufWriter::new(file.as_file()));
                written.and_then(|()| Ok(file.persist(&self.path).map(drop)?))
            }
        };
        written.map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::Failed(format!("cannot write the profile {}: {error}", path.display()))
}

async fn run_async(args: RunArgs, work: &Handle) -> Result<u8, Error> {
    let profiling = args.profile.as_deref().map(Profiling::begin).transpose()?;
    let profile = profiling.as_ref().map(|profiling| profiling.profile.clone());
    let prepared = ready(&args.pipeline, profile).await?;
    let metrics = prepared.metrics.clone();
    let name = prepared.config.name.clone();
    let stdout_is_used =
        prepared.config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Stdout { .. }));
    are_open(&prepared.config)?;
    let mut stops = signals()?;
    let ready = match args.metrics {
        Some(address) => Some(serve(address, metrics.clone())?),
        None => None,
    };
    // On another thread: to open a pipe may take until somebody reads it, and a signal must
    // end that too.
    let starting = work.spawn(pipeline::start(prepared));
    let running = tokio::select! {
        started = starting => match started {
            Ok(started) => started.map_err(Error::Failed)?,
            Err(panic) => return Err(Error::Failed(format!("the pipeline did not start: {panic}"))),
        },
        Some(Stop::Signal(number)) = stops.recv() => {
            let ending = Ending {
                failure: None,
                stopped_by: Some(StoppedBy::Signal(number)),
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
    let nodes = running.nodes.clone();
    let processed = metrics.processed.clone();
    let drawing = (!args.quiet).then(|| Drawing::start(nodes.clone(), processed, stdout_is_used));
    let ending = running.finish(stops).await;
    drop(drawing);
    let profiled = profiling.map_or(Ok(()), Profiling::end);
    if !args.quiet {
        let text = summary::render(&name, &nodes, metrics.processed.get(), &ending);
        stderr::say(&text);
    }
    conclude(ending).and_then(|code| profiled.map(|()| code))
}

/// Sees that stdin and stdout are there, if the pipeline reads or writes them.
fn are_open(config: &Config) -> Result<(), Error> {
    for sink in &config.sinks {
        if matches!(sink.kind, SinkKind::Stdout { .. }) && closed::stdout() {
            let name = &sink.name.value;
            return Err(Error::Failed(format!(
                "the sink `{name}` writes to stdout, and stdout is closed"
            )));
        }
    }
    for source in &config.sources {
        if matches!(source.kind, SourceKind::Stdin { .. }) && closed::stdin() {
            let name = &source.name.value;
            return Err(Error::Failed(format!(
                "the source `{name}` reads stdin, and stdin is closed (for none, give </dev/null)"
            )));
        }
    }
    Ok(())
}

fn conclude(ending: Ending) -> Result<u8, Error> {
    let lost: Vec<_> = (ending.undelivered.iter())
        .map(|(node, records)| format!("{} before or in `{node}`", summary::number(*records)))
        .collect();
    let unfinished: Vec<_> = ending.unfinished.iter().map(|node| format!("`{node}`")).collect();
    let delivered = match (&lost[..], &unfinished[..]) {
        ([], []) => "all that was read was delivered".to_owned(),
        ([], unfinished) => format!("did not come to their end: {}", unfinished.join(", ")),
        (lost, _) => format!("records not delivered: {}", lost.join(", ")),
    };
    if let Some(failure) = ending.failure {
        let text = if lost.is_empty() { failure } else { format!("{failure}\n{delivered}") };
        return Err(Error::Failed(text));
    }
    let (why, code) = match ending.stopped_by {
        None => return Ok(0),
        Some(StoppedBy::Deadline) => ("the deadline passed".to_owned(), 124),
        Some(StoppedBy::Signal(number)) => {
            let name = name_of(number);
            (format!("stopped by {name}"), 128 + number)
        }
    };
    stderr::say(&format!("{why}: {delivered}"));
    Ok(u8::try_from(code).unwrap_or(1))
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        signal if signal == SignalKind::interrupt().as_raw_value() => "SIGINT",
        signal if signal == SignalKind::hangup().as_raw_value() => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// A signal that comes again so soon is the same one: timeout(1) sends each twice.
const BURST: Duration = Duration::from_millis(200);

/// Whether a signal is ignored since before this program: nohup(1) has said so.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

/// SIGINT, SIGTERM and SIGHUP, from now on.
pub(super) fn signals() -> Result<mpsc::Receiver<Stop>, Error> {
    let cannot = |error| Error::Failed(format!("cannot wait for signals: {error}"));
    let (send, receive) = mpsc::channel(4);
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !is_ignored(SignalKind::hangup()) {
        kinds.push(SignalKind::hangup());
    }
    for kind in kinds {
        let mut signals = signal(kind).map_err(cannot)?;
        let send = send.clone();
        tokio::spawn(async move {
            let mut last: Option<Instant> = None;
            while signals.recv().await.is_some() {
                if last.replace(Instant::now()).is_some_and(|last| last.elapsed() < BURST) {
                    continue;
                }
                if send.send(Stop::Signal(kind.as_raw_value())).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}

fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<telemetry::Ready, Error> {
    let listener = TcpListener::bind(address)
        .map_err(|error| Error::Failed(format!("cannot serve metrics at {address}: {error}")))?;
    let bound = listener.local_addr().map_err(|error| Error::Failed(error.to_string()))?;
    tracing::info!("serving metrics at http://{bound}/metrics");
    Ok(telemetry::serve(listener, metrics))
}

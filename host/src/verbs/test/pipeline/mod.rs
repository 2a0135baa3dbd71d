//! Runs the test cases of a pipeline: its stages as they are, with their clocks fixed, and with the
//! records of a case instead of its inputs and outputs.

mod build;
mod compare;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::report::{Report, plural};
use crate::error::{Error, print};
use crate::load::{self, Loaded};
use crate::remote;
use crate::runtime::Threads;
use crate::signals::signals;
use build::{Built, inputs, letters};
use compare::complaint;
use pipehost_config::case::PipelineCase;
use pipehost_config::mistake::{self, Mistake};
use pipehost_files::folder;
use pipehost_observe::log::stderr;
use pipehost_pipeline::prepare::{Environment, Options, ToReplay, prepare};
use pipehost_pipeline::{Request, StopCause};

/// A case, and its file.
struct Named {
    path: PathBuf,
    text: String,
    case: PipelineCase,
}

/// How long a case may take: one that waits for ever has failed.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs the cases that stand beside a pipeline.
pub(super) fn test(pipeline: &Path) -> Result<u8, Error> {
    let mut loaded = load::file(pipeline)?;
    let paths = cases(pipeline)?;
    let threads = Threads::new()?;
    let mut report = Report::new(paths.iter().map(|path| path.display().to_string()));
    let ran = threads.control.block_on(async {
        // Before the first folder is made: it is removed also when a signal comes.
        let (_send, mut stops) = signals()?;
        let mut known = std::mem::take(&mut loaded.mistakes);
        remote::fetch(&mut loaded.config, Some(pipeline), &mut known).await;
        loaded.mistakes = known;
        check(&loaded).await?;
        for path in &paths {
            let name = path.display().to_string();
            let outcome = match read(path)? {
                Ok(named) => run(&loaded, &named, threads.work.handle(), &mut stops).await?,
                Err(mistakes) => Outcome::Failed(mistakes),
            };
            match outcome {
                Outcome::Passed(records) => {
                    report.passed(&name, &format!("{records} record{}", plural(records)));
                }
                Outcome::Failed(complaint) => report.failed(&name, &complaint),
                Outcome::Stopped(code) => return Ok(Some(code)),
            }
        }
        Ok(None)
    });
    threads.end();
    if let Some(code) = ran? {
        return Ok(code);
    }
    let (text, code) = report.end();
    print(text.as_bytes())?;
    Ok(code)
}

/// The files of the cases of a pipeline `x.toml`: `x.test.toml`, and all `x.….test.toml`, by name;
/// not those of another pipeline `x.….toml`.
fn cases(pipeline: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = folder::of(pipeline);
    let stem = pipeline.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let cannot = |error| Error::Usage(anyhow!("cannot read {}: {error}", folder.display()));
    let is_case = |name: &str| {
        let Some(case) = name.strip_suffix(".test.toml") else { return false };
        let rest = case.strip_prefix(&stem);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && (case == stem || !folder.join(format!("{case}.toml")).exists())
    };
    let mut paths: Vec<PathBuf> = (fs::read_dir(folder).map_err(cannot)?.flatten())
        .filter(|entry| entry.file_name().to_str().is_some_and(is_case))
        .map(|entry| pipeline.with_file_name(entry.file_name()))
        .collect();
    paths.sort();
    if paths.is_empty() {
        let pipeline = pipeline.display();
        return Err(Error::Usage(anyhow!(
            "{pipeline} has no test cases: they are {stem}.test.toml and {stem}.NAME.test.toml in its \
             folder"
        )));
    }
    Ok(paths)
}

/// Reads a case; the inner error is its mistakes.
fn read(path: &Path) -> Result<Result<Named, String>, Error> {
    let text = fs::read_to_string(path)
        .map_err(|error| Error::Usage(anyhow!("cannot read {}: {error}", path.display())))?;
    let (case, mistakes) = pipehost_config::read_pipeline_case(&text);
    let named = Named { path: path.to_owned(), text, case };
    Ok(if mistakes.is_empty() { Ok(named) } else { Err(rendered(&named, &mistakes)) })
}

/// Checks the pipeline as it is: what a case changes in it is of no help then.
async fn check(loaded: &Loaded) -> Result<(), Error> {
    let options = Options { environment: Environment::Elsewhere, ..load::options() };
    let known = loaded.mistakes.clone();
    let prepared = prepare(loaded.config.clone(), known, options, &mut stderr::say).await;
    prepared.map(drop).map_err(|mistakes| loaded.render(&mistakes))
}

/// What became of a case.
enum Outcome {
    /// With so many records.
    Passed(usize),
    Failed(String),
    /// By a signal: the exit code.
    Stopped(u8),
}

/// Runs a case.
async fn run(
    loaded: &Loaded,
    named: &Named,
    work: &Handle,
    stops: &mut mpsc::Receiver<Request>,
) -> Result<Outcome, Error> {
    let folder = TempDir::new()
        .map_err(|error| Error::Failed(anyhow!("cannot make a folder for a case: {error}")))?;
    let built = Built::build(&loaded.config, named, folder.path())
        .and_then(|(config, watched)| Ok((inputs(config, named, folder.path())?, watched)));
    let (config, watched) = match built {
        Ok(built) => built,
        Err(Wrong::Case(mistakes)) => return Ok(Outcome::Failed(rendered(named, &mistakes))),
        Err(Wrong::Machine(why)) => return Err(Error::Failed(why)),
    };
    let options = Options { environment: Environment::Elsewhere, ..load::options() };
    let mut say = stderr::say;
    let prepared = tokio::select! {
        prepared = prepare(config.clone(), Vec::new(), options, &mut say) => prepared,
        Some(Request::Stop(number)) = stops.recv() => return Ok(stopped(number)),
    };
    let mut prepared = match prepared {
        Ok(prepared) => prepared,
        Err(mistakes) => {
            let told = mistakes.iter().map(|mistake| mistake.message.clone());
            return Ok(Outcome::Failed(told.collect::<Vec<_>>().join("\n")));
        }
    };
    let (letters, records) = match letters(&prepared, named) {
        Ok(letters) => letters,
        Err(mistakes) => return Ok(Outcome::Failed(rendered(named, &mistakes))),
    };
    if !letters.is_empty() {
        prepared.replay = Some(ToReplay::Beside(letters));
    }
    let (send, requests) = mpsc::channel(4);
    // On the threads of a run, as in one.
    let starting = work.spawn(pipehost_pipeline::start(prepared)).await;
    let ending = match starting {
        Ok(Ok(running)) => {
            let mut ending = std::pin::pin!(running.finish(requests));
            loop {
                tokio::select! {
                    ending = &mut ending => break ending,
                    Some(request) = stops.recv() => drop(send.try_send(request)),
                }
            }
        }
        Ok(Err(why)) => return Ok(Outcome::Failed(format!("the pipeline failed: {why:#}"))),
        Err(panic) => return Err(Error::Failed(anyhow!("the pipeline did not start: {panic}"))),
    };
    match (ending.failure, ending.stopped_by) {
        (Some(why), _) => Ok(Outcome::Failed(format!("the pipeline failed: {why:#}"))),
        (None, Some(StopCause::Signal(number))) => Ok(stopped(number)),
        (None, Some(StopCause::Deadline)) => {
            Ok(Outcome::Failed(format!("the pipeline has not ended after {LONGEST:?}")))
        }
        (None, None) => {
            let complaint = complaint(&config, &named.case, &watched, folder.path());
            let complaint = complaint.map_err(Error::Failed)?;
            Ok(match complaint.is_empty() {
                true => Outcome::Passed(records),
                false => Outcome::Failed(complaint),
            })
        }
    }
}

/// By the signal of this number.
fn stopped(signal: i32) -> Outcome {
    Outcome::Stopped(u8::try_from(128 + signal).unwrap_or(1))
}

/// Why a case cannot be run.
enum Wrong {
    /// Mistakes in it.
    Case(Vec<Mistake>),
    Machine(anyhow::Error),
}

fn rendered(named: &Named, mistakes: &[Mistake]) -> String {
    let rendered = mistake::render(mistakes, &named.path, &named.text, false);
    rendered.trim_end().to_owned()
}

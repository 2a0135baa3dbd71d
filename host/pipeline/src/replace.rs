//! Goes on with another pipeline while the process runs: suspends what runs at a checkpoint, opens
//! the other one from there, or what ran before if the other one refuses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::builder::go_on;
use crate::course::Course;
use crate::letters::Replay;
use crate::prepare::{Prepared, ToReplay};
use crate::run::{Driven, Request, RunReport, Running, StopCause, Stopped};
use crate::suspension::{GoesOn, Suspended};
use pipehost_config::{FileSource, OnError, SinkKind, SourceKind, Stage, WhenFull};
use pipehost_record::Letter;
use pipehost_sandbox::Runner;

/// Asks a run to go on with another pipeline.
pub struct Replacement {
    /// With the metrics of the run.
    pub with: Prepared,
    /// Gets the answer: an error if the pipeline goes on as it was. There is none if it ended first.
    pub answer: oneshot::Sender<Result<Replaced>>,
}

impl Replacement {
    pub(crate) fn refuse(self, why: anyhow::Error) {
        let _ = self.answer.send(Err(why)); // Nobody may wait for it.
    }

    /// Refuses, as another pipeline is about to run.
    pub(crate) fn refuse_another(self) {
        self.refuse(anyhow!("the pipeline is just being replaced by another one"));
    }
}

/// What the run is being suspended for.
pub(crate) struct Replacing {
    pub(crate) purpose: Purpose,
    pub(crate) since: Instant,
}

/// Why a run is suspended.
pub(crate) enum Purpose {
    Replace(Box<Replacement>),
    /// To go on with dead letters beside what the sources send.
    Replay(Replay),
    /// These have gone through: to tell so.
    EndReplay(oneshot::Sender<Result<()>>),
}

/// A pipeline was replaced.
#[derive(Debug, Clone, Copy)]
pub struct Replaced {
    /// From the request until all open batches were written.
    pub drained: Duration,
    /// From then until the sources of the new pipeline were read.
    pub switched: Duration,
}

impl Running {
    /// Runs the pipeline until it ends, and those that replace it.
    pub async fn finish(self, requests: mpsc::Receiver<Request>) -> RunReport {
        let mut course = Course::new(requests, Instant::now());
        let mut running = self;
        loop {
            let stopped = match running.drive(&mut course).await {
                Driven::Ended(report) => return report,
                Driven::Suspended(stopped) => stopped,
            };
            running = match switch(stopped, &mut course).await {
                Ok(running) => running,
                Err(report) => return *report,
            };
        }
    }
}

/// Opens the pipeline that replaces another one, or that one again.
///
/// # Errors
/// If neither opens, or a request to end does not wait for it: how the run has ended.
async fn switch(stopped: Box<Stopped>, course: &mut Course) -> Result<Running, Box<RunReport>> {
    let Stopped { before, prepared, work, replacing } = *stopped;
    let Replacing { purpose, since } = replacing;
    let Replacement { with, answer } = match purpose {
        Purpose::Replace(asked) => *asked,
        Purpose::Replay(Replay { letters, answer, .. }) => {
            let with = for_replay(&prepared, letters);
            let mut running = match course.open(&work, with, &before.for_itself()).await? {
                Ok(running) => running,
                Err(why) => {
                    let why = why.context("cannot replay dead letters now, no letter was sent");
                    let _ = answer.send(Err(why)); // Nobody may wait for it.
                    return course.again(&work, prepared, &before, None).await;
                }
            };
            running.replaying = Some(answer);
            running.prepared = prepared; // What was changed for the letters is so for them alone.
            return Ok(running);
        }
        Purpose::EndReplay(answer) => {
            let replayed = before.replayed();
            let running = course.again(&work, prepared, &before, None).await?;
            let _ = answer.send(replayed); // Nobody may wait for it.
            return Ok(running);
        }
    };
    let (drained, begun) = (since.elapsed(), Instant::now());
    let new_stages: Vec<_> = with.config.stages.iter().map(|stage| stage.name.clone()).collect();
    let metrics = with.metrics.clone();
    let opened = match before.take_refusal() {
        Some(why) => Err(why),
        None => course.open(&work, with, &before).await?,
    };
    if opened.is_err() {
        new_stages.iter().for_each(|name| metrics.node(&name.value).lanes.set(0));
    }
    let (running, answered) = match opened {
        Ok(running) => (running, Ok(Replaced { drained, switched: begun.elapsed() })),
        Err(why) => (course.again(&work, prepared, &before, Some(&why)).await?, Err(why)),
    };
    let _ = answer.send(answered); // Nobody may wait for it.
    Ok(running)
}

impl Course {
    /// Opens the pipeline that was suspended; `why` another one did not open.
    async fn again(
        &mut self,
        work: &Handle,
        prepared: Prepared,
        before: &Suspended,
        why: Option<&anyhow::Error>,
    ) -> Result<Running, Box<RunReport>> {
        let also = match self.open(work, prepared, &before.for_itself()).await? {
            Ok(running) => return Ok(running),
            Err(also) => also,
        };
        let failure = match why {
            Some(why) => anyhow!(
                "cannot go on with the changed pipeline: {why:#}\nnor with the one before: {also:#}"
            ),
            None => also.context("cannot go on after a pause"),
        };
        let (failure, unfinished) = (Some(failure), before.sinks());
        Err(Box::new(RunReport { failure, unfinished, ..self.report() }))
    }

    /// Opens a pipeline where another one was suspended.
    async fn open(
        &mut self,
        work: &Handle,
        prepared: Prepared,
        before: &Suspended,
    ) -> Result<Result<Running>, Box<RunReport>> {
        let grace = prepared.config.shutdown_grace;
        // On another thread: opening a pipe may block until somebody reads it.
        let mut opening = work.spawn(go_on(prepared, before.clone()));
        loop {
            tokio::select! {
                opened = &mut opening => {
                    let opened = opened.unwrap_or_else(|panic| Err(anyhow!("it panicked: {panic}")));
                    return Ok(opened.inspect(Running::show));
                }
                Some(request) = self.requests.recv() => match request {
                    Request::Stop(signal) => {
                        if self.stop(StopCause::Signal(signal), grace) {
                            break;
                        }
                    }
                    Request::Replace(asked) => self.wait(asked),
                    Request::Replay(Replay { answer, .. }) => {
                        let _ = answer.send(Err(anyhow!("the pipeline is just paused: try again")));
                    }
                    Request::RotateLetters(answer) => {
                        let _ = answer.send(Err(anyhow!("the pipeline is just paused: try again")));
                    }
                },
                () = sleep_until(self.patience) => break,
            }
        }
        opening.abort();
        Err(Box::new(RunReport { unfinished: before.sinks(), ..self.report() }))
    }
}

/// The same pipeline, which takes letters beside what its sources send. What its nodes reject
/// meanwhile becomes a dead letter, and no queue drops anything: a letter must neither end the run nor
/// be lost.
fn for_replay(prepared: &Prepared, letters: Vec<Letter>) -> Prepared {
    let mut with = Prepared { replay: Some(ToReplay::Beside(letters)), ..prepared.clone() };
    let config = &mut with.config;
    let sources = config.sources.iter_mut().map(|source| &mut source.on_error);
    let stages = config.stages.iter_mut().map(|stage| &mut stage.on_error);
    let sinks = config.sinks.iter_mut().map(|sink| &mut sink.on_error);
    for on_error in sources.chain(stages).chain(sinks) {
        on_error.value = OnError::DeadLetter;
    }
    for edge in &mut with.graph.edges {
        edge.when_full = WhenFull::Block;
    }
    with
}

/// What goes on as it is when a pipeline is suspended and goes on itself.
pub(crate) fn same(prepared: &Prepared) -> GoesOn {
    GoesOn {
        sources: prepared.config.sources.iter().map(|source| source.name.value.clone()).collect(),
        stages: prepared.config.stages.iter().map(|stage| stage.name.value.clone()).collect(),
    }
}

/// What goes on as it is when one pipeline replaces another.
///
/// # Errors
/// If it cannot replace it: what would be lost.
pub(crate) fn goes_on(old: &Prepared, new: &Prepared) -> Result<GoesOn> {
    let mut reasons = Vec::new();
    let (was, is) = (&old.config, &new.config);
    if was.name != is.name {
        reasons.push(format!(
            "its name is `{}` and was `{}`: it is another pipeline",
            is.name, was.name
        ));
    }
    if was.state != is.state {
        reasons.push("its `state` is another one, which can be opened only at the start".into());
    }
    for source in &was.sources {
        let name = &source.name.value;
        if reads_once(&source.kind) && !is.has_source(name, &source.kind) {
            reasons.push(format!(
                "the source `{name}` is changed or gone, and what it has read ahead cannot be read \
                 again"
            ));
        }
    }
    for sink in &is.sinks {
        let name = &sink.name.value;
        if let SinkKind::File(file) = &sink.kind
            && !was.has_sink(name, &sink.kind)
            && is_pipe(&file.path.value)
        {
            let path = file.path.value.display();
            reasons.push(format!(
                "the sink `{name}` writes the pipe {path}: to open it waits until somebody reads it, \
                 and everything would stand still"
            ));
        }
    }
    if !reasons.is_empty() {
        bail!(
            "cannot go on with this while it runs:\n  {}\nTo run it, stop this run and start anew",
            reasons.join("\n  ")
        );
    }
    let sources =
        was.sources.iter().filter(|source| is.has_source(&source.name.value, &source.kind));
    let stages = was.stages.iter().zip(&old.runners).filter(|(stage, runner)| {
        let mut others = is.stages.iter().zip(&new.runners);
        others.any(|(other, by)| is_same_stage((stage, runner), (other, by)))
    });
    Ok(GoesOn {
        sources: sources.map(|source| source.name.value.clone()).collect(),
        stages: stages.map(|(stage, _)| stage.name.value.clone()).collect(),
    })
}

/// Whether a path leads to a pipe or a device.
fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|at| !at.is_file() && !at.is_dir())
}

/// Whether what a source reads is gone once it is read.
fn reads_once(kind: &SourceKind) -> bool {
    match kind {
        SourceKind::Stdin { .. } => true,
        SourceKind::File(FileSource { paths, .. }) => paths.iter().any(|path| is_pipe(&path.value)),
        SourceKind::Generate(_) | SourceKind::Http(_) | SourceKind::Sqlite(_) => false,
    }
}

/// Whether two stages are the same, except for the nodes that they read.
fn is_same_stage((stage, runner): (&Stage, &Runner), (other, by): (&Stage, &Runner)) -> bool {
    stage.name == other.name
        && runner.hash() == by.hash()
        && stage.config.value == other.config.value
        && (stage.workers, &stage.partition) == (other.workers, &other.partition)
        && (&stage.limits, &stage.grants) == (&other.limits, &other.grants)
        && (&stage.retry, &stage.breaker) == (&other.retry, &other.breaker)
        && stage.on_error == other.on_error
}

//! Runs the steps of a case, with the records divided in one way.

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use pipehost_config::At;
use pipehost_config::case::{Case, CaseGrants, Step, numbered};
use pipehost_config::grants::{Clock, Folder, Grants, Random};
use pipehost_config::limits::Fuel;
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_record::{BatchBuilder, Record};
use pipehost_sandbox::compile::{self, Source};
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::contract::plan::{Keeps, Plan};
use pipehost_sandbox::contract::state::{KeyGroups, Saved};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::{Component, Program, Runner, Worker, WorkerOptions, describe};

use super::division::Division;

/// What came of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Came {
    /// The ports of the stage, in its order.
    pub ports: Vec<Port>,
    pub rejected: Vec<Rejection>,
    /// Why the stage refused its configuration or its state.
    pub refused: Option<String>,
    /// Why a call failed that is about no record: `finish`, `advance`, `save`.
    pub failed: Option<String>,
}

/// What came out of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub records: Vec<Record>,
    /// For each, whether it descends from no input record.
    pub is_new: Vec<bool>,
}

impl Came {
    /// Where each port of a plan is among those of the case. One that a new configuration brings is
    /// added.
    fn places(&mut self, plan: &Plan) -> Vec<usize> {
        let place = |name: &String| {
            self.ports.iter().position(|port| port.name == *name).unwrap_or_else(|| {
                self.ports.push(Port { name: name.clone(), ..Port::default() });
                self.ports.len() - 1
            })
        };
        plan.ports.iter().map(place).collect()
    }
}

/// A record that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its number, from 1.
    pub input: usize,
    pub reason: String,
    pub retryable: bool,
}

/// Key groups of a stage that keeps by key.
const KEY_GROUPS: u32 = 16;

/// The stage that a case is about, with what the case grants it.
pub(super) struct Subject {
    component: Arc<Component>,
    metrics: Arc<NodeMetrics>,
    /// Holds the files of the case.
    _files: Option<TempDir>,
}

impl Subject {
    pub(super) fn load(engine: &Arc<Engine>, source: &Source, case: &Case) -> Result<Self> {
        let (grants, files) = granted(&case.grants, case.clock)?;
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut limits = case.limits.clone();
        // The engine counts fuel for all cases.
        const ENDLESS: Fuel = Fuel { base: u64::MAX / 2, per_record: 0, per_byte: 0 };
        limits.fuel.get_or_insert(ENDLESS);
        let component = Component::load(engine.clone(), name.into(), source, limits, grants)
            .map_err(|reasons| anyhow!("{}: {}", source.path.display(), reasons.join("; ")))?;
        let metrics = Metrics::default().node("test");
        Ok(Self { component: component.into(), metrics, _files: files })
    }

    pub(super) fn has_checkpoint(&self) -> bool {
        self.component.has_checkpoint()
    }

    /// Runs a case.
    ///
    /// # Errors
    /// If the case asks for what the stage does not have, such as an input that it does not name,
    /// or its `describe` fails.
    pub(super) async fn run(&self, case: &Case, division: Division) -> Result<Came> {
        let mut came = Came::default();
        let runner = match self.open(&case.config).await? {
            Ok(runner) => runner,
            Err(refused) => return Ok(Came { refused: Some(refused), ..came }),
        };
        let (ports, waiting) = (came.places(runner.plan()), Waiting::default());
        let mut run = Run { subject: self, division, came, ports, waiting, seen: 0 };
        if let Err(ended) = run.steps(case, runner).await {
            match ended {
                Ended::Refused(why) => run.came.refused = Some(why),
                Ended::Failed(why) => run.came.failed = Some(why),
                Ended::Wrong(error) => return Err(error),
            }
        }
        Ok(run.came)
    }

    /// Opens the stage; the inner error is that it refuses its configuration.
    async fn open(&self, config: &serde_json::Value) -> Result<Result<Runner, String>> {
        let description = (describe(&self.component, &self.metrics).await)
            .map_err(|failure| anyhow!("its `describe` failed: {failure}"))?;
        let limits = compile::Limits::of_schema(&self.component.limits);
        let complaints = compile::check(&description.config_schema, config, &limits, None)?;
        if !complaints.is_empty() {
            let told: Vec<_> = complaints.into_iter().map(|complaint| complaint.message).collect();
            return Ok(Err(told.join("; ")));
        }
        let (component, version) = (self.component.clone(), description.version);
        let opened = Program::open(component, version, config.to_string(), &self.metrics).await;
        Ok(match opened {
            Ok(program) => Ok(Runner::Sandboxed(program.into())),
            Err(failure) => Err(failure.message),
        })
    }

    /// An instance that begins with this state.
    async fn start(&self, runner: Runner, saved: Option<Saved>) -> Result<Worker, Ended> {
        let groups = groups(runner.plan());
        let options = WorkerOptions { groups, saved, ..WorkerOptions::default() };
        let started = Worker::start(runner, 0, self.metrics.clone(), options).await;
        started.map_err(|failure| Ended::Refused(failure.message))
    }
}

fn groups(plan: &Plan) -> KeyGroups {
    match plan.keeps {
        Keeps::ByKey(_) => KeyGroups { held: 0..KEY_GROUPS, count: KEY_GROUPS },
        Keeps::Anything | Keeps::Nothing => KeyGroups::ONE,
    }
}

/// The grants of a case, and the folder that holds its files.
fn granted(case: &CaseGrants, clock: i64) -> Result<(Grants, Option<TempDir>)> {
    let mut grants = Grants {
        env: case.env.clone(),
        http_answers: Some(case.http.clone()),
        clock: Clock::Fixed(clock),
        random: Random::Fixed,
        ..Grants::default()
    };
    if case.files.is_empty() {
        return Ok((grants, None));
    }
    let folder = TempDir::new().context("cannot make a folder for the files of the case")?;
    for (path, content) in &case.files {
        let host = folder.path().join(path.trim_start_matches('/'));
        let made = host.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&host, content))
            .with_context(|| format!("cannot write the file {path} of the case"))?;
    }
    let host = At::nowhere(folder.path().to_owned());
    grants.folders.push(Folder { guest: "/".to_owned(), host, writable: false });
    Ok((grants, Some(folder)))
}

/// Why a run ended before its last step.
enum Ended {
    Refused(String),
    Failed(String),
    /// The case is wrong.
    Wrong(anyhow::Error),
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

/// Records that wait for a batch.
#[derive(Default)]
struct Waiting {
    builder: BatchBuilder,
    from: u32,
}

struct Run<'s> {
    subject: &'s Subject,
    division: Division,
    came: Came,
    /// For each port of the stage as it is now, its place among those of `came`.
    ports: Vec<usize>,
    waiting: Waiting,
    /// Records before those that wait.
    seen: usize,
}

impl Run<'_> {
    async fn steps(&mut self, case: &Case, runner: Runner) -> Result<(), Ended> {
        let mut config = case.config.clone();
        let mut worker = self.subject.start(runner, None).await?;
        let place: Arc<str> = "case".into();
        for step in &case.steps {
            match step {
                Step::Records(repeated) => {
                    let from = input(worker.plan(), repeated.from.as_deref())?;
                    if from != self.waiting.from {
                        self.flush(&mut worker, &config).await?;
                        self.waiting.from = from;
                    }
                    for n in 1..=repeated.times {
                        let record = numbered(&repeated.record, repeated.times, n);
                        let number = (self.seen + self.waiting.builder.len() + 1) as u64;
                        self.waiting.builder.push_record(&place, number, &record);
                        if self.waiting.builder.len() >= self.division.size {
                            self.flush(&mut worker, &config).await?;
                        }
                    }
                }
                Step::Watermark(watermark) => {
                    self.flush(&mut worker, &config).await?;
                    let answer = worker.advance(*watermark).await;
                    let answer = answer.map_err(|f| Ended::Failed(format!("advance: {f}")))?;
                    self.take(answer);
                }
                Step::Restart(with) => {
                    self.flush(&mut worker, &config).await?;
                    config = with.clone().unwrap_or(config);
                    self.restart(&mut worker, &config).await?;
                }
            }
        }
        self.flush(&mut worker, &config).await?;
        if case.finishes {
            let answer = worker.finish().await;
            self.take(answer.map_err(|f| Ended::Failed(format!("finish: {f}")))?);
        }
        Ok(())
    }

    /// Gives the stage what waits.
    async fn flush(
        &mut self,
        worker: &mut Worker,
        config: &serde_json::Value,
    ) -> Result<(), Ended> {
        if self.waiting.builder.is_empty() {
            return Ok(());
        }
        let mut batch = self.waiting.builder.take();
        batch.input = self.waiting.from;
        let answer = worker.process(&batch).await;
        let answer = answer.map_err(|error| Ended::Failed(format!("{error:#}")))?;
        self.take(answer);
        self.seen += batch.len;
        if self.division.restarts {
            self.restart(worker, config).await?;
        }
        Ok(())
    }

    /// Replaces the instance by one with this configuration, which goes on with its state.
    async fn restart(
        &mut self,
        worker: &mut Worker,
        config: &serde_json::Value,
    ) -> Result<(), Ended> {
        let saved = worker.saved().await;
        let saved = saved.map_err(|failure| Ended::Failed(format!("save: {failure}")))?;
        let runner = self.subject.open(config).await?.map_err(Ended::Refused)?;
        self.ports = self.came.places(runner.plan());
        *worker = self.subject.start(runner, saved).await?;
        Ok(())
    }

    fn take(&mut self, answer: Answer) {
        for emitted in answer.emitted {
            let port = &mut self.came.ports[self.ports[emitted.port]];
            for row in 0..emitted.batch.len {
                let mut record = emitted.batch.record(row);
                record.attributes.sort();
                port.records.push(record);
                port.is_new.push(emitted.parents.is_none());
            }
        }
        self.came.rejected.extend(answer.rejected.into_iter().map(|rejected| Rejection {
            input: self.seen + rejected.row + 1,
            reason: rejected.reason.to_string(),
            retryable: rejected.retryable,
        }));
    }
}

/// The index of an input that a record of a case comes by.
fn input(plan: &Plan, name: Option<&str>) -> Result<u32> {
    let inputs = || plan.inputs.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match name {
        None if plan.inputs.is_empty() => Ok(0),
        None => bail!(
            "the stage tells its inputs apart: say for each record `from` which of {} it comes",
            inputs()
        ),
        Some(name) => match plan.inputs.iter().position(|input| input == name) {
            Some(index) => Ok(index as u32),
            None if plan.inputs.is_empty() => {
                bail!("the stage names no inputs, so a record has no `from`")
            }
            None => bail!("the stage has no input `{name}`; it has {}", inputs()),
        },
    }
}

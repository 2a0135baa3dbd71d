//! Runs the steps of a case, with the records divided in one way.

use anyhow::{Context as _, Result, anyhow, bail};
use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use pipehost_config::case::{Case, CaseGrants, Step, numbered};
use pipehost_config::grants::{Clock, Folder, Grants, Random};
use pipehost_config::limits::Fuel;
use pipehost_config::{At, Partition};
use pipehost_observe::metrics::{Metrics, NodeMetrics};
use pipehost_record::{BatchBuilder, Record};
use pipehost_sandbox::compile::{self, Source};
use pipehost_sandbox::contract::outcome::Answer;
use pipehost_sandbox::contract::plan::{Keeps, Plan};
use pipehost_sandbox::contract::state::{KeyGroups, Saved, group_of};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::{Component, Program, Runner, Worker, WorkerOptions, describe};

use super::division::Division;
use super::tcp::Servers;

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
    servers: Servers,
}

impl Subject {
    pub(super) async fn load(engine: &Arc<Engine>, source: &Source, case: &Case) -> Result<Self> {
        let (mut grants, files) = granted(&case.grants, case.clock)?;
        let servers = Servers::start(&case.grants.tcp).await?;
        grants.stand_ins.clone_from(&servers.places);
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut limits = case.limits.clone();
        // The engine counts fuel for all cases.
        const ENDLESS: Fuel = Fuel { base: u64::MAX / 2, per_record: 0, per_byte: 0 };
        limits.fuel.get_or_insert(ENDLESS);
        let component = Component::load(engine.clone(), name.into(), source, limits, grants)
            .map_err(|reasons| anyhow!("{}: {}", source.path.display(), reasons.join("; ")))?;
        let metrics = Metrics::default().node("test");
        Ok(Self { component: component.into(), metrics, _files: files, servers })
    }

    pub(super) fn has_checkpoint(&self) -> bool {
        self.component.has_checkpoint()
    }

    /// Whether it keeps by key, with the configuration of the case.
    pub(super) async fn keeps_by_key(&self, case: &Case) -> bool {
        let opened = self.open(&case.config).await;
        matches!(opened, Ok(Ok(runner)) if matches!(runner.plan().keeps, Keeps::ByKey(_)))
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
        let ports = came.places(runner.plan());
        let waiting = Waiting::default();
        let mut run =
            Run { subject: self, division, came, ports, waiting, seen: 0, starts: 0, restarted: 0 };
        if let Err(ended) = run.steps(case, runner).await {
            match ended {
                Ended::Refused(why) => run.came.refused = Some(why),
                Ended::Failed(why) => run.came.failed = Some(why),
                Ended::Wrong(error) => return Err(error),
            }
        }
        match self.servers.unexpected() {
            Some(sent) => Err(anyhow!(sent)),
            None => Ok(run.came),
        }
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

    /// Instances that begin with this state, and share it.
    async fn start(
        &self,
        runner: Runner,
        saved: Option<Saved>,
        shares: usize,
    ) -> Result<Vec<Worker>, Ended> {
        let mut workers = Vec::new();
        for groups in groups(runner.plan(), shares) {
            let saved = if groups.held.len() < groups.count as usize {
                saved.as_ref().map(|saved| saved.of(&groups))
            } else {
                saved.clone()
            };
            let options = WorkerOptions { groups, saved, ..WorkerOptions::default() };
            let started = Worker::start(runner.clone(), 0, self.metrics.clone(), options).await;
            workers.push(started.map_err(|failure| Ended::Refused(failure.message))?);
        }
        Ok(workers)
    }
}

/// The key groups of each of so many instances.
fn groups(plan: &Plan, shares: usize) -> Vec<KeyGroups> {
    match plan.keeps {
        Keeps::ByKey(_) => {
            (0..shares).map(|number| KeyGroups::share(number, shares, KEY_GROUPS)).collect()
        }
        Keeps::Anything | Keeps::Nothing => vec![KeyGroups::ONE],
    }
}

/// Which of these instances gets a record.
fn holder(workers: &[Worker], record: &Record) -> usize {
    let Keeps::ByKey(by) = &workers[0].plan().keeps else { return 0 };
    let value = match by {
        Partition::Key => record.key.as_deref(),
        Partition::Value => record.value.as_deref(),
        Partition::Attribute(name) => {
            let of_name = |(other, _): &&(String, Vec<u8>)| other == name;
            record.attributes.iter().find(of_name).map(|(_, value)| &**value)
        }
    };
    let group = group_of(value.unwrap_or_default(), KEY_GROUPS);
    let holds = |worker: &Worker| worker.groups().held.contains(&group);
    workers.iter().position(holds).expect("each group is held by one instance")
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
    /// The input by which they come.
    from: u32,
    /// The instance that gets them.
    to: usize,
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
    /// How often instances were started.
    starts: usize,
    /// Records before the last restart that the division asked for.
    restarted: usize,
}

impl Run<'_> {
    async fn steps(&mut self, case: &Case, runner: Runner) -> Result<(), Ended> {
        let mut config = case.config.clone();
        let mut workers = self.start(runner, None).await?;
        let place: Arc<str> = "case".into();
        for step in &case.steps {
            match step {
                Step::Records(repeated) => {
                    let from = input(workers[0].plan(), repeated.from.as_deref())?;
                    for n in 1..=repeated.times {
                        let record = numbered(&repeated.record, repeated.times, n);
                        let to = holder(&workers, &record);
                        if from != self.waiting.from || to != self.waiting.to {
                            self.flush(&mut workers, &config).await?;
                            // A restart may have moved the key.
                            let to = holder(&workers, &record);
                            (self.waiting.from, self.waiting.to) = (from, to);
                        }
                        let number = (self.seen + self.waiting.builder.len() + 1) as u64;
                        self.waiting.builder.push_record(&place, number, &record);
                        if self.waiting.builder.len() >= self.division.size {
                            self.flush(&mut workers, &config).await?;
                        }
                    }
                }
                Step::Watermark(watermark) => {
                    self.flush(&mut workers, &config).await?;
                    for worker in &mut workers {
                        let answer = worker.advance(*watermark).await;
                        let answer = answer.map_err(|f| Ended::Failed(format!("advance: {f}")))?;
                        self.take(answer);
                    }
                }
                Step::Restart(with) => {
                    self.flush(&mut workers, &config).await?;
                    config = with.clone().unwrap_or(config);
                    self.restart(&mut workers, &config).await?;
                }
            }
        }
        self.flush(&mut workers, &config).await?;
        if case.finishes {
            for worker in &mut workers {
                let answer = worker.finish().await;
                self.take(answer.map_err(|f| Ended::Failed(format!("finish: {f}")))?);
            }
        }
        Ok(())
    }

    /// Starts instances. Where several share the keys, each time another number of them does, so
    /// that keys move from one to another.
    async fn start(&mut self, runner: Runner, saved: Option<Saved>) -> Result<Vec<Worker>, Ended> {
        let shares = match (self.division.shares, self.starts % 2) {
            (false, _) => 1,
            (true, 0) => 4,
            (true, _) => 3,
        };
        self.starts += 1;
        self.subject.start(runner, saved, shares).await
    }

    /// Gives the stage what waits.
    async fn flush(
        &mut self,
        workers: &mut Vec<Worker>,
        config: &serde_json::Value,
    ) -> Result<(), Ended> {
        if self.waiting.builder.is_empty() {
            return Ok(());
        }
        let mut batch = self.waiting.builder.take();
        batch.input = self.waiting.from;
        let answer = workers[self.waiting.to].process(&batch).await;
        let answer = answer.map_err(|error| Ended::Failed(format!("{error:#}")))?;
        self.take(answer);
        self.seen += batch.len;
        if self.division.restarts && self.seen - self.restarted >= self.division.size {
            self.restarted = self.seen;
            self.restart(workers, config).await?;
        }
        Ok(())
    }

    /// Replaces the instances by ones with this configuration, which go on with their state.
    async fn restart(
        &mut self,
        workers: &mut Vec<Worker>,
        config: &serde_json::Value,
    ) -> Result<(), Ended> {
        let mut saved: Option<Saved> = None;
        for worker in &mut *workers {
            let of_worker = worker.saved().await;
            let of_worker =
                of_worker.map_err(|failure| Ended::Failed(format!("save: {failure}")))?;
            match (&mut saved, of_worker) {
                (Some(saved), Some(more)) => saved.groups.extend(more.groups),
                (saved, Some(first)) => *saved = Some(first),
                (_, None) => {}
            }
        }
        workers.clear();
        let runner = self.subject.open(config).await?.map_err(Ended::Refused)?;
        self.ports = self.came.places(runner.plan());
        *workers = self.start(runner, saved).await?;
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

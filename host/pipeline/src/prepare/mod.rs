//! Everything before a run: components are found, compiled, described and opened, and the graph is
//! checked against their descriptions.

mod attributes;
mod environment;
mod outputs;
mod reach;

use anyhow::{Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use attributes::Says;
use pipehost_config::grants::Folder;
use pipehost_config::graph::{self, Declared, DeclaredStages, Graph};
use pipehost_config::mistake::Mistake;
use pipehost_config::{Config, Plugin, Stage};
use pipehost_observe::metrics::Metrics;
use pipehost_observe::pace::Pace;
use pipehost_observe::profile::GuestProfile;
use pipehost_record::Letter;
use pipehost_sandbox::compile::Metering;
use pipehost_sandbox::compile::{self, Cache, Complaint, Source};
use pipehost_sandbox::contract::plan::{Keeps, Plan};
use pipehost_sandbox::engine::Engine;
use pipehost_sandbox::plugin::{self, BundledStage};
use pipehost_sandbox::{Component, Program, Runner, describe};

/// A pipeline that can be run.
#[derive(Clone)]
pub struct Prepared {
    pub config: Config,
    pub graph: Graph,
    /// One for each stage of the configuration, in its order.
    pub runners: Vec<Runner>,
    pub metrics: Arc<Metrics>,
    /// What is probably not meant.
    pub warnings: Vec<Mistake>,
    pub replay: Option<ToReplay>,
    /// The rate at which the sources emit records, for measurements.
    pub pace: Option<Arc<Pace>>,
}

/// Dead letters to replay.
#[derive(Clone)]
pub enum ToReplay {
    /// Instead of the input of the sources.
    Alone(Vec<Letter>),
    /// Into stages and sinks, beside what the sources send.
    Beside(Vec<Letter>),
}

/// Options of [`prepare`].
pub struct Options {
    /// Stages that are bundled with the program.
    pub bundled: &'static [BundledStage],
    /// Collects profiling samples of the guests.
    pub profile: Option<Arc<GuestProfile>>,
    /// Those of the run that it replaces.
    pub metrics: Option<Arc<Metrics>>,
    pub environment: Environment,
}

impl Options {
    /// Those of a pipeline that is to run here, with these stages bundled.
    pub fn new(bundled: &'static [BundledStage]) -> Self {
        Self { bundled, profile: None, metrics: None, environment: Environment::Whole }
    }
}

/// What must be there of what a pipeline names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Inputs and folders: the pipeline is to run here.
    Whole,
    /// Folders alone: the sources are not opened, or only as far as they go on.
    WithoutInputs,
    /// Nothing: it is to run on another machine.
    Elsewhere,
}

/// Prepares a pipeline. `say` is called before slow steps; `known` are the mistakes found while
/// reading the configuration.
///
/// # Errors
/// All mistakes: the known ones, and those found here.
pub async fn prepare(
    config: Config,
    known: Vec<Mistake>,
    options: Options,
    say: &mut dyn FnMut(&str),
) -> Result<Prepared, Vec<Mistake>> {
    let mut mistakes = known;
    let metrics = options.metrics.unwrap_or_else(|| Arc::new(Metrics::new(&config.name)));
    let mut engines = Engines::new(&config, options.profile);
    let mut sources = BTreeMap::new();
    let mut said = DeclaredStages::new();
    let (mut runners, mut adds) = (Vec::new(), Vec::new());
    for stage in &config.stages {
        let plugin = &stage.plugin.value;
        if plugin.reference.is_some() {
            // Why it was not found is among the known mistakes.
            if mistakes.is_empty() {
                let message = "the component was not fetched";
                mistakes.push(Mistake::new(stage.plugin.span.clone(), message));
            }
            continue;
        }
        let found = sources.entry(plugin.clone()).or_insert_with(|| {
            let same = config.stages.iter().filter(|other| other.plugin.value == *plugin);
            let largest = same.map(|stage| stage.limits.component_bytes).max().unwrap_or(0);
            plugin::read(plugin, options.bundled, largest, say)
        });
        let opened = match found {
            Ok(source) => open(stage, source, &mut engines, &metrics).await,
            Err(why) => Err(vec![not_found(stage, why, options.bundled)]),
        };
        match opened {
            Ok((program, added)) => {
                adds.push(added);
                let runner = Runner::Sandboxed(Arc::new(program));
                let (timed, keeps_state) = (runner.has_watermark(), runner.keeps_state());
                let Plan { ports, inputs, keeps, .. } = runner.plan().clone();
                let keeps_by = match keeps {
                    Keeps::ByKey(by) => Some(by),
                    Keeps::Anything | Keeps::Nothing => None,
                };
                let says = Declared { ports, inputs, timed, keeps_state, keeps_by };
                said.insert(stage.name.value.clone(), says);
                runners.push(runner);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    let (graph, found) = graph::check(&config, &said);
    mistakes.extend(found);
    if options.environment == Environment::Whole {
        mistakes.extend(environment::inputs(&config));
    }
    if options.environment != Environment::Elsewhere {
        mistakes.extend(config.stages.iter().flat_map(missing_folders));
        mistakes.extend(environment::outputs(&config));
    }
    mistakes.extend(outputs::check(&config));
    mistakes.extend(reach::check(&config, Cache::of_user().as_ref().map(Cache::directory)));
    if mistakes.is_empty() {
        let says =
            runners.iter().zip(adds).map(|(runner, adds)| Says { plan: runner.plan(), adds });
        let warnings = attributes::check(&config, &graph, &says.collect::<Vec<_>>());
        Ok(Prepared { config, graph, runners, metrics, warnings, replay: None, pace: None })
    } else {
        Err(mistakes)
    }
}

/// A component that could not be read or built.
fn not_found(stage: &Stage, why: &anyhow::Error, bundled: &[BundledStage]) -> Mistake {
    let Plugin { path, name, .. } = &stage.plugin.value;
    let mistake = Mistake::new(stage.plugin.span.clone(), format!("{why:#}"));
    let Some(name) = name.as_ref().filter(|_| !path.exists()) else { return mistake };
    let mistake = mistake.did_you_mean(name, bundled.iter().map(|stage| stage.name));
    match mistake.help {
        Some(_) => mistake,
        None => mistake.help("`pipehost stages` lists the stages that come with pipehost"),
    }
}

/// Granted folders of a stage that do not exist.
fn missing_folders(stage: &Stage) -> Vec<Mistake> {
    let missing = stage.grants.folders.iter().filter(|folder| !folder.host.value.is_dir());
    missing
        .map(|Folder { host, .. }| {
            let message = format!("the folder {} does not exist", host.value.display());
            Mistake::new(host.span.clone(), message)
        })
        .collect()
}

/// Opens a stage; also returns the attributes that it adds, if it says so.
async fn open(
    stage: &Stage,
    source: &Source,
    engines: &mut Engines,
    metrics: &Metrics,
) -> Result<(Program, Option<BTreeSet<String>>), Vec<Mistake>> {
    let at_plugin = |why: String| {
        Mistake::new(stage.plugin.span.clone(), format!("stage `{}`: {why}", stage.name.value))
    };
    let name: Arc<str> = stage.name.value.as_str().into();
    let metering = if stage.limits.fuel.is_some() { Metering::Fuel } else { Metering::Epochs };
    let engine = engines.get(metering).map_err(|why| vec![at_plugin(format!("{why:#}"))])?;
    let (limits, grants) = (stage.limits.clone(), stage.grants.clone());
    let component = Component::load(engine.clone(), name.clone(), source, limits, grants)
        .map_err(|reasons| reasons.into_iter().map(at_plugin).collect::<Vec<_>>())?;
    let node = metrics.node(&name);
    let description = (describe(&component, &node).await)
        .map_err(|failure| vec![at_plugin(format!("its `describe` failed: {failure}"))])?;
    let schema = description.config_schema;
    let config = check_config(stage, schema.clone(), engine.clone()).await?;
    let adds = attributes::added(&schema, &config);
    let (version, config) = (description.version, config.to_string());
    let opened = Program::open(component.into(), version, config, &node).await;
    let program = opened.map_err(|failure| {
        let message = format!("stage `{}` does not open: {failure}", stage.name.value);
        vec![Mistake::new(stage.config.span.clone(), message)]
    })?;
    Ok((program, adds))
}

/// Checks a stage's configuration against the schema from its component, which is not trusted.
/// Returns it with the types that the schema wants for texts that came from references.
async fn check_config(
    stage: &Stage,
    schema: String,
    engine: Arc<Engine>,
) -> Result<Value, Vec<Mistake>> {
    let at = |span, why: String| Mistake::new(span, format!("stage `{}`: {why}", stage.name.value));
    let complaints_about = async |config: Value| {
        let limits = compile::Limits::of_schema(&stage.limits);
        let (schema, engine) = (schema.clone(), engine.clone());
        let checked = tokio::task::spawn_blocking(move || {
            compile::check(&schema, &config, &limits, engine.cache())
        });
        let checked = checked.await;
        let checked = checked.unwrap_or_else(|_| Err(anyhow!("its schema cannot be checked")));
        checked.map_err(|why| vec![at(stage.config.span.clone(), format!("{why:#}"))])
    };
    let mut config = stage.config.value.clone();
    let mut complaints = complaints_about(config.clone()).await?;
    let mut typed = config.clone();
    for complaint in &complaints {
        if stage.config.references.contains(&complaint.place)
            && let Some(part) = typed.pointer_mut(&complaint.place)
            && let Some(text) = part.as_str()
            && let Ok(value @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text)
        {
            *part = value;
        }
    }
    if typed != config {
        complaints = complaints_about(typed.clone()).await?;
        config = typed;
    }
    let mistakes: Vec<_> = (complaints.into_iter())
        .map(|Complaint { place, message, help, unknown }| {
            let mut mistake = at(stage.config.place(&place), message);
            mistake.help = help;
            match &unknown {
                Some((name, known)) => mistake.did_you_mean(name, known.iter().map(String::as_str)),
                None => mistake,
            }
        })
        .collect();
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

/// The most lanes of a stage that is not configured.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The engines that a pipeline needs, created on demand.
struct Engines {
    instances: u32,
    profile: Option<Arc<GuestProfile>>,
    made: Vec<Arc<Engine>>,
}

impl Engines {
    fn new(config: &Config, profile: Option<Arc<GuestProfile>>) -> Self {
        // One per lane, one per stage for `prepare` to get its description, and one that takes over
        // from another.
        let lanes = |stage: &Stage| stage.workers.unwrap_or_else(cores) + 2;
        let instances: usize = config.stages.iter().map(lanes).sum();
        let instances = u32::try_from(instances).unwrap_or(u32::MAX).max(1);
        Self { instances, profile, made: Vec::new() }
    }

    fn get(&mut self, metering: Metering) -> Result<Arc<Engine>> {
        if let Some(engine) = self.made.iter().find(|engine| engine.metering == metering) {
            return Ok(engine.clone());
        }
        let engine = Engine::profiled(metering, self.instances, self.profile.clone());
        let engine = engine.map_err(|error| anyhow!("{error:#}"))?;
        self.made.push(Arc::new(engine));
        Ok(self.made[self.made.len() - 1].clone())
    }
}

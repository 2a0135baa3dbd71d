//! From the arguments to a configuration.

use anyhow::{Context as _, Result, anyhow};
use std::env::VarError;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use crate::error::Error;
use crate::setting::set_member;
use crate::{grant, remote, seen};
use pipehost_config::limits::Fuel;
use pipehost_config::mistake::{self, Mistake};
use pipehost_config::{
    At, Batching, Config, DeadLetters, Decoding, Encoding, Input, OnError, Plugin, Reference, Sink,
    SinkKind, Source, SourceKind, Stage,
};
use pipehost_observe::log::{secrets, stderr};
use pipehost_observe::metrics::Metrics;
use pipehost_observe::profile::GuestProfile;
use pipehost_observe::tap::Look;
use pipehost_pipeline::prepare::{Environment, Options, Prepared, prepare};

/// Which pipeline, and what of it is overridden.
#[derive(Debug, Clone, clap::Args)]
pub struct PipelineArgs {
    /// The pipeline; its relative paths start from its own folder.
    #[arg(
        value_name = "PIPELINE.toml",
        required_unless_present = "plugins",
        conflicts_with = "plugins"
    )]
    pipeline: Option<PathBuf>,
    /// A stage between stdin and stdout, instead of a file: a stage that comes with pipehost, a
    /// `.wasm`, a `.wat` or the folder of a crate. Several make a chain. Its name is the file's,
    /// without ending.
    #[arg(long = "plugin", value_name = "COMPONENT")]
    plugins: Vec<PathBuf>,
    /// Set a member of a stage's configuration: a TOML value, otherwise a text.
    #[arg(long = "set", value_name = "STAGE.NAME=VALUE")]
    set: Vec<String>,
    /// Grant something to a stage: read=/GUEST=FOLDER, write=/GUEST=FOLDER, network=ADDRESS:PORT,
    /// http=URL, env=NAME[=VALUE], clock=fixed, random=fixed.
    #[arg(long = "grant", value_name = "STAGE.GRANT=VALUE")]
    grant: Vec<String>,
    /// How many workers each stage has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Fuel of each call, independent of its records (about one unit an instruction).
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Time limit of each call.
    #[arg(long, value_name = "200ms", value_parser = pipehost_config::quantity::duration)]
    timeout: Option<std::time::Duration>,
    /// Memory limit of each instance.
    #[arg(long, value_name = "32MiB", value_parser = pipehost_config::quantity::bytes)]
    memory: Option<u64>,
    /// Write rejected records to this file. Without it, the first one ends a --plugin run.
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    #[arg(skip)]
    development: Option<Development>,
}

/// A stage that is being written.
#[derive(Debug, Clone)]
pub struct Development {
    folder: PathBuf,
    /// Begins to show what the stage does.
    begin: Arc<Once>,
}

impl Development {
    /// `folder` is a canonical path.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, begin: Arc::new(Once::new()) }
    }

    /// Shows what the stage of this name is given and what it answers.
    fn show(&self, stage: &str, ports: Vec<String>, metrics: &Metrics) {
        let (stage, node) = (stage.to_owned(), metrics.node(stage));
        self.begin.call_once(|| {
            let tap = node.tap.tap(Look::Node);
            std::thread::spawn(move || seen::show(&stage, &ports, tap));
        });
    }
}

impl PipelineArgs {
    /// A pipeline in which a stage is being written; without a file, that stage alone.
    pub fn for_development(
        pipeline: Option<PathBuf>,
        folder: PathBuf,
        set: Vec<String>,
        grant: Vec<String>,
        development: Development,
    ) -> Self {
        Self {
            plugins: if pipeline.is_none() { vec![folder] } else { Vec::new() },
            pipeline,
            set,
            grant,
            workers: None,
            fuel: None,
            timeout: None,
            memory: None,
            dead_letters: None,
            development: Some(development),
        }
    }

    /// Reads, builds, compiles and checks a pipeline, or reports every mistake.
    pub async fn prepare(&self, profile: Option<Arc<GuestProfile>>) -> Result<Prepared, Error> {
        self.prepare_with(Options { profile, ..options() }, "nothing was run").await
    }

    /// As [`Self::prepare`], to replace what runs, whose metrics it goes on with.
    pub async fn prepare_again(
        &self,
        profile: Option<Arc<GuestProfile>>,
        metrics: Arc<Metrics>,
    ) -> Result<Prepared, Error> {
        // A source that has ended goes on without its input.
        let environment = Environment::WithoutInputs;
        let options = Options { profile, metrics: Some(metrics), environment, ..options() };
        self.prepare_with(options, GOES_ON).await
    }

    async fn prepare_with(&self, options: Options, outcome: &str) -> Result<Prepared, Error> {
        let (loaded, prepared) = self.attempt(options).await?;
        let prepared = prepared.map_err(|mistakes| loaded.render_with(&mistakes, outcome))?;
        if !prepared.warnings.is_empty() {
            stderr::warn(&loaded.render_warnings(&prepared.warnings));
        }
        Ok(prepared)
    }

    /// Reads a pipeline, and finds all mistakes in it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn check(
        &self,
        environment: Environment,
    ) -> Result<(Loaded, Result<Prepared, Vec<Mistake>>), Error> {
        self.attempt(Options { environment, ..options() }).await
    }

    async fn attempt(
        &self,
        options: Options,
    ) -> Result<(Loaded, Result<Prepared, Vec<Mistake>>), Error> {
        let mut loaded = pipeline(self)?;
        let mut known = std::mem::take(&mut loaded.mistakes);
        remote::fetch(&mut loaded.config, self.file(), &mut known).await;
        let mut say = stderr::say;
        let written = loaded.config.stages.iter().find(|stage| self.is_being_written(stage));
        let written = written.map(|stage| stage.name.value.clone());
        if self.development.is_some() && written.is_none() {
            return Err(Error::Usage(anyhow!(
                "no stage of {} has the folder that is being written as its `plugin`",
                loaded.path.display()
            )));
        }
        let prepared = prepare(loaded.config.clone(), known, options, &mut say).await;
        if let (Some(development), Some(stage), Ok(prepared)) =
            (&self.development, written, &prepared)
        {
            let stages = prepared.config.stages.iter().zip(&prepared.runners);
            let mut found = stages.filter(|(other, _)| other.name.value == stage);
            let ports = found.next().map(|(_, runner)| runner.plan().ports.clone());
            development.show(&stage, ports.unwrap_or_default(), &prepared.metrics);
        }
        Ok((loaded, prepared))
    }

    /// Whether a stage is the one that is being written.
    fn is_being_written(&self, stage: &Stage) -> bool {
        let Some(Development { folder, .. }) = &self.development else { return false };
        let path = stage.plugin.value.path.canonicalize();
        path.is_ok_and(|path| path == *folder)
    }

    /// The same of another file.
    pub fn with_file(&self, file: &Path) -> Self {
        Self { pipeline: Some(file.to_owned()), ..self.clone() }
    }

    /// The file of the pipeline, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.pipeline.as_deref()
    }
}

/// What is said when a pipeline is not replaced.
pub const GOES_ON: &str = "the pipeline goes on as it was";

/// A configuration, and its text, to show mistakes in it.
pub struct Loaded {
    pub config: Config,
    pub mistakes: Vec<Mistake>,
    pub path: PathBuf,
    pub text: String,
}

impl Loaded {
    /// What is probably not meant, each with its place.
    pub fn render_warnings(&self, warnings: &[Mistake]) -> String {
        mistake::render_warnings(warnings, &self.path, &self.text, true).trim_end().to_owned()
    }

    /// All mistakes, each with its place, and how many there are.
    pub fn render(&self, mistakes: &[Mistake]) -> Error {
        self.render_with(mistakes, "nothing was run")
    }

    fn render_with(&self, mistakes: &[Mistake], outcome: &str) -> Error {
        let count = match mistakes.len() {
            1 => "one mistake".to_owned(),
            n => format!("{n} mistakes"),
        };
        let list = mistake::render(mistakes, &self.path, &self.text, true);
        Error::Mistakes(format!("{list}{count} in {}; {outcome}", self.path.display()))
    }
}

/// The options that every pipeline is prepared with.
pub fn options() -> Options {
    Options::new(pipehost_stages::STAGES)
}

/// The name of stdin as a pipeline.
pub const STDIN: &str = "-";

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a pipeline file; `-` stands for stdin, and its relative paths start here.
pub fn file(path: &Path) -> Result<Loaded, Error> {
    let (read, path) = match path == Path::new(STDIN) {
        true => (read_stdin(), Path::new("stdin")),
        false => (fs::read(path), path),
    };
    let bytes = read.map_err(|error| {
        Error::Usage(anyhow!("cannot read the pipeline {}: {error}", path.display()))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::Usage(anyhow!("the pipeline {} is not UTF-8, from byte {at} on", path.display()))
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let (mut config, mistakes) =
        pipehost_config::read_expanded(&text, base, &mut |reference| resolve(base, reference));
    if config.name == Config::default().name
        && let Some(stem) = path.file_stem()
    {
        config.name = stem.to_string_lossy().into_owned();
    }
    Ok(Loaded { config, mistakes, path: path.to_owned(), text })
}

/// What a reference in a pipeline stands for: a variable of this process, or the content of a file,
/// which is relative to the folder of the pipeline.
fn resolve(base: &Path, reference: &Reference<'_>) -> Result<Option<String>> {
    match reference {
        Reference::Variable(name) => match std::env::var(name) {
            Ok(value) => {
                if is_secret(name) {
                    secrets::hide(&value, &format!("${{{name}}}"));
                }
                Ok(Some(value))
            }
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(anyhow!("the variable is not UTF-8")),
        },
        Reference::File(file) => {
            const MOST: u64 = 1 << 20;
            let path = base.join(file);
            let mut value = String::new();
            let read = fs::File::open(&path)
                .and_then(|file| file.take(MOST + 1).read_to_string(&mut value))
                .map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
            if read as u64 > MOST {
                return Err(anyhow!("{} has more than 1 MiB", path.display()));
            }
            // An editor puts it there.
            let value = value.strip_suffix('\n').unwrap_or(&value);
            let value = value.strip_suffix('\r').unwrap_or(value);
            secrets::hide(value, &format!("${{file:{file}}}"));
            Ok(Some(value.to_owned()))
        }
    }
}

/// Whether the name of a variable says that nobody should see it: `DB_PASSWORD` and `API_KEY`, but
/// neither `AUTHOR` nor `PARTITION_KEY`.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "CREDENTIAL", "TOKEN", "APIKEY"];
    const WORDS: [&str; 5] = ["PASS", "PWD", "AUTH", "AUTHORIZATION", "DSN"];
    const OF_KEYS: [&str; 9] =
        ["API", "ACCESS", "PRIVATE", "SIGNING", "ENCRYPTION", "HASH", "HMAC", "MASTER", "AUTH"];
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let has_one_of = |of: &[&str]| words.iter().any(|word| of.contains(word));
    PARTS.iter().any(|part| name.contains(part))
        || has_one_of(&WORDS)
        || name == "KEY"
        || (has_one_of(&["KEY"]) && has_one_of(&OF_KEYS))
}

/// Reads the pipeline that the arguments name, and applies what they override.
fn pipeline(args: &PipelineArgs) -> Result<Loaded, Error> {
    let mut loaded = match &args.pipeline {
        Some(path) => file(path)?,
        None => Loaded {
            config: chain(args),
            mistakes: Vec::new(),
            path: PathBuf::from("the arguments"),
            text: String::new(),
        },
    };
    if let Some(file) = &args.dead_letters {
        loaded.config.dead_letters = Some(At::nowhere(DeadLetters::new(file.clone())));
    }
    for stage in &mut loaded.config.stages {
        let limits = &mut stage.limits;
        if let Some(fuel) = args.fuel {
            limits.fuel = Some(Fuel { base: fuel, per_record: 0, per_byte: 0 });
        }
        limits.timeout = args.timeout.unwrap_or(limits.timeout);
        limits.memory_bytes = args.memory.map_or(limits.memory_bytes, |bytes| bytes as usize);
        stage.workers = args.workers.map(usize::from).or(stage.workers);
    }
    for setting in &args.set {
        if let Err(why) = set(&mut loaded.config, setting) {
            loaded.mistakes.push(Mistake::new(None, format!("--set {setting}: {why:#}")));
        }
    }
    for text in &args.grant {
        if let Err(why) = grant(&mut loaded.config, text) {
            // Without its value, which may be a secret.
            let named = text.split_once('=').map_or(&**text, |(name, _)| name);
            loaded.mistakes.push(Mistake::new(None, format!("--grant {named}: {why:#}")));
        }
    }
    Ok(loaded)
}

/// A pipeline from stdin through the plugins, in this order, to stdout.
fn chain(args: &PipelineArgs) -> Config {
    let policy = if args.dead_letters.is_some() { OnError::DeadLetter } else { OnError::Fail };
    let on_error = At::nowhere(policy);
    let mut config = Config {
        name: "stdin to stdout".to_owned(),
        sources: vec![Source {
            name: At::nowhere("stdin".to_owned()),
            kind: SourceKind::Stdin { codec: Decoding::default() },
            batch: Batching::default(),
            on_error: on_error.clone(),
            watermark: None,
        }],
        ..Config::default()
    };
    let mut last = "stdin".to_owned();
    for plugin in &args.plugins {
        let plugin = Plugin::new(Path::new(""), plugin);
        let stem = plugin.stem();
        let same = config.stages.iter().filter(|stage| stage.plugin.value.stem() == stem);
        let name = match same.count() {
            0 => stem,
            n => format!("{stem}-{}", n + 1),
        };
        let plugin = At::nowhere(plugin);
        let input = Input::from(At::nowhere(last));
        let stage = Stage::new(At::nowhere(name.clone()), plugin, input);
        config.stages.push(Stage { on_error: on_error.clone(), ..stage });
        last = name;
    }
    config.sinks.push(Sink {
        name: At::nowhere("stdout".to_owned()),
        kind: SinkKind::Stdout { encoding: Encoding::Lines(None) },
        input: Input::from(At::nowhere(last)),
        batch: None,
        rate: None,
        on_error: At::nowhere(OnError::Fail),
    });
    config
}

/// Applies `STAGE.NAME=VALUE`.
fn set(config: &mut Config, setting: &str) -> Result<()> {
    let (path, value) = setting.split_once('=').context("write STAGE.NAME=VALUE")?;
    let (name, member) = path.split_once('.').context("write STAGE.NAME=VALUE")?;
    set_member(&mut stage(config, name)?.config.value, member, value)
}

/// Applies `STAGE.GRANT=VALUE`.
fn grant(config: &mut Config, text: &str) -> Result<()> {
    let (name, granted) = text.split_once('.').context("write STAGE.GRANT=VALUE")?;
    grant::add(&mut stage(config, name)?.grants, granted)
}

/// The stage of this name.
fn stage<'c>(config: &'c mut Config, name: &str) -> Result<&'c mut Stage> {
    let names: Vec<_> =
        config.stages.iter().map(|stage| format!("`{}`", stage.name.value)).collect();
    (config.stages.iter_mut())
        .find(|stage| stage.name.value == name)
        .with_context(|| format!("there is no stage `{name}`, there is {}", names.join(", ")))
}

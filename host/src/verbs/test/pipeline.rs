//! Runs the test cases of a pipeline: its stages as they are, with their clocks fixed, and with the
//! records of a case instead of its inputs and outputs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::report::{Report, plural};
use crate::error::{Error, print};
use crate::load::{self, Loaded};
use crate::remote;
use crate::runtime::Threads;
use crate::signals::signals;
use pipehost_codec::frames::{self, Frame};
use pipehost_config::case::{Entering, Leaving, PipelineCase, Reason, numbered};
use pipehost_config::grants::{Clock, Random};
use pipehost_config::mistake::{self, Mistake};
use pipehost_config::{
    At, BeginAt, Charset, Config, DeadLetters, DecodeFormat, Decoding, Encoding, FileSink,
    FileSource, Input, OnError, Retry, Rotate, Sink, SinkKind, SourceKind, WhenFull,
    WhenLettersFull,
};
use pipehost_files::folder;
use pipehost_kit::cases::difference_of;
use pipehost_observe::log::stderr;
use pipehost_pipeline::StopCause;
use pipehost_pipeline::dead_letter::LetterReader;
use pipehost_pipeline::prepare::{Environment, Options, Prepared, ToReplay, prepare};
use pipehost_record::foreign::Foreign;
use pipehost_record::{Letter, Record};

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
        let mut known = std::mem::take(&mut loaded.mistakes);
        remote::fetch(&mut loaded.config, Some(pipeline), &mut known).await;
        loaded.mistakes = known;
        check(&loaded).await?;
        for path in &paths {
            let name = path.display().to_string();
            let outcome = match read(path)? {
                Ok(named) => run(&loaded, &named, threads.work.handle()).await?,
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
async fn run(loaded: &Loaded, named: &Named, work: &Handle) -> Result<Outcome, Error> {
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
    let prepared = prepare(config.clone(), Vec::new(), options, &mut stderr::say).await;
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
    let (_send, requests) = signals()?;
    // On the threads of a run, as in one.
    let starting = work.spawn(pipehost_pipeline::start(prepared)).await;
    let ending = match starting {
        Ok(Ok(running)) => running.finish(requests).await,
        Ok(Err(why)) => return Ok(Outcome::Failed(format!("the pipeline failed: {why:#}"))),
        Err(panic) => return Err(Error::Failed(anyhow!("the pipeline did not start: {panic}"))),
    };
    match (ending.failure, ending.stopped_by) {
        (Some(why), _) => Ok(Outcome::Failed(format!("the pipeline failed: {why:#}"))),
        (None, Some(StopCause::Signal(number))) => {
            Ok(Outcome::Stopped(u8::try_from(128 + number).unwrap_or(1)))
        }
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

/// Why a case cannot be run.
enum Wrong {
    /// Mistakes in it.
    Case(Vec<Mistake>),
    Machine(anyhow::Error),
}

/// A node or port that is looked at, and the file with its records.
struct Watched {
    name: String,
    file: PathBuf,
}

/// The pipeline of a case: nothing of the world is read or written.
struct Built<'c> {
    config: Config,
    case: &'c PipelineCase,
    folder: &'c Path,
    watched: Vec<Watched>,
}

impl<'c> Built<'c> {
    fn build(
        config: &Config,
        named: &'c Named,
        folder: &'c Path,
    ) -> Result<(Config, Vec<Watched>), Wrong> {
        let config = config.clone();
        let mut built = Self { config, case: &named.case, folder, watched: Vec::new() };
        built.run_alone();
        built.stages()?;
        built.sinks();
        built.watch()?;
        Ok((built.config, built.watched))
    }

    /// Without state, and with its own dead letters.
    fn run_alone(&mut self) {
        let config = &mut self.config;
        config.state = None;
        config.deadline = Some(LONGEST);
        config.dead_letters = Some(At::nowhere(DeadLetters {
            max_bytes: u64::MAX,
            rotate_bytes: u64::MAX,
            when_full: WhenLettersFull::Fail,
            path: self.folder.join(DEAD),
        }));
        let sources = config.sources.iter_mut().map(|source| &mut source.on_error);
        let stages = config.stages.iter_mut().map(|stage| &mut stage.on_error);
        let sinks = config.sinks.iter_mut().map(|sink| &mut sink.on_error);
        for on_error in sources.chain(stages).chain(sinks) {
            on_error.value = OnError::DeadLetter;
        }
        let sources = config.sources.iter_mut().map(|source| &mut source.watermark);
        let stages = config.stages.iter_mut().map(|stage| &mut stage.watermark);
        for watermark in sources.chain(stages).flatten() {
            // Time is that of the records, on whichever day the case is run.
            (watermark.idle, watermark.max_ahead) = (None, Duration::MAX);
        }
    }

    fn stages(&mut self) -> Result<(), Wrong> {
        for (number, stage) in self.config.stages.iter_mut().enumerate() {
            // What comes out has one order.
            (stage.workers, stage.partition) = (Some(1), None);
            stage.input.when_full = WhenFull::Block;
            if let Some(retry) = &mut stage.retry {
                const ATTEMPTS: u32 = 3;
                let attempts = retry.attempts.unwrap_or(ATTEMPTS).min(ATTEMPTS);
                *retry = Retry {
                    attempts: Some(attempts),
                    backoff: Duration::ZERO,
                    max_backoff: Duration::ZERO,
                };
            }
            stage.grants.clock = Clock::Fixed(self.case.clock);
            stage.grants.random = Random::Fixed;
            for (at, granted) in stage.grants.folders.iter_mut().enumerate() {
                if granted.writable {
                    let folder = self.folder.join(format!("stage-{number}-{at}"));
                    fs::create_dir(&folder).map_err(|error| {
                        let shown = folder.display();
                        Wrong::Machine(anyhow!("cannot make the folder {shown}: {error}"))
                    })?;
                    granted.host.value = folder;
                }
            }
        }
        Ok(())
    }

    /// Each sink writes frames into a file.
    fn sinks(&mut self) {
        for number in 0..self.config.sinks.len() {
            let file = self.file(number);
            let sink = &mut self.config.sinks[number];
            sink.kind = frames_into(&file);
            sink.rate = None;
            sink.input.when_full = WhenFull::Block;
            self.watched.push(Watched { name: sink.name.value.clone(), file });
        }
    }

    /// What leaves another node is written by a sink of its own.
    fn watch(&mut self) -> Result<(), Wrong> {
        let outputs = self.case.output.iter().map(|leaving| &leaving.from);
        let mut unknown = Vec::new();
        for from in outputs.chain(&self.case.nothing) {
            if self.watched.iter().any(|watched| watched.name == from.value) {
                continue;
            }
            let node = from.value.split_once('.').map_or(&*from.value, |(node, _)| node);
            let sources = self.config.sources.iter().map(|source| &source.name.value);
            let stages = self.config.stages.iter().map(|stage| &stage.name.value);
            if !sources.chain(stages).any(|name| name == node) {
                let message = format!("the pipeline has no source, stage or sink `{node}`");
                unknown.push(Mistake::new(from.span.clone(), message));
                continue;
            }
            let number = self.config.sinks.len();
            let mut name = format!("test-{number}");
            while self.config.sinks.iter().any(|sink| sink.name.value == name) {
                name.push('x');
            }
            let file = self.file(number);
            self.config.sinks.push(Sink {
                name: At::nowhere(name),
                kind: frames_into(&file),
                input: Input::from(At::nowhere(from.value.clone())),
                batch: None,
                rate: None,
                on_error: At::nowhere(OnError::DeadLetter),
            });
            self.watched.push(Watched { name: from.value.clone(), file });
        }
        if unknown.is_empty() { Ok(()) } else { Err(Wrong::Case(unknown)) }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.frames"))
    }
}

fn frames_into(file: &Path) -> SinkKind {
    SinkKind::File(FileSink {
        base: folder::of(file).to_owned(),
        path: At::nowhere(file.to_owned()),
        append: false,
        encoding: Encoding::Frames,
        compression: None,
        rotate: Rotate::default(),
        partition: None,
    })
}

/// The file of the records that were rejected.
const DEAD: &str = "dead";

fn rendered(named: &Named, mistakes: &[Mistake]) -> String {
    let rendered = mistake::render(mistakes, &named.path, &named.text, false);
    rendered.trim_end().to_owned()
}

/// Has each source read what the case gives to it, from a file: as lines that its codec decodes, or
/// as records if it has no codec.
fn inputs(mut config: Config, named: &Named, folder: &Path) -> Result<Config, Wrong> {
    let mut mistakes = Vec::new();
    for (number, source) in config.sources.iter_mut().enumerate() {
        let codec = match &source.kind {
            SourceKind::Stdin { codec } | SourceKind::File(FileSource { codec, .. }) => Some(codec),
            SourceKind::Http(http) => Some(&http.codec),
            SourceKind::Generate(_) | SourceKind::Sqlite(_) => None,
        };
        let codec = codec.filter(|codec| codec.format != DecodeFormat::Frames);
        let mut bytes = Vec::new();
        let name = &source.name.value;
        for entering in named.case.input.iter().filter(|entering| entering.to.value == *name) {
            let Record { timestamp, key, attributes, .. } = &entering.record;
            let is_line = timestamp.is_none() && key.is_none() && attributes.is_empty();
            if codec.is_some() && !is_line {
                let message = format!(
                    "the codec of `{name}` makes records of `value`: it takes no time, key or attributes"
                );
                mistakes.push(Mistake::new(entering.to.span.clone(), message));
            }
            for n in 1..=entering.times {
                let record = numbered(&entering.record, entering.times, n);
                if codec.is_some() {
                    bytes.extend(record.value.unwrap_or_default());
                    bytes.push(b'\n');
                } else {
                    frames::write_record(&record, &mut bytes);
                }
            }
        }
        let file = folder.join(format!("source-{number}"));
        fs::write(&file, bytes).map_err(|error| Wrong::Machine(error.into()))?;
        let codec = match codec {
            // The case is UTF-8.
            Some(codec) => Decoding { charset: Charset::Utf8, ..codec.clone() },
            None => Decoding { format: DecodeFormat::Frames, ..Decoding::default() },
        };
        source.kind = SourceKind::File(FileSource {
            base: folder.to_owned(),
            paths: vec![At::nowhere(file)],
            follow: false,
            rotate_wait: Duration::ZERO,
            links: false,
            exclude: Vec::new(),
            begin_at: BeginAt::Begin,
            ignore_older: None,
            codec,
        });
    }
    if mistakes.is_empty() { Ok(config) } else { Err(Wrong::Case(mistakes)) }
}

/// The records of a case that enter behind the sources, as letters to the nodes that they enter; and
/// how many there are in all.
fn letters(prepared: &Prepared, named: &Named) -> Result<(Vec<Letter>, usize), Vec<Mistake>> {
    let (mut letters, mut wrong, mut records) = (Vec::new(), Vec::new(), 0);
    for entering in &named.case.input {
        match place(prepared, entering) {
            Err(why) => wrong.push(Mistake::new(entering.to.span.clone(), format!("{why:#}"))),
            Ok(place) => {
                for n in 1..=entering.times {
                    records += 1;
                    let Some((node, input)) = &place else { continue };
                    letters.push(Letter {
                        record: numbered(&entering.record, entering.times, n),
                        place: "the case".to_owned(),
                        number: records as u64,
                        pipeline: prepared.config.name.clone(),
                        stage: node.clone(),
                        input: *input,
                        reason: String::new(),
                        attempts: 0,
                        time: named.case.clock,
                        component: String::new(),
                    });
                }
            }
        }
    }
    if wrong.is_empty() { Ok((letters, records)) } else { Err(wrong) }
}

/// The stage or sink that a record enters, and the number of its input; `None` if it is a source.
fn place(prepared: &Prepared, entering: &Entering) -> Result<Option<(String, u32)>> {
    let (node, input) = match entering.to.value.split_once('.') {
        Some((node, input)) => (node, Some(input)),
        None => (&*entering.to.value, None),
    };
    let config = &prepared.config;
    let stage = config.stages.iter().position(|stage| stage.name.value == node);
    if config.sources.iter().any(|source| source.name.value == entering.to.value) {
        return Ok(None);
    }
    let is_there = stage.is_some()
        || config.sources.iter().any(|source| source.name.value == node)
        || config.sinks.iter().any(|sink| sink.name.value == node);
    if !is_there {
        bail!("the pipeline has no source, stage or sink `{node}`");
    }
    let Some(input) = input else { return Ok(Some((node.to_owned(), 0))) };
    let inputs = stage.map(|index| &prepared.runners[index].plan().inputs);
    let number = inputs.and_then(|inputs| inputs.iter().position(|name| name == input));
    let number = number.with_context(|| match inputs.filter(|inputs| !inputs.is_empty()) {
        Some(inputs) => format!("`{node}` has no input `{input}`, it has {}", inputs.join(", ")),
        None => format!("`{node}` does not tell its inputs apart: write `to = \"{node}\"`"),
    })?;
    Ok(Some((node.to_owned(), number as u32)))
}

/// What differs from what the case expects; empty if nothing does.
fn complaint(
    config: &Config,
    case: &PipelineCase,
    watched: &[Watched],
    folder: &Path,
) -> Result<String> {
    let mut told = String::new();
    let named: BTreeSet<&str> = (case.output.iter().map(|leaving| &leaving.from))
        .chain(&case.nothing)
        .map(|from| &*from.value)
        .collect();
    for name in named {
        let Some(watched) = watched.iter().find(|watched| watched.name == name) else { continue };
        let mut came = records(&watched.file)?;
        let expected = case.output.iter().filter(|leaving| leaving.from.value == name);
        let mut expected: Vec<Record> = expected.flat_map(all).collect();
        if has_several_ways(config, case, name) {
            // Which record is first is a matter of chance.
            came.sort();
            expected.sort();
        }
        if let Some(lines) = difference_of(&expected, &came) {
            told.push_str(&format!("`{name}`:\n{lines}"));
        }
    }
    let mut rejected: Vec<Letter> = match folder.join(DEAD) {
        file if file.exists() => LetterReader::open(&file)?.collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    // What is said exactly comes first: it must not lose its letter to what fits several.
    let (exact, others): (Vec<_>, Vec<_>) =
        case.rejected.iter().partition(|expected| matches!(expected.reason, Reason::Is(_)));
    for expected in exact.into_iter().chain(others) {
        let fits = |letter: &Letter| {
            letter.stage == expected.by.value && expected.reason.fits(&letter.reason)
        };
        match rejected.iter().position(fits) {
            Some(at) => drop(rejected.remove(at)),
            None => told.push_str(&format!(
                "- `{}` is expected to reject a record, and does not, or for another reason\n",
                expected.by.value
            )),
        }
    }
    for letter in rejected.iter().take(MOST) {
        let Letter { stage, number, reason, .. } = letter;
        told.push_str(&format!("+ `{stage}` rejects record {number}: {}\n", Foreign::new(reason)));
    }
    if rejected.len() > MOST {
        told.push_str(&format!("  … {} more\n", rejected.len() - MOST));
    }
    Ok(told.trim_end().to_owned())
}

/// Whether records come to a node, or leave it, by more than one way.
fn has_several_ways(config: &Config, case: &PipelineCase, name: &str) -> bool {
    let node = |text: &str| text.split_once('.').map_or(text, |(node, _)| node).to_owned();
    let mut upstream = vec![node(name)];
    let mut next = 0;
    while let Some(name) = upstream.get(next).cloned() {
        next += 1;
        let stages = config.stages.iter().map(|stage| (&stage.name.value, &stage.input));
        let sinks = config.sinks.iter().map(|sink| (&sink.name.value, &sink.input));
        let inputs = stages.chain(sinks).find(|(other, _)| **other == name).map(|(_, input)| input);
        let from = inputs.map(|input| &input.from[..]).unwrap_or_default();
        if from.len() > 1 {
            return true;
        }
        for from in from.iter().map(|from| node(&from.value)) {
            if !upstream.contains(&from) {
                upstream.push(from);
            }
        }
    }
    let entered: BTreeSet<String> =
        case.input.iter().map(|entering| node(&entering.to.value)).collect();
    entered.iter().filter(|name| upstream.contains(name)).count() > 1
}

/// The most rejections that are shown.
const MOST: usize = 20;

fn all(leaving: &Leaving) -> Vec<Record> {
    (1..=leaving.times).map(|n| numbered(&leaving.record, leaving.times, n)).collect()
}

/// The records in a file of frames, their attributes by name, as those of a case are.
fn records(file: &Path) -> Result<Vec<Record>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let (mut records, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((frame, length)) = frames::read(rest)? {
        let Frame::Record(mut record) = frame else { bail!("a sink wrote a dead letter") };
        record.attributes.sort();
        records.push(record);
        rest = &rest[length..];
    }
    Ok(records)
}

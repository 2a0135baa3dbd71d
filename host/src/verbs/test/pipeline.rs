//! Runs the test cases of a pipeline: its stages as they are, with their clocks fixed, and with the
//! records of a case instead of its inputs and outputs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::report::{Report, plural};
use crate::error::{Error, print};
use crate::load::{self, Loaded};
use crate::runtime::runtime;
use pipehost_codec::frames::{self, Frame};
use pipehost_config::case::{Entering, Leaving, PipelineCase, numbered};
use pipehost_config::grants::{Clock, Random};
use pipehost_config::mistake::{self, Mistake};
use pipehost_config::{
    At, Config, DeadLetters, Encoding, FileSink, Input, OnError, Rotate, Sink, SinkKind,
    WhenLettersFull,
};
use pipehost_kit::cases::difference_of;
use pipehost_observe::log::stderr;
use pipehost_pipeline::dead_letter::LetterReader;
use pipehost_pipeline::prepare::{Options, Prepared, ToReplay, prepare};
use pipehost_record::foreign::Foreign;
use pipehost_record::{Letter, Record};

/// A case, and its file.
struct Named {
    path: PathBuf,
    text: String,
    case: PipelineCase,
}

/// Runs the cases that stand beside a pipeline.
pub(super) fn test(pipeline: &Path) -> Result<u8, Error> {
    let loaded = load::file(pipeline)?;
    let cases = cases(pipeline)?;
    let runtime = runtime()?;
    let mut report = Report::new(cases.iter().map(|named| named.path.display().to_string()));
    for named in &cases {
        let name = named.path.display().to_string();
        match runtime.block_on(run(&loaded, named))? {
            (records, None) => {
                report.passed(&name, &format!("{records} record{}", plural(records)))
            }
            (_, Some(complaint)) => report.failed(&name, &complaint),
        }
    }
    let (text, code) = report.end();
    print(text.as_bytes())?;
    Ok(code)
}

/// The cases of a pipeline `x.toml`: `x.test.toml`, and all `x.….test.toml`, by name.
fn cases(pipeline: &Path) -> Result<Vec<Named>, Error> {
    let folder = match pipeline.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let stem = pipeline.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let cannot = |error| Error::Usage(anyhow!("cannot read {}: {error}", folder.display()));
    let is_case = |name: &str| {
        let rest = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(".test.toml"));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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
    let (mut named, mut mistakes) = (Vec::new(), String::new());
    for path in paths {
        let text = fs::read_to_string(&path)
            .map_err(|error| Error::Usage(anyhow!("cannot read {}: {error}", path.display())))?;
        let (case, found) = pipehost_config::read_pipeline_case(&text);
        mistakes.push_str(&mistake::render(&found, &path, &text, true));
        named.push(Named { path, text, case });
    }
    match mistakes.is_empty() {
        true => Ok(named),
        false => Err(Error::Mistakes(mistakes.trim_end().to_owned())),
    }
}

/// Runs a case; returns how many records went in, and what is wrong.
async fn run(loaded: &Loaded, named: &Named) -> Result<(usize, Option<String>), Error> {
    let folder = TempDir::new()
        .map_err(|error| Error::Failed(anyhow!("cannot make a folder for a case: {error}")))?;
    let (config, watched) = for_case(&loaded.config, named, folder.path())?;
    let mut say = stderr::say;
    let options = Options { reads_inputs: false, ..load::options() };
    let known = loaded.mistakes.clone();
    let mut prepared = prepare(config, known, options, &mut say)
        .await
        .map_err(|mistakes| loaded.render(&mistakes))?;
    let letters = letters(&prepared, named)?;
    let records = letters.len();
    prepared.replay = Some(ToReplay::Alone(letters));
    let ran = async {
        let running = pipehost_pipeline::start(prepared).await?;
        let (_keep, requests) = mpsc::channel(1);
        match running.finish(requests).await.failure {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    };
    if let Err(failure) = ran.await {
        return Ok((records, Some(format!("the pipeline failed: {failure:#}"))));
    }
    let complaint = complaint(&named.case, &watched, folder.path());
    let complaint = complaint.map_err(Error::Failed)?;
    Ok((records, Some(complaint).filter(|complaint| !complaint.is_empty())))
}

/// A node or port that is looked at, and the file with its records.
struct Watched {
    name: String,
    file: PathBuf,
}

/// The pipeline of a case: nothing of the world is read or written.
fn for_case(
    config: &Config,
    named: &Named,
    folder: &Path,
) -> Result<(Config, Vec<Watched>), Error> {
    let case = &named.case;
    let mut config = config.clone();
    config.state = None;
    config.deadline = None;
    config.dead_letters = Some(At::nowhere(DeadLetters {
        max_bytes: u64::MAX,
        rotate_bytes: u64::MAX,
        when_full: WhenLettersFull::Fail,
        path: folder.join(DEAD),
    }));
    let sources = config.sources.iter_mut().map(|source| &mut source.on_error);
    let stages = config.stages.iter_mut().map(|stage| &mut stage.on_error);
    let sinks = config.sinks.iter_mut().map(|sink| &mut sink.on_error);
    for on_error in sources.chain(stages).chain(sinks) {
        on_error.value = OnError::DeadLetter;
    }
    for stage in &mut config.stages {
        stage.workers = Some(1); // What comes out has one order.
        stage.grants.clock = Clock::Fixed(case.clock);
        stage.grants.random = Random::Fixed;
    }
    let file = |number: usize| folder.join(format!("{number}.frames"));
    let to_file = |number: usize| {
        SinkKind::File(FileSink {
            base: folder.to_owned(),
            path: At::nowhere(file(number)),
            append: false,
            encoding: Encoding::Frames,
            compression: None,
            rotate: Rotate::default(),
            partition: None,
        })
    };
    let mut watched = Vec::new();
    for (number, sink) in config.sinks.iter_mut().enumerate() {
        sink.kind = to_file(number);
        sink.rate = None;
        watched.push(Watched { name: sink.name.value.clone(), file: file(number) });
    }
    // What leaves another node is written by a sink of its own.
    let outputs = case.output.iter().map(|leaving| &leaving.from);
    let mut unknown = Vec::new();
    for from in outputs.chain(&case.nothing) {
        if watched.iter().any(|watched| watched.name == from.value) {
            continue;
        }
        let node = from.value.split_once('.').map_or(&*from.value, |(node, _)| node);
        let sources = config.sources.iter().map(|source| &source.name.value);
        let mut nodes = sources.chain(config.stages.iter().map(|stage| &stage.name.value));
        if !nodes.any(|name| name == node) {
            let message = format!("the pipeline has no source, stage or sink `{node}`");
            unknown.push(Mistake::new(from.span.clone(), message));
            continue;
        }
        let number = config.sinks.len();
        let mut name = format!("test-{number}");
        while config.sinks.iter().any(|sink| sink.name.value == name) {
            name.push('x');
        }
        config.sinks.push(Sink {
            name: At::nowhere(name),
            kind: to_file(number),
            input: Input::from(At::nowhere(from.value.clone())),
            batch: None,
            rate: None,
            on_error: At::nowhere(OnError::DeadLetter),
        });
        watched.push(Watched { name: from.value.clone(), file: file(number) });
    }
    match unknown.is_empty() {
        true => Ok((config, watched)),
        false => Err(mistakes(named, &unknown)),
    }
}

/// The file of the records that were rejected.
const DEAD: &str = "dead";

fn mistakes(named: &Named, mistakes: &[Mistake]) -> Error {
    let rendered = mistake::render(mistakes, &named.path, &named.text, true);
    Error::Mistakes(rendered.trim_end().to_owned())
}

/// The records of a case, as letters to the nodes that they enter.
fn letters(prepared: &Prepared, named: &Named) -> Result<Vec<Letter>, Error> {
    let (mut letters, mut wrong) = (Vec::new(), Vec::new());
    for entering in &named.case.input {
        match place(prepared, entering) {
            Err(why) => wrong.push(Mistake::new(entering.to.span.clone(), format!("{why:#}"))),
            Ok((node, input)) => {
                for n in 1..=entering.times {
                    letters.push(Letter {
                        record: numbered(&entering.record, entering.times, n),
                        place: "the case".to_owned(),
                        number: letters.len() as u64 + 1,
                        pipeline: prepared.config.name.clone(),
                        stage: node.clone(),
                        input,
                        reason: String::new(),
                        attempts: 0,
                        time: named.case.clock,
                        component: String::new(),
                    });
                }
            }
        }
    }
    if wrong.is_empty() { Ok(letters) } else { Err(mistakes(named, &wrong)) }
}

/// The node that a record enters, and the number of its input.
fn place(prepared: &Prepared, entering: &Entering) -> Result<(String, u32)> {
    let (node, input) = match entering.to.value.split_once('.') {
        Some((node, input)) => (node, Some(input)),
        None => (&*entering.to.value, None),
    };
    let config = &prepared.config;
    let stage = config.stages.iter().position(|stage| stage.name.value == node);
    let is_there = stage.is_some()
        || config.sources.iter().any(|source| source.name.value == node)
        || config.sinks.iter().any(|sink| sink.name.value == node);
    if !is_there {
        bail!("the pipeline has no source, stage or sink `{node}`");
    }
    let Some(input) = input else { return Ok((node.to_owned(), 0)) };
    let inputs = stage.map(|index| &prepared.runners[index].plan().inputs);
    let number = inputs.and_then(|inputs| inputs.iter().position(|name| name == input));
    let number = number.with_context(|| match inputs.filter(|inputs| !inputs.is_empty()) {
        Some(inputs) => format!("`{node}` has no input `{input}`, it has {}", inputs.join(", ")),
        None => format!("`{node}` does not tell its inputs apart: write `to = \"{node}\"`"),
    })?;
    Ok((node.to_owned(), number as u32))
}

/// What differs from what the case expects; empty if nothing does.
fn complaint(case: &PipelineCase, watched: &[Watched], folder: &Path) -> Result<String> {
    let mut told = String::new();
    let named: BTreeSet<&str> = (case.output.iter().map(|leaving| &leaving.from))
        .chain(&case.nothing)
        .map(|from| &*from.value)
        .collect();
    for name in named {
        let Some(watched) = watched.iter().find(|watched| watched.name == name) else { continue };
        let came = records(&watched.file)?;
        let expected = case.output.iter().filter(|leaving| leaving.from.value == name);
        let expected: Vec<Record> = expected.flat_map(all).collect();
        if let Some(lines) = difference_of(&expected, &came) {
            told.push_str(&format!("`{name}`:\n{lines}"));
        }
    }
    let mut rejected: Vec<Letter> = match folder.join(DEAD) {
        file if file.exists() => LetterReader::open(&file)?.collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    for expected in &case.rejected {
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

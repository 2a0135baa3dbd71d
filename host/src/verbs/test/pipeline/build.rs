//! Makes of a pipeline one that a case runs: nothing of the world is read or written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{LONGEST, Named, Wrong};
use pipehost_codec::frames;
use pipehost_config::case::{Entering, PipelineCase, numbered};
use pipehost_config::grants::{Clock, Random};
use pipehost_config::graph::node_and_port;
use pipehost_config::mistake::Mistake;
use pipehost_config::{
    At, Charset, Config, DeadLetters, DecodeFormat, Decoding, Encoding, FileSink, FileSource,
    Input, OnError, Retry, Rotate, Sink, SinkKind, SourceKind, WhenFull, WhenLettersFull,
};
use pipehost_files::folder;
use pipehost_pipeline::prepare::Prepared;
use pipehost_record::{Letter, Record};

/// A node or port that is looked at, and the file with its records.
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// The pipeline of a case: nothing of the world is read or written.
pub(super) struct Built<'c> {
    config: Config,
    case: &'c PipelineCase,
    folder: &'c Path,
    watched: Vec<Watched>,
}

impl<'c> Built<'c> {
    pub(super) fn build(
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
            let (node, _) = node_and_port(&from.value);
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
pub(super) const DEAD: &str = "dead";

/// Has each source read what the case gives to it, from a file: as lines that its codec decodes, or
/// as records if it has no codec.
pub(super) fn inputs(mut config: Config, named: &Named, folder: &Path) -> Result<Config, Wrong> {
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
        // Its name is what `metadata` tells of it.
        let inside = folder.join(format!("source-{number}"));
        fs::create_dir(&inside).map_err(|error| Wrong::Machine(error.into()))?;
        let file = inside.join(name);
        fs::write(&file, bytes).map_err(|error| Wrong::Machine(error.into()))?;
        let codec = match codec {
            // The case is UTF-8.
            Some(codec) => Decoding { charset: Charset::Utf8, ..codec.clone() },
            None => Decoding { format: DecodeFormat::Frames, ..Decoding::default() },
        };
        source.kind = SourceKind::File(FileSource::once(folder.to_owned(), file, codec));
    }
    if mistakes.is_empty() { Ok(config) } else { Err(Wrong::Case(mistakes)) }
}

/// The records of a case that enter behind the sources, as letters to the nodes that they enter; and
/// how many there are in all.
pub(super) fn letters(
    prepared: &Prepared,
    named: &Named,
) -> Result<(Vec<Letter>, usize), Vec<Mistake>> {
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
    let (node, input) = node_and_port(&entering.to.value);
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

//! `pipehost dead-letter replay`.

use anyhow::anyhow;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Live;
use super::Selection;
use super::claim::{Claim, Divided};
use super::live::{self, Run};
use crate::error::{Error, print};
use crate::runtime::Threads;
use crate::signals::signals;
use crate::summary::number;
use crate::{load, remote};
use pipehost_config::{At, Config, DeadLetters as Settings, OnError, SinkKind, WhenLettersFull};
use pipehost_observe::log::stderr;
use pipehost_pipeline::dead_letter::{self, DeadLetters, LetterReader};
use pipehost_pipeline::prepare::{Environment, Options, ToReplay, prepare};
use pipehost_pipeline::state::{self, Store};
use pipehost_record::Letter;
use pipehost_record::foreign::Foreign;

pub(super) fn replay(
    file: &Path,
    pipeline: &Path,
    selection: &Selection,
    live: &Live,
) -> Result<u8, Error> {
    let mut loaded = load::file(pipeline)?;
    let known = std::mem::take(&mut loaded.mistakes);
    let config = loaded.config.clone();
    let theirs = config.dead_letters.as_ref().map(|letters| &letters.value.path);
    let running = theirs.map(|path| live::writing(path, live)).transpose()?.flatten();
    if let (Some(run), Some(theirs)) = (&running, theirs) {
        return into_a_run(run, file, same_file(theirs, file), selection, live);
    }
    cut_back(&config)?;
    // Lock both files against other writers: the one that is replayed, and the one that another run
    // of the pipeline may be writing.
    let ours = Claim::locked(file.to_owned())?;
    let _theirs = match theirs.filter(|path| path.exists() && !same_file(path, file)) {
        Some(path) => Some(dead_letter::lock(path).map_err(Error::Failed)?),
        None => None,
    };
    let (sent, mut stay) = select(&ours, selection, &config)?;
    if sent.is_empty() {
        return print(b"no letters to replay\n");
    }
    let refused = RefusedAgain::beside(file)?;
    let mut replayed = config.clone();
    for_replay(&mut replayed, &refused.path);
    let threads = Threads::new()?;
    let mut say = stderr::say;
    let failed = threads.control.block_on(async {
        let mut known = known;
        remote::fetch(&mut replayed, Some(pipeline), &mut known).await;
        // No source is read.
        let environment = Environment::WithoutInputs;
        let options = Options { environment, ..load::options() };
        let mut prepared = prepare(replayed, known, options, &mut say)
            .await
            .map_err(|mistakes| loaded.render(&mistakes))?;
        prepared.replay = Some(ToReplay::Alone(sent.clone()));
        let (_send, stops) = signals()?;
        let started = threads.work.spawn(pipehost_pipeline::start(prepared)).await;
        let running = started
            .map_err(|panic| Error::Failed(anyhow!("the pipeline did not start: {panic}")))?
            .map_err(Error::Failed)?;
        let ending = running.finish(stops).await;
        Ok::<_, Error>(match (ending.failure, ending.stopped_by) {
            (Some(failure), _) => Some(failure),
            (None, Some(_)) => Some(anyhow!("it was stopped")),
            (None, None) => None,
        })
    })?;
    threads.end();
    if let Some(failure) = failed {
        return Err(Error::Failed(anyhow!(
            "{failure}\nno letter was taken out of {}; what has reached a sink will reach it again \
             with the next replay",
            file.display()
        )));
    }
    let again = refused.letters(&sent)?;
    let (went, other) = (sent.len().saturating_sub(again.len()), stay.len());
    let refused_again = again.len();
    stay.extend(again);
    ours.rewrite(&stay)?;
    let mut text = format!(
        "{} replayed: {} went through, {} refused again\n",
        letters(sent.len()),
        number(went as u64),
        number(refused_again as u64),
    );
    if other > 0 {
        text.push_str(&format!("{} not replayed\n", letters(other)));
    }
    print(text.as_bytes())
}

pub(super) fn letters(count: usize) -> String {
    match count {
        1 => "1 letter".to_owned(),
        n => format!("{} letters", number(n as u64)),
    }
}

/// Truncates what a killed run wrote after its last checkpoint: the next run will write it again.
fn cut_back(config: &Config) -> Result<(), Error> {
    let (Some(directory), Some(letters)) = (&config.state, &config.dead_letters) else {
        return Ok(());
    };
    if !state::exists(&directory.value) || !letters.value.path.exists() {
        return Ok(());
    }
    let (_store, checkpoint) = Store::open(&directory.value).map_err(Error::Failed)?;
    let position = checkpoint.and_then(|checkpoint| checkpoint.dead_letters);
    let opened = DeadLetters::open(&letters.value, &config.name, position.as_ref());
    opened.and_then(|letters| letters.begin()).map_err(Error::Failed)
}

fn same_file(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(a).is_some() && canonical(a) == canonical(b)
}

/// Splits the letters into those to send, and those that stay.
fn select(
    file: &Claim,
    selection: &Selection,
    config: &Config,
) -> Result<(Vec<Letter>, Vec<Letter>), Error> {
    let has = |name: &str| {
        config.sources.iter().any(|source| source.name.value == name)
            || config.stages.iter().any(|stage| stage.name.value == name)
            || config.sinks.iter().any(|sink| sink.name.value == name)
    };
    if let Some(stage) = selection.stage.as_ref().filter(|stage| !has(stage)) {
        return Err(Error::Usage(anyhow!("the pipeline has no source, stage or sink `{stage}`")));
    }
    let stays = |stage: &str| format!("the pipeline has no `{}`", Foreign::new(stage));
    Ok(divide(file.letters(selection)?, has, stays))
}

/// Divides letters into those to send and those that stay, and says why letters that were selected
/// stay.
fn divide(
    letters: Divided,
    takes: impl Fn(&str) -> bool,
    why: impl Fn(&str) -> String,
) -> (Vec<Letter>, Vec<Letter>) {
    let Divided { selected, mut others } = letters;
    let (sent, stay): (Vec<_>, Vec<_>) =
        selected.into_iter().partition(|(_, letter)| takes(&letter.stage));
    let names: BTreeSet<_> = stay.iter().map(|(_, letter)| letter.stage.clone()).collect();
    for name in names {
        stderr::say(&format!("note: {}; its letters stay where they are", why(&name)));
    }
    others.extend(stay);
    others.sort_by_key(|(number, _)| *number);
    let letters = |letters: Vec<(u64, Letter)>| letters.into_iter().map(|(_, letter)| letter);
    (letters(sent).collect(), letters(others).collect())
}

/// Letters that a run is asked about before its file is closed.
const CHECKED: usize = 1000;

/// Has a pipeline that runs take the letters of a file.
fn into_a_run(
    run: &Run,
    file: &Path,
    is_its_own: bool,
    selection: &Selection,
    live: &Live,
) -> Result<u8, Error> {
    if let Some(stage) = selection.stage.as_ref().filter(|stage| !run.has(stage)) {
        return Err(Error::Usage(anyhow!("the pipeline has no source, stage or sink `{stage}`")));
    }
    // Before the file is closed: a refusal changes nothing then.
    let first: Vec<Letter> = (1..)
        .zip(LetterReader::open(file).map_err(Error::Usage)?)
        .filter_map(|(number, letter)| Some(letter.ok()?).filter(|l| selection.has(number, l)))
        .filter(|letter| run.takes(&letter.stage))
        .take(CHECKED)
        .collect();
    run.check(&first)?;
    let claim = match is_its_own {
        true => Claim::of(file, selection, live)?,
        false => Some(Claim::locked(file.to_owned())?),
    };
    let Some(claim) = claim else { return print(b"no letters to replay\n") };
    let stays = |stage: &str| {
        format!("while it runs, the pipeline takes no letters of `{}`", Foreign::new(stage))
    };
    let (sent, stay) = divide(claim.letters(selection)?, |name| run.takes(name), stays);
    if sent.is_empty() {
        return print(b"no letters to replay\n");
    }
    let mut done = 0;
    while done < sent.len() {
        let went = run.replay(&sent[done..]).map_err(|error| match error {
            // It was refused, and nothing was sent of these.
            Error::Usage(why) => Error::Failed(anyhow!(
                "{why:#}\n{} of {} went through, and left {}",
                number(done as u64),
                letters(sent.len()),
                claim.file.display()
            )),
            error => Error::Failed(anyhow!(
                "{}\n{} of {} went through for certain, and left {}; of the others, some may have \
                 reached a sink, and reach it again with the next replay",
                error.reason(),
                number(done as u64),
                letters(sent.len()),
                claim.file.display()
            )),
        })?;
        done += went;
        // What has gone through must not go again.
        claim.rewrite(sent[done..].iter().chain(&stay))?;
    }
    if stay.is_empty() && is_its_own {
        let _ = fs::remove_file(&claim.file); // Nothing is in it.
    }
    let mut text = format!(
        "{} replayed: what was refused again is in the dead letters of the pipeline\n",
        letters(done)
    );
    if !stay.is_empty() {
        let file = claim.file.display();
        text.push_str(&format!("{} not replayed, in {file}\n", letters(stay.len())));
    }
    print(text.as_bytes())
}

/// Changes a pipeline for a replay: it keeps rejected records, and appends to its files.
fn for_replay(config: &mut Config, letters: &Path) {
    config.dead_letters = Some(At::nowhere(Settings {
        max_bytes: u64::MAX,
        rotate_bytes: u64::MAX,
        when_full: WhenLettersFull::Fail,
        path: letters.to_owned(),
    }));
    let sources = config.sources.iter_mut().map(|source| &mut source.on_error);
    let stages = config.stages.iter_mut().map(|stage| &mut stage.on_error);
    let sinks = config.sinks.iter_mut().map(|sink| &mut sink.on_error);
    for on_error in sources.chain(stages).chain(sinks) {
        on_error.value = OnError::DeadLetter;
    }
    let keeps_state = config.state.is_some();
    for sink in &mut config.sinks {
        if let SinkKind::File(file) = &mut sink.kind {
            file.append = !(keeps_state && file.partition.is_some());
        }
    }
}

/// A file for records that are rejected again; removed when this is dropped.
struct RefusedAgain {
    path: PathBuf,
}

impl RefusedAgain {
    fn beside(file: &Path) -> Result<Self, Error> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".replay");
        let path = file.with_file_name(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Failed(anyhow!("cannot remove {}: {error}", path.display())))
            }
            _ => Ok(Self { path }),
        }
    }

    /// The letters in it, with the pipeline and the earlier attempts of the letters that were sent.
    fn letters(&self, sent: &[Letter]) -> Result<Vec<Letter>, Error> {
        let key = |letter: &Letter| (letter.stage.clone(), letter.place.clone(), letter.number);
        let before: HashMap<_, _> = sent.iter().map(|letter| (key(letter), letter)).collect();
        let reader = LetterReader::open(&self.path).map_err(Error::Failed)?;
        reader
            .map(|letter| {
                let mut letter = letter.map_err(Error::Failed)?;
                if let Some(before) = before.get(&key(&letter)) {
                    letter.attempts = letter.attempts.saturating_add(before.attempts);
                    letter.pipeline.clone_from(&before.pipeline);
                }
                Ok(letter)
            })
            .collect()
    }
}

impl Drop for RefusedAgain {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

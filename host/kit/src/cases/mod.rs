//! Runs test cases of a stage: each several times, with its records divided into batches in another
//! way, so that a stage whose answer depends on that is found.

mod bless;
mod difference;
mod division;
mod run;
mod tcp;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use pipehost_config::case::{Case, Expected, numbered};
use pipehost_config::mistake;
use pipehost_record::Record;
use pipehost_sandbox::compile::Source;
use pipehost_sandbox::engine::Engine;

pub use difference::of_records as difference_of;
use division::Division;
pub use run::Came;
use run::Subject;

/// Room for instances that running a case needs: those that share the keys, and those that describe
/// the stage and open it.
pub const INSTANCES: u32 = 4 + 4;

/// A case, and where it comes from.
#[derive(Debug, Clone)]
pub struct Named {
    /// The path of its file, or its name among those that come with the program.
    pub name: String,
    pub text: String,
    pub case: Case,
}

/// Why cases cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// Mistakes in them, rendered.
    Mistakes(String),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Unreadable {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Reads the cases of a folder: its files that end with `.toml`, by name.
///
/// # Errors
/// If there are none, or one has mistakes: every mistake of all files.
pub fn of_folder(folder: &Path) -> Result<Vec<Named>, Unreadable> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the cases in {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        let folder = folder.display();
        let why = anyhow!("there is no case in {folder}: a case is a file such as first.toml");
        return Err(why.into());
    }
    let (mut cases, mut mistakes) = (Vec::new(), String::new());
    for path in paths {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match read(&path.display().to_string(), text) {
            Ok(case) => cases.push(case),
            Err(Unreadable::Mistakes(told)) => mistakes.push_str(&told),
            Err(other) => return Err(other),
        }
    }
    if mistakes.is_empty() { Ok(cases) } else { Err(Unreadable::Mistakes(mistakes)) }
}

/// Reads one case.
///
/// # Errors
/// Every mistake in it.
pub fn read(name: &str, text: String) -> Result<Named, Unreadable> {
    let (case, mistakes) = pipehost_config::read_case(&text);
    if !mistakes.is_empty() {
        return Err(Unreadable::Mistakes(mistake::render(&mistakes, Path::new(name), &text, true)));
    }
    Ok(Named { name: name.to_owned(), text, case })
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Records that went in.
    pub records: usize,
    /// In how many divisions into batches it was run.
    pub divisions: usize,
    /// What is wrong, for the author; `None` if it passed.
    pub complaint: Option<String>,
    /// Whether it would pass if it expected what came.
    pub can_be_blessed: bool,
    /// What came out, record by record.
    pub came: Came,
}

/// Runs a case.
///
/// # Errors
/// If the component cannot be loaded: then no case can be run.
pub async fn run(engine: &Arc<Engine>, source: &Source, case: &Case) -> Result<Verdict> {
    let subject = Subject::load(engine, source, case).await?;
    let records = division::records(&case.steps);
    let keeps_by_key = subject.keeps_by_key(case).await;
    let divisions = Division::all(records, subject.has_checkpoint(), keeps_by_key);
    let mut first: Option<(Division, Came)> = None;
    let mut complaint = None;
    let count = divisions.len();
    for division in divisions {
        let came = match subject.run(case, division).await {
            Ok(came) => came,
            Err(why) => {
                return Ok(Verdict {
                    records,
                    divisions: count,
                    complaint: Some(format!("{why:#}")),
                    can_be_blessed: false,
                    came: Came::default(),
                });
            }
        };
        let Some((as_first, expected)) = &first else {
            first = Some((division, came));
            continue;
        };
        if let Some(difference) = difference::of_divisions(expected, &came, division.shares) {
            complaint = Some(format!(
                "what comes out depends on how the records are divided into batches:\n\
                 - {as_first}\n+ {division}\n{difference}"
            ));
            break;
        }
    }
    let (_, came) = first.expect("there is one division at least");
    let can_be_blessed = complaint.is_none() && came.failed.is_none();
    // What does not pass whatever is expected is said first.
    let complaint = complaint.or_else(|| difference::of_expectation(case, &came));
    Ok(Verdict { records, divisions: count, complaint, can_be_blessed, came })
}

/// The text of a case with what came out as what is expected. The rest stays as it is.
///
/// # Errors
/// If the text is not TOML, which a case that was read is.
pub fn blessed(named: &Named, verdict: &Verdict) -> Result<String> {
    bless::blessed(&named.text, &verdict.came)
}

/// The records that are expected on a port, in order.
fn expected_on<'c>(case: &'c Case, port: &'c str, default: bool) -> Vec<Record> {
    let fits = |expected: &&Expected| match &expected.port {
        Some(name) => name == port,
        None => default,
    };
    (case.output.iter().filter(fits))
        .flat_map(|expected| {
            (1..=expected.times).map(|n| numbered(&expected.record, expected.times, n))
        })
        .collect()
}

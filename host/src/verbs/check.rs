//! `pipehost check`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::error::{Error, print};
use crate::load::{Loaded, PipelineArgs, STDIN};
use crate::runtime::runtime;
use pipehost_config::mistake::{Mistake, line_and_column};
use pipehost_config::secret;
use pipehost_observe::log::stderr;
use pipehost_pipeline::prepare::Environment;
use pipehost_record::foreign::Foreign;

pub const ABOUT: &str = "\
Check a pipeline without running it, and report every mistake.

Components are compiled, described and opened with their configuration. Inputs and folders must be
there, except with --no-environment. A stage or template that reads an attribute which no node before it makes is a warning.

`-` reads a pipeline from stdin; its relative paths then start here.

Exits with 2 if there is a mistake, also in one of several pipelines.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// More pipelines to check: the mistakes of all are told.
    #[arg(value_name = "PIPELINE.toml")]
    more: Vec<PathBuf>,
    /// Look for neither inputs nor folders: for a machine that the pipeline does not run on, such as
    /// one of a CI service.
    #[arg(long)]
    no_environment: bool,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, on stderr.
    Text,
    /// One array of objects on stdout: `file`, `line`, `column`, `end_line`, `end_column`, `level`
    /// (`error` or `warning`), `message` and `help`.
    Json,
    /// Annotations of GitHub Actions, which Gitea and Forgejo know too, on stdout.
    Github,
}

/// Something that is reported.
struct Finding {
    file: PathBuf,
    /// Line and column where it begins and ends, from 1; what is about no place has none.
    place: Option<((usize, usize), (usize, usize))>,
    is_error: bool,
    message: String,
    help: Option<String>,
}

pub fn check(args: &Args) -> Result<u8, Error> {
    let more = args.more.iter().map(|file| args.pipeline.with_file(file));
    let pipelines: Vec<_> = std::iter::once(args.pipeline.clone()).chain(more).collect();
    if pipelines.iter().filter(|one| one.file() == Some(Path::new(STDIN))).count() > 1 {
        return Err(Error::Usage(anyhow!("stdin can be read once: `-` is there several times")));
    }
    let environment = match args.no_environment {
        true => Environment::Elsewhere,
        false => Environment::Whole,
    };
    let (mut code, mut findings) = (0, Vec::new());
    for pipeline in &pipelines {
        let checked = match args.format {
            Format::Text => check_one(pipeline, environment),
            Format::Json | Format::Github => find(pipeline, environment, &mut findings),
        };
        code = code.max(match checked {
            Ok(code) => code,
            Err(error) if pipelines.len() == 1 => return Err(error),
            Err(Error::ClosedPipe) => return Err(Error::ClosedPipe),
            Err(error) => {
                stderr::fail(&error.text());
                error.code()
            }
        });
    }
    let text = match args.format {
        Format::Text => return Ok(code),
        Format::Json => {
            let all: Value = findings.iter().map(Finding::json).collect();
            format!("{}\n", Foreign::json(&format!("{all:#}")))
        }
        Format::Github => findings.iter().map(Finding::annotation).collect(),
    };
    print(text.as_bytes())?;
    Ok(code)
}

fn check_one(pipeline: &PipelineArgs, environment: Environment) -> Result<u8, Error> {
    let (loaded, prepared) = runtime()?.block_on(pipeline.check(environment))?;
    let prepared = prepared.map_err(|mistakes| loaded.render(&mistakes))?;
    if !prepared.warnings.is_empty() {
        stderr::warn(&loaded.render_warnings(&prepared.warnings));
    }
    let config = &prepared.config;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let warnings = match prepared.warnings.len() {
        0 => String::new(),
        n => format!("; {}", count(n, "warning")),
    };
    print(
        format!(
            "{}: no mistakes ({}, {}, {}){warnings}\n",
            Foreign::new(&config.name),
            count(config.sources.len(), "source"),
            count(config.stages.len(), "stage"),
            count(config.sinks.len(), "sink")
        )
        .as_bytes(),
    )
}

/// Adds what there is to report; returns the exit code.
fn find(
    pipeline: &PipelineArgs,
    environment: Environment,
    findings: &mut Vec<Finding>,
) -> Result<u8, Error> {
    let checked = runtime()?.block_on(pipeline.check(environment));
    let (loaded, prepared) = match (checked, pipeline.file()) {
        (Ok(checked), _) => checked,
        // What cannot be read has no place.
        (Err(error), Some(file)) => {
            findings.push(Finding::of_file(file, &error));
            return Ok(error.code());
        }
        (Err(error), None) => return Err(error),
    };
    let (mistakes, is_error) = match prepared {
        Ok(prepared) => (prepared.warnings, false),
        Err(mistakes) => (mistakes, true),
    };
    let mut found: Vec<_> =
        mistakes.iter().map(|mistake| Finding::of(&loaded, mistake, is_error)).collect();
    found.sort_by_key(|finding| finding.place);
    findings.extend(found);
    Ok(if is_error { 2 } else { 0 })
}

impl Finding {
    fn of(loaded: &Loaded, mistake: &Mistake, is_error: bool) -> Self {
        let place = |at| line_and_column(&loaded.text, at);
        Self {
            file: loaded.path.clone(),
            place: mistake.span.as_ref().map(|span| (place(span.start), place(span.end))),
            is_error,
            message: secret::in_urls(&mistake.message),
            help: mistake.help.as_deref().map(secret::in_urls),
        }
    }

    fn of_file(file: &Path, error: &Error) -> Self {
        let message = anstream::adapter::strip_str(&error.text()).to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
        Self { file: file.to_owned(), place: None, is_error: true, message, help: None }
    }

    fn level(&self) -> &'static str {
        if self.is_error { "error" } else { "warning" }
    }

    fn json(&self) -> Value {
        let (begin, end) = self.place.unzip();
        json!({
            "file": self.file.display().to_string(),
            "line": begin.map(|(line, _)| line),
            "column": begin.map(|(_, column)| column),
            "end_line": end.map(|(line, _)| line),
            "end_column": end.map(|(_, column)| column),
            "level": self.level(),
            "message": self.message,
            "help": self.help,
        })
    }

    /// <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>
    fn annotation(&self) -> String {
        let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        let file = property(&self.file.display().to_string());
        let place = match self.place {
            Some(((line, column), (end_line, end_column))) => {
                format!(",line={line},endLine={end_line},col={column},endColumn={end_column}")
            }
            None => String::new(),
        };
        let help = self.help.as_ref().map(|help| format!("\nhelp: {help}"));
        let message = data(&format!("{}{}", self.message, help.unwrap_or_default()));
        Foreign::new(&format!("::{} file={file}{place}::{message}", self.level())).to_string()
            + "\n"
    }
}

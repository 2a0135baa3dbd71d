//! The command line: one file a verb.

mod bench;
mod closed;
mod dead_letter;
mod graph;
mod inspect;
mod load;
mod logging;
mod progress;
mod replay;
mod run;
mod state;
mod stderr;
mod summary;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::foreign::Foreign;

/// Runs data pipelines whose stages are sandboxed WebAssembly components.
///
/// A pipeline is a TOML file: sources, stages, sinks. A stage is a component built by
/// anyone, in any language; it gets the columns that it asks for, under limits of fuel,
/// time and memory, and nothing else: no files, no network, no environment.
#[derive(Debug, Parser)]
#[command(name = "pipehost", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the pipeline failed; 2 a mistake in the usage or the configuration;
124 the deadline passed; 130 and 143 stopped by SIGINT and SIGTERM.";

const RUN: &str = "\
Run a pipeline until its sources end, and print a summary.

The pipeline is a file, or a chain of plugins between stdin and stdout:

    pipehost run pipeline.toml

    pipehost run --plugin parse-log.wasm --plugin filter.wasm \\
        --set filter.level=ERROR < in.log > out.log";

const BENCH: &str = "\
Measure a pipeline or a component: sandboxed, and native where there is such a stage.

Runs the pipeline several times, in turn sandboxed, with the native ones of pipehost's own
stages, and sandboxed once more as a control: times on a shared machine mean little, the
ratios of one command do, and the control says how much. Then it runs at a fixed rate, and
says how long records take from when they were due until they are written. What the pipeline
has made is left as it is: files are written beside theirs and removed, what goes to stdout
is thrown away, and a state directory is not used.

    pipehost bench pipeline.toml

    pipehost bench plugins/filter --set field=value --set contains=ERROR --input in.log";

#[derive(Debug, Args)]
struct BenchArgs {
    /// A pipeline whose sources end; or a `.wasm`, a `.wat` or the folder of a crate, which
    /// gets lines and is followed by nothing.
    #[arg(value_name = "PIPELINE.toml|COMPONENT")]
    target: PathBuf,
    /// A member of the component's configuration.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Lines for the component, instead of made-up ones of a log.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How many lines are made up.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, conflicts_with = "input")]
    records: u64,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Records a second at which latency is measured [default: half of what the pipeline can do]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// For how many seconds latency is measured, if the records last so long.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// As JSON, in seconds and bytes.
    #[arg(long)]
    json: bool,
    /// Draw a picture, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let valid = rate.is_finite() && rate > 0.0;
    if valid { Ok(rate) } else { Err("it must be more than 0".to_owned()) }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a pipeline until its sources end, and print a summary.
    #[command(long_about = RUN, after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Do everything short of running: find every mistake in a pipeline.
    Check(PipelineArgs),
    /// Draw a pipeline.
    Graph {
        /// The pipeline.
        #[arg(value_name = "PIPELINE.toml")]
        pipeline: PathBuf,
        #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
        format: GraphFormat,
    },
    /// Show what a component is: description, configuration, ports, imports, grants.
    Inspect {
        /// A `.wasm`, a `.wat` or the folder of a crate.
        component: PathBuf,
        /// A member of its configuration, to see the ports that it then has.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// Measure a pipeline or a component: sandboxed, and native where there is such a stage.
    #[command(long_about = BENCH)]
    Bench(BenchArgs),
    /// Read a file of dead letters: records that were refused, and why.
    #[command(subcommand)]
    DeadLetter(DeadLetterVerb),
    /// Look into a state directory, or empty it.
    #[command(subcommand)]
    State(StateVerb),
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the man page.
    Man,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// For a terminal.
    Text,
    /// For Markdown pages: https://mermaid.js.org
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Which pipeline, and what of it is overridden.
#[derive(Debug, Args)]
struct PipelineArgs {
    /// The pipeline; its relative paths start from its own folder.
    #[arg(
        value_name = "PIPELINE.toml",
        required_unless_present = "plugins",
        conflicts_with = "plugins"
    )]
    pipeline: Option<PathBuf>,
    /// A stage between stdin and stdout, instead of a file: a `.wasm`, a `.wat` or the
    /// folder of a crate. Several make a chain. Its name is the file's, without ending.
    #[arg(long = "plugin", value_name = "COMPONENT")]
    plugins: Vec<PathBuf>,
    /// Set a member of a stage's configuration: a TOML value, or else a text.
    #[arg(long = "set", value_name = "STAGE.NAME=VALUE")]
    set: Vec<String>,
    /// Workers of each stage.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Fuel of each call, whatever its records (about one unit an instruction).
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Time of each call.
    #[arg(long, value_name = "200ms", value_parser = crate::quantity::duration)]
    timeout: Option<std::time::Duration>,
    /// Memory of each instance.
    #[arg(long, value_name = "32MiB", value_parser = crate::quantity::bytes)]
    memory: Option<u64>,
    /// Keep rejected records in this file; without it, the first ends a --plugin run.
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Serve Prometheus metrics at /metrics, /healthz and /readyz, and a CPU profile of the host
    /// for pprof at /debug/pprof/profile?seconds=N.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<std::net::SocketAddr>,
    /// Write what the stages spent their time in, for <https://profiler.firefox.com>: a track
    /// for each, with the functions of its component. Costs some speed.
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// How to write the log, which goes to stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Write more to the log: why instances failed.
    #[arg(short, long)]
    verbose: bool,
    /// Neither progress nor summary; of the log, warnings alone.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum DeadLetterVerb {
    /// A line a letter.
    List { file: PathBuf },
    /// Everything about one letter, or about all.
    Show {
        file: PathBuf,
        /// Its number in the list, from 1.
        number: Option<u64>,
    },
    /// Send records back in at the stage that refused them.
    ///
    /// Those that go through leave the file; those that are refused again stay, with their
    /// attempts counted. The pipeline's sources are not read; its files are appended to.
    Replay {
        file: PathBuf,
        /// The pipeline that refused them, or one with the same stages.
        #[arg(long, value_name = "PIPELINE.toml")]
        pipeline: PathBuf,
        /// Only letters of this source or stage.
        #[arg(long, value_name = "NAME")]
        stage: Option<String>,
        /// Only letters whose reason has this text in it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Write the records to stdout.
    Export {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
        format: ExportFormat,
    },
}

#[derive(Debug, Subcommand)]
enum StateVerb {
    /// Show the last checkpoint: where each source, stage and sink was.
    Show {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// As JSON, with the positions in full.
        #[arg(long)]
        json: bool,
    },
    /// Remove the state, so that the next run begins anew; or that of one node alone.
    Reset {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// A source, stage or sink: it begins anew, the others go on. What a stage held is
        /// lost.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// An object a line: the record, and why it was refused.
    Json,
    /// The values, a line each.
    Lines,
    /// The records as frames, which `codec = "frames"` reads.
    Frames,
}

/// Why a command ended without doing its work.
#[derive(Debug)]
enum Error {
    /// Something the user typed; already complete, printed as it is.
    Mistakes(String),
    Usage(String),
    Failed(String),
    /// Nobody reads what is printed any more.
    ClosedPipe,
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Runs the command, and says with what to exit.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => run::check(args),
        Verb::Bench(args) => bench::bench(&args),
        Verb::Graph { pipeline, format } => graph::graph(&pipeline, format),
        Verb::Inspect { component, set } => inspect::inspect(&component, &set),
        Verb::DeadLetter(verb) => dead_letter::dead_letter(verb),
        Verb::State(verb) => state::state(verb),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pipehost", &mut script);
            print(&script)
        }
        Verb::Man => man(),
    };
    let (message, code) = match result {
        Ok(code) => return ExitCode::from(code),
        Err(Error::ClosedPipe) => return ExitCode::SUCCESS,
        Err(Error::Mistakes(text)) => (text, 2),
        Err(Error::Usage(text)) => (error_line(&text), 2),
        Err(Error::Failed(text)) => (error_line(&text), 1),
    };
    stderr::say(&message);
    ExitCode::from(code)
}

fn error_line(text: &str) -> String {
    let style = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::BrightRed.into()));
    format!("{style}error{style:#}: {}", Foreign::new(text).whole().lines())
}

/// Prints to stdout and says with what to exit.
fn print(bytes: &[u8]) -> Result<u8, Error> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(0)
}

/// One page: the program's, and behind it those of its verbs.
fn man() -> Result<u8, Error> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    verbs(&command, "PIPEHOST", &mut page)?;
    print(&page)
}

/// The sections of a command's verbs, and of theirs.
fn verbs(command: &clap::Command, name: &str, page: &mut Vec<u8>) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{name} {}", verb.get_name().to_uppercase());
        let man = clap_mangen::Man::new(verb.clone());
        page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        verbs(verb, &name, page)?;
    }
    Ok(())
}

//! The command line: the verbs, each in a file of its own.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::verbs::{
    bench, build, check, completions, dead_letter, dev, graph, inspect, man, new, registry, run,
    schema, stages, state, tap, test, top,
};

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

pub const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the pipeline failed; 2 a mistake in the usage or the configuration;
124 the deadline passed; 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a pipeline until its sources end, and print a summary.
    #[command(long_about = run::ABOUT, after_help = EXIT_CODES)]
    Run(run::Args),
    /// Show what a pipeline that runs does now: rates, lags, waits, the bottleneck.
    #[command(long_about = top::ABOUT)]
    Top(top::Args),
    /// Show the records that pass a node of a pipeline that runs.
    #[command(long_about = tap::ABOUT)]
    Tap(tap::Args),
    /// Check a pipeline without running it, and report every mistake.
    #[command(long_about = check::ABOUT)]
    Check(check::Args),
    /// Draw a pipeline.
    Graph(graph::Args),
    /// Show a component: its description, configuration, ports, imports and grants.
    Inspect(inspect::Args),
    /// Make a folder with a new stage: its source, a unit test, test cases, a README.
    New(new::Args),
    /// Build a stage, and show what it exports, imports and may use.
    Build(build::Args),
    /// Run the test cases of a stage or of a pipeline.
    #[command(long_about = test::ABOUT)]
    Test(test::Args),
    /// Build a stage at each change, and replace it in a pipeline that runs.
    #[command(long_about = dev::ABOUT)]
    Dev(dev::Args),
    /// Run the test cases that every SDK must pass, with a stage that is written with it.
    Conformance(test::ConformanceArgs),
    /// Put a component into a registry, and say its digest.
    Push(registry::PushArgs),
    /// Get a component from a registry.
    Pull(registry::PullArgs),
    /// Keep which components the tags of a pipeline mean.
    #[command(long_about = registry::ABOUT_LOCK)]
    Lock(registry::LockArgs),
    /// List the stages that come with pipehost; `pipehost inspect NAME` says more of each.
    Stages,
    /// Print the JSON Schema of a pipeline's file, for editors.
    Schema,
    /// Measure a pipeline or a component: sandboxed, and native where there is such a stage.
    #[command(long_about = bench::ABOUT)]
    Bench(bench::Args),
    /// Read a file of dead letters: rejected records, and the reasons.
    #[command(subcommand)]
    DeadLetter(dead_letter::Verb),
    /// Show a state directory, or reset it.
    #[command(subcommand)]
    State(state::Verb),
    /// Print completions for a shell.
    Completions(completions::Args),
    /// Print the man page.
    Man,
}

/// Runs the command, and returns the exit code.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.verb {
        Verb::Run(args) => run::run(args, None),
        Verb::Top(args) => top::top(&args),
        Verb::Tap(args) => tap::tap(&args),
        Verb::Check(args) => check::check(&args),
        Verb::Graph(args) => graph::graph(&args),
        Verb::Inspect(args) => inspect::inspect(&args),
        Verb::New(args) => new::new(&args),
        Verb::Build(args) => build::build(&args),
        Verb::Test(args) => test::test(&args),
        Verb::Dev(args) => dev::dev(args),
        Verb::Conformance(args) => test::conformance(&args),
        Verb::Push(args) => registry::push(&args),
        Verb::Pull(args) => registry::pull(&args),
        Verb::Lock(args) => registry::lock(&args),
        Verb::Stages => stages::stages(),
        Verb::Schema => schema::schema(),
        Verb::Bench(args) => bench::bench(&args),
        Verb::DeadLetter(verb) => dead_letter::dead_letter(verb),
        Verb::State(verb) => state::state(verb),
        Verb::Completions(args) => completions::completions(&args, Cli::command()),
        Verb::Man => man::man(Cli::command()),
    };
    result.map_or_else(crate::error::Error::report, ExitCode::from)
}

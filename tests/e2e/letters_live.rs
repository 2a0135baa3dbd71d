//! Dead letters and the state of a pipeline that runs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Case, Pipeline, Ran, letters, stop};

/// A run that parses lines from stdin, keeps the others as dead letters, and writes to stdout.
struct Run {
    case: Case,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Run {
    fn new(settings: &str) -> Self {
        Self::of(parsing(settings))
    }

    fn of(pipeline: Pipeline) -> Self {
        Self::with(&[], pipeline)
    }

    fn with(arguments: &[&str], pipeline: Pipeline) -> Self {
        Self::started(Case::new(), arguments, pipeline)
    }

    fn started(case: Case, arguments: &[&str], pipeline: Pipeline) -> Self {
        let case = case.controlled().file("pipeline.toml", pipeline.to_string());
        let mut command = case.command(&[&["run", "pipeline.toml"], arguments].concat());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { case, child, out }
    }

    fn give(&mut self, lines: &str) {
        self.child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    /// The next line that it writes.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Waits until so many letters are in a file.
    fn wait_for_letters(&self, file: &str, count: usize) {
        while !self.case.path(file).exists() || letters(&self.case, file).len() != count {}
    }

    fn dead_letter(&self, arguments: &[&str]) -> Ran {
        self.case.run(&[&["dead-letter"], arguments].concat())
    }

    /// Edits letters with a program of `sed`.
    fn edit(&self, file: &str, program: &str) -> Ran {
        let mut command: Command = self.case.command(&["dead-letter", "edit", file]);
        command.env("EDITOR", format!("sed -i '{program}'")).env_remove("VISUAL");
        self.case.run_command(command)
    }

    fn stop(self) {
        stop(self.child, Signal::TERM).code(143);
    }
}

fn parsing(settings: &str) -> Pipeline {
    Pipeline::with(&format!("dead_letters = \"dead\"\n{settings}"))
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("parse", "parse-log", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "")
}

const GOOD: &str = "2026-11-30T10:00:00Z INFO good\n";
const REPLAY: [&str; 3] = ["replay", "--pipeline", "pipeline.toml"];
/// Without checkpoints, and with them.
const SETTINGS: [&str; 2] = ["", "state = \"state\"\ncheckpoint_interval = \"20ms\""];

#[test]
fn letters_are_mended_and_go_into_the_pipeline_that_runs() {
    for settings in SETTINGS {
        let mut run = Run::new(settings);
        run.give(&format!("bad\nworse\n{GOOD}"));
        assert_eq!(run.line(), "good\n");
        run.wait_for_letters("dead", 2);
        // The pipeline goes on with a new file while the letters are edited.
        run.edit("dead", "s/\"bad\"/\"2026-11-30T10:00:00Z INFO mended\"/")
            .ok()
            .says("the pipeline runs: it goes on with a new dead, and its letters are in ")
            .prints("1 letter changed, 0 letters discarded\n");
        assert_eq!(letters(&run.case, "dead"), []);
        run.dead_letter(&[&REPLAY[..], &["dead.1"]].concat()).ok().prints(
            "2 letters replayed: what was refused again is in the dead letters of the pipeline\n",
        );
        assert_eq!(run.line(), "mended\n");
        run.wait_for_letters("dead", 1);
        assert_eq!(letters(&run.case, "dead.1"), [], "what has gone through does not go again");
        assert_eq!(letters(&run.case, "dead")[0].value, "worse");
        // It goes on as before.
        run.give(GOOD);
        assert_eq!(run.line(), "good\n");
        // Its own file is closed first, though not for letters that are not there.
        let none = [&REPLAY[..], &["dead", "--reason", "nothing says this"]].concat();
        run.dead_letter(&none).ok().prints("no letters to replay\n");
        assert!(!run.case.path("dead.2").exists());
        run.dead_letter(&[&REPLAY[..], &["dead"]].concat())
            .ok()
            .says("its letters are in ")
            .prints("1 letter replayed: what was refused again is in the dead letters of the pipeline\n");
        run.wait_for_letters("dead", 1);
        assert!(!run.case.path("dead.2").exists(), "nothing is left in it");
        run.give(GOOD);
        assert_eq!(run.line(), "good\n");
        run.stop();
    }
}

#[test]
fn what_is_replayed_while_it_runs_is_chosen() {
    let mut run = Run::new("");
    run.give(&format!("bad\nworse\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 2);
    let none = [&REPLAY[..], &["dead", "--stage", "other"]].concat();
    run.dead_letter(&none).code(2).says("the pipeline has no source, stage or sink `other`");
    // A number may mean another letter by the time that it is read.
    let first = [&REPLAY[..], &["dead", "--number", "1"]].concat();
    run.dead_letter(&first)
        .code(2)
        .says("a number may soon mean another letter: choose with --stage");
    run.edit("dead", "").ok();
    let one = [&REPLAY[..], &["dead.1", "--number", "2"]].concat();
    let text = "1 letter replayed: what was refused again is in the dead letters of the pipeline\n\
                1 letter not replayed, in dead.1\n";
    run.dead_letter(&one).ok().prints(text);
    run.wait_for_letters("dead", 1);
    assert_eq!(letters(&run.case, "dead.1")[0].value, "bad");
    run.stop();
}

#[test]
fn letters_are_counted_by_stage_and_kind_of_reason() {
    let mut run = Run::new("");
    run.give(&format!("a1 x\nb2 x\n2026-11-30T10:00:00Z\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 3);
    let expected = "2  parse  \"…\" is not an RFC # time\n1  parse  no level after the time\n";
    run.dead_letter(&["count", "dead"]).ok().prints(expected);
    run.dead_letter(&["count", "dead", "--reason", "level"])
        .ok()
        .prints("1  parse  no level after the time\n");
    run.dead_letter(&["count", "dead", "--stage", "no"])
        .ok()
        .prints("no dead letters that match\n");
    let listed = run.dead_letter(&["list", "dead", "--number", "2"]).ok().stdout;
    assert!(listed.starts_with("    2  ") && listed.lines().count() == 1, "{listed}");
    run.stop();
}

#[test]
fn letters_are_discarded_only_if_somebody_says_which() {
    for settings in SETTINGS {
        let mut run = Run::new(settings);
        run.give(&format!("bad x\nworse x\nworst x\n{GOOD}"));
        run.line();
        run.wait_for_letters("dead", 3);
        run.dead_letter(&["discard", "dead"])
            .code(2)
            .says("say which: --stage, --reason, --number, or --all");
        run.dead_letter(&["discard", "dead", "--all", "--number", "1"])
            .code(2)
            .says("--all does not go with --stage, --reason and --number");
        run.dead_letter(&["discard", "dead", "--reason", ""]).code(2).says("a value is required");
        run.dead_letter(&["discard", "dead", "--reason", "\"worse\""])
            .ok()
            .prints("1 letter discarded, 2 letters left\n");
        let left: Vec<_> = letters(&run.case, "dead.1").into_iter().map(|l| l.value).collect();
        assert_eq!(left, ["bad x", "worst x"]);
        run.dead_letter(&["discard", "dead", "--all"]).ok().prints("no letters to discard\n");
        run.stop();
    }
}

#[test]
fn what_is_edited_wrongly_changes_nothing() {
    let mut run = Run::new("");
    run.give(&format!("bad\nworse\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 2);
    run.edit("dead", "").ok().prints("0 letters changed, 0 letters discarded\n");
    let wrong = |program: &str, why: &str| {
        run.edit("dead.1", program)
            .code(1)
            .says(why)
            .says("no letter was changed; what you wrote is in ");
        assert_eq!(letters(&run.case, "dead.1").len(), 2);
    };
    wrong("s/^{/[/", "line 1: ");
    wrong("s/\"letter\":2/\"letter\":7/", "line 2: there was no letter 7");
    wrong("s/\"letter\":2/\"letter\":1/", "line 2: the letter 1 is there twice");
    wrong("s/\"timestamp\":null/\"timestamp\":\"now\"/", "line 1: `timestamp` is no time");
    let mut command = run.case.command(&["dead-letter", "edit", "dead.1"]);
    command.env("EDITOR", "false").env_remove("VISUAL");
    run.case.run_command(command).code(1).says("`false` ended with exit status: 1: no letter");
    wrong("d", "there is no line left (`dead-letter discard` removes letters)");
    // A line that is removed discards its letter.
    run.edit("dead.1", "1d").ok().prints("0 letters changed, 1 letter discarded\n");
    assert_eq!(letters(&run.case, "dead.1")[0].value, "worse");
    run.stop();
}

#[test]
fn the_state_of_a_pipeline_that_runs_is_shown() {
    let mut run = Run::new(SETTINGS[1]);
    run.give(GOOD);
    run.line();
    let show = || run.case.run(&["state", "show", "state"]).ok().stdout;
    let shown = loop {
        let shown = show();
        if shown.contains("pipeline: checkpoint ") {
            break shown;
        }
        assert_eq!(shown, "no checkpoint yet\n");
    };
    assert!(shown.contains("  parse  stage   keeps no state\n"), "{shown}");
    let json = run.case.run(&["state", "show", "state", "--json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pipeline"], "pipeline");
    run.stop();
}

/// One bad letter must neither end the run nor be lost, whatever the nodes behind say.
#[test]
fn a_replay_ends_no_run_and_loses_no_letter() {
    for (state, on_error) in [("", "fail"), ("", "skip"), (SETTINGS[1], "fail")] {
        let pipeline = Pipeline::with(&format!("dead_letters = \"dead\"\n{state}"))
            .source("in", "stdin", r#"batch = { linger = "0s" }"#)
            .stage("parse", "parse-log", r#"on_error = "dead-letter""#)
            .stage("double", "double", &format!("on_error = \"{on_error}\""))
            .sink("out", "stdout", "");
        let mut run = Run::of(pipeline);
        run.give("bad x\n2026-11-30T10:00:00Z INFO 1\n");
        assert_eq!(run.line(), "2\n");
        run.wait_for_letters("dead", 1);
        run.edit("dead", "s/bad x/2026-11-30T10:00:00Z INFO nan/").ok();
        run.dead_letter(&[&REPLAY[..], &["dead.1"]].concat()).ok();
        run.wait_for_letters("dead", 1);
        assert_eq!(letters(&run.case, "dead")[0].value, "nan");
        run.give("2026-11-30T10:00:00Z INFO 2\n");
        assert_eq!(run.line(), "4\n");
        // Afterwards, each node does as it says again.
        run.give("2026-11-30T10:00:00Z INFO nan\n2026-11-30T10:00:00Z INFO 3\n");
        match on_error {
            "fail" => assert_eq!(run.child.wait().unwrap().code(), Some(1)),
            _ => {
                assert_eq!(run.line(), "6\n");
                assert_eq!(letters(&run.case, "dead").len(), 1);
                run.stop();
            }
        }
    }
}

/// What a file sink writes is there at the end of a run that keeps no state.
#[test]
fn a_replay_that_could_be_lost_is_refused() {
    let pipeline = Pipeline::with("dead_letters = \"dead\"")
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("parse", "parse-log", r#"on_error = "dead-letter""#)
        .sink("out", "file", "path = \"out.txt\"")
        .sink("shown", "stdout", "input = \"parse\"");
    let mut run = Run::of(pipeline);
    run.give(&format!("bad x\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 1);
    run.dead_letter(&[&REPLAY[..], &["dead"]].concat())
        .code(2)
        .says("the pipeline keeps no state, so that what its sink `out` has written is lost");
    assert!(!run.case.path("dead.1").exists(), "nothing is closed for it");
    run.stop();
}

/// A rotation that somebody asks for and that fails is no reason to end.
#[test]
fn a_file_that_was_moved_away_is_not_renamed() {
    for settings in SETTINGS {
        let mut run = Run::new(settings);
        run.give(&format!("bad x\n{GOOD}"));
        run.line();
        run.wait_for_letters("dead", 1);
        std::fs::rename(run.case.path("dead"), run.case.path("moved")).unwrap();
        std::fs::copy(run.case.path("moved"), run.case.path("dead")).unwrap();
        run.dead_letter(&["discard", "dead", "--all"])
            .code(2)
            .says("was moved or replaced while the pipeline writes it");
        assert_eq!(letters(&run.case, "moved").len(), 1);
        run.give(GOOD);
        assert_eq!(run.line(), "good\n");
        run.stop();
    }
}

#[test]
fn a_run_that_listens_elsewhere_is_asked_there() {
    let mut run = Run::with(&["--control", "x.sock"], parsing(""));
    run.give(&format!("bad x\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 1);
    run.dead_letter(&["discard", "dead", "--all"]).code(1).says("another run of pipehost uses");
    run.dead_letter(&["discard", "other", "--all", "--control", "x.sock"]).code(1);
    run.dead_letter(&["discard", "pipeline.toml", "--all", "--control", "x.sock"])
        .code(2)
        .says("does not use pipeline.toml");
    run.dead_letter(&["discard", "dead", "--all", "--control", "x.sock"]).ok();
    run.stop();
}

/// What a node is given that nobody reads any more is not written.
#[test]
fn a_replay_to_a_closed_pipe_takes_nothing_out() {
    // A second source keeps the run alive.
    let pipeline = parsing("").sink("other", "null", "input = \"parse\"");
    let mut run = Run::of(pipeline);
    run.give(&format!("bad x\n{GOOD}"));
    run.line();
    run.wait_for_letters("dead", 1);
    run.edit("dead", "s/bad x/2026-11-30T10:00:00Z INFO mended/").ok();
    drop(run.out);
    let replay = [&["dead-letter"], &REPLAY[..], &["dead.1"]].concat();
    run.case.run(&replay).code(1).says("nobody reads stdout any more");
    assert_eq!(letters(&run.case, "dead.1").len(), 1);
    stop(run.child, Signal::TERM).code(143);
}

/// A sink whose input has ended has completed its file.
#[test]
fn a_replay_to_a_sink_that_has_ended_is_refused() {
    let pipeline = Pipeline::with(&format!("dead_letters = \"dead\"\n{}", SETTINGS[1]))
        .source("once", "file", "paths = \"once.log\"")
        .stage("parse", "parse-log", r#"on_error = "dead-letter""#)
        .sink("out", "file", "path = \"out.txt\"")
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .sink("shown", "stdout", "");
    let case = Case::new().file("once.log", format!("bad x\n{GOOD}"));
    let mut run = Run::started(case, &[], pipeline);
    while !run.case.path("out.txt").exists() {}
    run.wait_for_letters("dead", 1);
    let replay = [&REPLAY[..], &["dead"]].concat();
    // It is known once the sink has ended, shortly after its file is there.
    loop {
        let ran = run.dead_letter(&replay);
        if ran.code == 2 {
            ran.says("the input of the sink `out` has ended, and what it writes is complete");
            break;
        }
        run.wait_for_letters("dead", 1);
    }
    run.give("on\n");
    assert_eq!(run.line(), "on\n", "the run goes on");
    run.stop();
}

/// Names that a sink asks for at a checkpoint are given before it is suspended.
#[test]
fn replays_of_a_sink_that_rotates_end_no_run() {
    let settings = "state = \"state\"\ncheckpoint_interval = \"10ms\"";
    let pipeline = parsing(settings).sink(
        "file",
        "file",
        "input = \"parse\"\npath = \"out.txt\"\nrotate = { size = \"1KiB\" }",
    );
    let mut run = Run::of(pipeline);
    let (mut replayed, mut given) = (0, 0);
    while replayed < 30 {
        for _ in 0..20 {
            run.give(GOOD);
            assert_eq!(run.line(), "good\n");
            given += 1;
        }
        run.give("bad x\n");
        replayed += 1;
        run.wait_for_letters("dead", replayed);
        // All of them are refused again.
        run.dead_letter(&[&REPLAY[..], &["dead"]].concat()).ok();
    }
    let Run { case, child, .. } = run;
    stop(child, Signal::TERM).code(143);
    assert_eq!(case.read_rotated("out.txt"), "good\n".repeat(given));
}

//! A pipeline that is replaced while it runs: SIGHUP has it go on with the changed file, and with
//! what it was if the changed one refuses. No record is lost or invented, whatever changes.

use std::io::Write as _;
use std::process::{Child, ChildStdin};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, Ran, guest, lines, wait};

/// A run that is told to go on with another pipeline.
struct Run<'a> {
    case: &'a Case,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: mpsc::Receiver<String>,
    said: mpsc::Receiver<String>,
    log: String,
}

/// The last line of the answer to SIGHUP, in part.
const REPLACED: &str = "goes on with the changed pipeline";
const REFUSED: &str = "the pipeline goes on as it was";

impl<'a> Run<'a> {
    fn start(case: &'a Case, pipeline: &Pipeline) -> Self {
        Self::start_with(case, pipeline, &["run", "pipeline.toml"])
    }

    fn start_with(case: &'a Case, pipeline: &Pipeline, args: &[&str]) -> Self {
        std::fs::write(case.path("pipeline.toml"), pipeline.to_string()).unwrap();
        let mut command = case.command_that_hears_hangups(args);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), lines(child.stdout.take().unwrap()));
        let said = lines(child.stderr.take().unwrap());
        Self { case, child, stdin, stdout, said, log: String::new() }
    }

    fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line on stdout.
    #[track_caller]
    fn prints(&mut self, line: &str) {
        let printed = self.stdout.recv();
        assert_eq!(printed.as_deref(), Ok(line), "{:?}", self.said.try_iter().collect::<Vec<_>>());
    }

    /// Waits until a line that is said has this in it.
    #[track_caller]
    fn says(&mut self, text: &str) {
        loop {
            let line = self.said.recv().unwrap_or_else(|_| panic!("{text:?}: {}", self.log));
            self.log += &format!("{line}\n");
            if line.contains(text) {
                return;
            }
        }
    }

    fn hang_up(&self, pipeline: &Pipeline) {
        std::fs::write(self.case.path("pipeline.toml"), pipeline.to_string()).unwrap();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Goes on with another pipeline.
    #[track_caller]
    fn replaced(&mut self, pipeline: &Pipeline) {
        self.hang_up(pipeline);
        self.says(REPLACED);
    }

    /// Refuses another pipeline, for this reason.
    #[track_caller]
    fn refuses(&mut self, pipeline: &Pipeline, why: &str) {
        self.log.clear();
        self.hang_up(pipeline);
        self.says(REFUSED);
        assert!(self.log.contains(why), "{why:?} is not in:\n{}", self.log);
    }

    /// Ends its stdin, and waits for its end. What it still prints is in the answer.
    fn end(mut self) -> Ran {
        drop(self.stdin.take());
        let ran = wait(self.child);
        let stdout = self.stdout.iter().map(|line| line + "\n").collect();
        let stderr = self.log + &self.said.iter().map(|line| line + "\n").collect::<String>();
        Ran { stdout, stderr, ..ran }
    }

    fn stop(self) -> Ran {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.end()
    }
}

/// Waits until a file is this.
#[track_caller]
fn has(run: &mut Run<'_>, name: &str, text: &str) {
    while std::fs::read_to_string(run.case.path(name)).unwrap_or_default() != text {
        assert!(run.child.try_wait().unwrap().is_none(), "{:?}", run.said.iter().last());
        std::thread::yield_now();
    }
}

fn case() -> Case {
    Case::new().file("counts-calls.wat", guest("counts-calls"))
}

/// Without a state directory, and with one.
const STATES: [&str; 2] = ["", "state = \"state\"\ncheckpoint_interval = \"5ms\""];

/// Lines from stdin, at once.
fn from_stdin(settings: &str) -> Pipeline {
    Pipeline::with(&format!("name = \"p\"\n{settings}")).source(
        "in",
        "stdin",
        "batch = { linger = \"0s\" }",
    )
}

fn prefixed(pipeline: Pipeline, prefix: &str) -> Pipeline {
    pipeline.stage("prefix", "add-prefix", &format!("config = {{ prefix = \"{prefix}\" }}"))
}

#[test]
fn a_changed_stage_takes_the_place_of_the_old_one() {
    for state in STATES {
        let case = case();
        let pipeline = |prefix: &str| prefixed(from_stdin(state), prefix).sink("out", "stdout", "");
        let mut run = Run::start(&case, &pipeline("a"));
        run.write("1\n2");
        run.prints("a1");
        run.replaced(&pipeline("b"));
        // The line that had begun goes on.
        run.write("3\n");
        run.prints("b23");
        // A stage more, and one less.
        let longer = prefixed(from_stdin(state), "c").stage("upper", "to-upper", "");
        run.replaced(&longer.sink("out", "stdout", ""));
        run.write("x\n");
        run.prints("CX");
        run.replaced(&from_stdin(state).sink("out", "stdout", ""));
        run.write("y\nlast");
        run.prints("y");
        let ran = run.end().ok().says("p: 5 records written");
        assert_eq!(ran.stdout, "last\n");
    }
}

#[test]
fn a_file_with_mistakes_changes_nothing() {
    let case = case();
    let pipeline = |prefix: &str| prefixed(from_stdin(""), prefix).sink("out", "stdout", "");
    let mut run = Run::start(&case, &pipeline("a"));
    run.write("1\n");
    run.prints("a1");
    let wrong = pipeline("b").stage("more", "no-such-stage", "workers = 0");
    run.refuses(&wrong, "2 mistakes in pipeline.toml; the pipeline goes on as it was");
    let not_there = case.path("pipeline.toml");
    run.hang_up(&pipeline("b"));
    run.says(REPLACED);
    std::fs::remove_file(not_there).unwrap();
    kill_process(Pid::from_child(&run.child), Signal::HUP).unwrap();
    run.says("error: cannot read the pipeline pipeline.toml: No such file");
    run.says(REFUSED);
    run.write("2\n");
    run.prints("b2");
    assert_eq!(run.end().ok().stdout, "");
}

#[test]
fn stages_keep_their_state_and_one_that_refuses_it_changes_nothing() {
    for state in STATES {
        let case = case();
        let pipeline = |dedupe: &str, prefix: &str| {
            let keyed = from_stdin(state).stage(
                "parse",
                "parse-json",
                "config = { key = \"k\", attributes = [] }",
            );
            let deduped = keyed.stage("dedupe", "dedupe", &format!("config = {{ {dedupe} }}"));
            prefixed(deduped, prefix).sink("out", "stdout", "")
        };
        let record = |key: &str| format!("{{\"k\":\"{key}\"}}");
        let mut run = Run::start(&case, &pipeline("keys = 10", "a"));
        for key in ["x", "y", "x"] {
            run.write(&format!("{}\n", record(key)));
        }
        run.prints(&format!("a{}", record("x")));
        run.prints(&format!("a{}", record("y")));
        run.replaced(&pipeline("keys = 10", "b"));
        run.write(&format!("{}\n{}\n", record("y"), record("z")));
        run.prints(&format!("b{}", record("z")));
        // It does not go on with keys of another kind: both before and after that,
        // all is as it was.
        run.refuses(&pipeline("attribute = \"id\"", "c"), "stage `dedupe`: it refuses the state");
        run.write(&format!("{}\n{}\n{}\n", record("x"), record("z"), record("w")));
        run.prints(&format!("b{}", record("w")));
        // What it keeps would be gone with it.
        let gone = prefixed(from_stdin(state), "d").sink("out", "stdout", "");
        run.refuses(&gone, "the stage `dedupe` is gone, and what it held would be lost");
        run.write(&format!("{}\n{}\n", record("w"), record("v")));
        run.prints(&format!("b{}", record("v")));
        assert_eq!(run.end().ok().stdout, "");
    }
}

#[test]
fn lanes_by_key_hand_their_groups_on() {
    for state in STATES {
        let case = case();
        let pipeline = |workers: usize| {
            let parse = "config = { key = \"k\", attributes = [], timestamp = \"t\" }";
            let count = "config = { size = \"60s\" }";
            from_stdin(state)
                .stage("parse", "parse-json", &format!("{parse}\nwatermark = {{ lag = \"0s\" }}"))
                .stage("count", "aggregate", &format!("workers = {workers}\n{count}"))
                .sink("out", "stdout", "")
                .sink("late", "null", "input = \"count.late\"")
                .sink("tap", "file", "path = \"tap.txt\"\nappend = true\ninput = \"parse\"")
        };
        let mut run = Run::start(&case, &pipeline(1));
        while !case.path("tap.txt").exists() {
            assert!(run.child.try_wait().unwrap().is_none(), "{}", run.end().stderr);
        }
        let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
        for workers in [3, 1, 2, 5] {
            for key in &keys {
                run.write(&format!("{{\"k\":\"{key}\",\"t\":\"2026-01-01T00:00:01Z\"}}\n"));
            }
            run.replaced(&pipeline(workers));
        }
        let ran = run.end().ok();
        assert_eq!(ran.stdout.lines().count(), keys.len(), "{}", ran.stdout);
        assert!(ran.stdout.lines().all(|count| count == "4"), "{}", ran.stdout);
    }
}

#[test]
fn what_a_stage_cannot_save_goes_on_as_it_is_or_is_emitted() {
    for state in STATES {
        let case = case();
        let each = Pipeline::with(&format!("name = \"p\"\n{state}")).source(
            "in",
            "stdin",
            "batch = { records = 1, linger = \"0s\" }",
        );
        let pipeline = |prefix: &str, fuel: u64| {
            let limits = format!("limits = {{ fuel = {fuel} }}");
            let counted = each.clone().stage("count", "counts-calls.wat", &limits);
            prefixed(counted, prefix).sink("out", "stdout", "").sink(
                "tap",
                "file",
                "path = \"tap.txt\"\nappend = true\ninput = \"in\"",
            )
        };
        let mut run = Run::start(&case, &pipeline("a", 100_000));
        run.write("1\n2\n3\n");
        has(&mut run, "tap.txt", "1\n2\n3\n");
        // The stage is the same: its instance goes on, and nothing is emitted.
        run.replaced(&pipeline("b", 100_000));
        run.write("4\n");
        has(&mut run, "tap.txt", "1\n2\n3\n4\n");
        // It is another one: what the old one holds goes through what runs.
        run.replaced(&pipeline("c", 200_000));
        run.prints("b00000004");
        run.write("5\n6\n");
        assert_eq!(run.end().ok().stdout, "c00000002\n");
    }
}

#[test]
fn a_changed_source_goes_on_where_the_old_one_was() {
    for state in STATES {
        let case = case().file("in.log", "1\n2\n3");
        let pipeline = |paths: &str, settings: &str| {
            let source = format!("paths = {paths}\nfollow = true\n{settings}");
            Pipeline::with(&format!("name = \"p\"\n{state}"))
                .source("in", "file", &format!("{source}\nbatch = {{ linger = \"0s\" }}"))
                .sink("out", "stdout", "")
        };
        let mut run = Run::start(&case, &pipeline("\"in.log\"", ""));
        run.prints("1");
        run.prints("2");
        run.replaced(&pipeline("[\"in.log\", \"more.log\"]", "rotate_wait = \"1s\""));
        case.append("in.log", "4\n5\n");
        run.prints("34");
        run.prints("5");
        case.append("more.log", "6\n");
        run.prints("6");
        assert_eq!(run.stop().code(143).stdout, "");
    }
}

#[test]
fn what_cannot_be_read_again_is_neither_changed_nor_left() {
    let case = case();
    let pipeline = |codec: &str| {
        Pipeline::with("name = \"p\"")
            .source("in", "stdin", &format!("{codec}\nbatch = {{ linger = \"0s\" }}"))
            .sink("out", "stdout", "")
    };
    let mut run = Run::start(&case, &pipeline(""));
    run.write("1\n");
    run.prints("1");
    let why = "the source `in` is changed or gone, and what it has read ahead cannot be read again";
    run.refuses(&pipeline("codec = \"json\""), why);
    let other = Pipeline::with("name = \"p\"").source("gen", "generate", "count = 1");
    run.refuses(&other.sink("out", "stdout", ""), why);
    let elsewhere = Pipeline::with("name = \"q\"\nstate = \"s\"").source("in", "stdin", "");
    run.refuses(&elsewhere.clone().sink("out", "stdout", ""), "its name is `q` and was `p`");
    run.refuses(&elsewhere.sink("out", "stdout", ""), "its `state` is another one");
    run.write("2\n");
    run.prints("2");
    assert_eq!(run.end().ok().stdout, "");
}

#[test]
fn a_file_that_is_written_goes_on_whatever_becomes_of_its_sink() {
    for state in STATES {
        let case = case();
        let tail = "batch = { linger = \"0s\" }";
        let pipeline = |sink: &str, name: &str| {
            Pipeline::with(&format!("name = \"p\"\n{state}"))
                .source("in", "stdin", tail)
                .sink(name, "file", sink)
                .sink("seen", "stdout", "input = \"in\"")
        };
        let template = "path = \"out.txt\"\ncodec = { type = \"lines\", template = \"<{value}>\" }";
        let mut run = Run::start(&case, &pipeline("path = \"out.txt\"", "out"));
        let next = |run: &mut Run, line: &str| {
            run.write(&format!("{line}\n"));
            run.prints(line);
        };
        next(&mut run, "1");
        run.replaced(&pipeline(template, "out"));
        next(&mut run, "2");
        // Nothing else changes: the sink is the same.
        run.replaced(&pipeline(template, "out"));
        next(&mut run, "3");
        // It writes another file; the one that it wrote is complete.
        if state.is_empty() {
            run.replaced(&pipeline("path = \"new.txt\"", "out"));
            assert_eq!(case.read("out.txt"), "1\n<2>\n<3>\n");
            next(&mut run, "4");
            // Another sink goes on with the first file.
            run.replaced(&pipeline("path = \"out.txt\"", "again"));
            assert_eq!(case.read("new.txt"), "4\n");
            next(&mut run, "5");
        } else {
            run.refuses(
                &pipeline("path = \"new.txt\"", "out"),
                "the sink `out` wrote the file out.txt",
            );
            next(&mut run, "4");
            run.replaced(&pipeline("path = \"new.txt\"", "other"));
            next(&mut run, "5");
        }
        run.end().ok();
        let (out, new) = match state {
            "" => ("1\n<2>\n<3>\n5\n", "4\n"),
            _ => ("1\n<2>\n<3>\n<4>\n", "5\n"),
        };
        assert_eq!((&*case.read("out.txt"), &*case.read("new.txt")), (out, new));
    }
}

#[test]
fn a_signal_right_behind_drains_what_runs_then() {
    for state in STATES {
        let case = case();
        let pipeline = |prefix: &str| {
            let generated = Pipeline::with(&format!("name = \"p\"\n{state}")).source(
                "in",
                "generate",
                "rate = 100_000\ntemplate = \" {n}\"",
            );
            prefixed(generated, prefix).sink("out", "stdout", "")
        };
        let mut run = Run::start(&case, &pipeline("a"));
        run.prints("a 1");
        run.hang_up(&pipeline("b"));
        let ran = run.stop().code(143).says("every record that was read was delivered");
        for (line, n) in ran.stdout.lines().zip(2..) {
            assert_eq!(line.split_once(' ').unwrap().1, n.to_string());
        }
    }
}

#[test]
fn many_replacements_lose_and_invent_nothing() {
    let count = 60_000;
    for state in STATES {
        let case = case().file("in.txt", (1..=count).map(|n| format!("{n}\n")).collect::<String>());
        let pipeline = |round: usize| {
            let settings = format!("name = \"p\"\n{state}\nshutdown_grace = \"{}s\"", 10 + round);
            let batches = format!("batch = {{ records = {} }}", 50 + round * 7);
            let paths = if round % 4 == 1 { "in.*" } else { "in.txt" };
            let mut pipeline = Pipeline::with(&settings)
                .source("in", "file", &format!("paths = \"{paths}\"\n{batches}"))
                .stage("filter", "filter", "config = { field = \"value\", contains = \"\" }");
            if !round.is_multiple_of(3) {
                pipeline = pipeline.stage("prefix", "add-prefix", "config = { prefix = \"x\" }");
            }
            // What the stage refuses, at times.
            let keys = if round % 5 == 2 { "attribute = \"id\"" } else { "keys = 100_000" };
            pipeline = pipeline.stage("dedupe", "dedupe", &format!("config = {{ {keys} }}"));
            let file = match round % 2 {
                0 => "path = \"out.txt\"\nappend = true",
                _ => {
                    "path = \"out.txt\"\nappend = true\ncodec = { type = \"lines\", template = \"{value}\" }"
                }
            };
            pipeline.sink("out", "file", &format!("{file}\nrate = 60_000"))
        };
        let run = Run::start(&case, &pipeline(0));
        let mut answers = [0, 0];
        for round in 1..30 {
            while !case.path("out.txt").exists() {
                std::thread::yield_now();
            }
            run.hang_up(&pipeline(round));
            let Ok(line) = std::iter::from_fn(|| run.said.recv().ok())
                .find(|line| line.contains(REPLACED) || line.contains(REFUSED))
                .ok_or(())
            else {
                break;
            };
            answers[usize::from(line.contains(REFUSED))] += 1;
        }
        let ran = run.end().ok();
        assert!(answers[0] > 5 && answers[1] > 0, "{answers:?}: {}", ran.stderr);
        let written = case.read("out.txt");
        let numbers: Vec<_> = written.lines().map(|line| line.trim_start_matches('x')).collect();
        let expected: Vec<_> = (1..=count).map(|n| n.to_string()).collect();
        assert!(numbers == expected, "{} of {count}, {answers:?}", numbers.len());
    }
}

#[test]
fn what_has_ended_stays_ended() {
    for state in STATES {
        let case = case().file("old.txt", "a\nb\n");
        let pipeline = |rate: u64| {
            Pipeline::with(&format!("name = \"p\"\n{state}"))
                .source("old", "file", "paths = \"old.txt\"")
                .sink("done", "file", "path = \"done.txt\"")
                .source("in", "stdin", "batch = { linger = \"0s\" }")
                .sink("out", "stdout", &format!("input = [\"in\", \"old\"]\nrate = {rate}"))
        };
        let mut run = Run::start(&case, &pipeline(1_000_000));
        run.prints("a");
        run.prints("b");
        has(&mut run, "done.txt", "a\nb\n");
        // They are taken away: nobody needs them any more. With a state, the last checkpoint does.
        std::fs::remove_file(case.path("old.txt")).unwrap();
        if state.is_empty() {
            std::fs::remove_file(case.path("done.txt")).unwrap();
        }
        for rate in [2_000_000, 3_000_000] {
            run.replaced(&pipeline(rate));
        }
        run.write("1\n");
        run.prints("1");
        assert_eq!(run.end().ok().stdout, "");
        assert_eq!(case.path("done.txt").exists(), !state.is_empty());
    }
}

#[test]
fn what_is_kept_by_key_and_cannot_be_saved_goes_on_too() {
    let own = std::fs::read_to_string(crate::harness::root().join("tests/guests/counts-calls.wat"));
    // The last part of its plan: it keeps by the key.
    let by_key = own.unwrap() + "(data (i32.const 144) \"\\02\\00\\00\\00\\00\\00\\00\\00\")";
    let case = case().file("by-key.wat", crate::harness::assemble(&by_key));
    let pipeline = |prefix: &str| {
        let each = Pipeline::with("name = \"p\"").source(
            "in",
            "stdin",
            "batch = { records = 1, linger = \"0s\" }",
        );
        prefixed(each.stage("count", "by-key.wat", ""), prefix).sink("out", "stdout", "").sink(
            "tap",
            "file",
            "path = \"tap.txt\"\nappend = true\ninput = \"in\"",
        )
    };
    let mut run = Run::start(&case, &pipeline("a"));
    run.write("1\n2\n3\n");
    has(&mut run, "tap.txt", "1\n2\n3\n");
    run.replaced(&pipeline("b"));
    run.write("4\n");
    assert_eq!(run.end().ok().stdout, "b00000004\n");
}

#[test]
fn an_instance_goes_on_only_where_all_that_it_was_made_with_is_the_same() {
    let case = case().file("poison.wat", guest("poison"));
    let pipeline = |on_error: &str| {
        Pipeline::with("name = \"p\"")
            .source("in", "stdin", "batch = { linger = \"100ms\" }")
            .stage("poison", "poison.wat", &format!("on_error = \"{on_error}\""))
            .sink("out", "stdout", "")
    };
    let mut run = Run::start(&case, &pipeline("fail"));
    run.write("1\n");
    run.prints("1");
    run.replaced(&pipeline("skip"));
    run.write("a\nPoison\nb\nPoison\nc\n");
    assert_eq!(run.end().ok().stdout, "a\nb\nc\n");
}

#[test]
fn a_stage_that_cannot_save_refuses_and_its_neighbours_lose_nothing() {
    let case = case().file("trap.wat", guest("trap-in-save")).file("none.txt", "");
    let pipeline = |rate: u64| {
        Pipeline::with("name = \"p\"")
            .source("in", "stdin", "batch = { linger = \"0s\" }")
            .source("none", "file", "paths = \"none.txt\"\nfollow = true")
            .stage("trap", "trap.wat", "")
            .sink("null", "null", "")
            .sink("out", "file", "path = \"out.txt\"\ninput = \"in\"")
            .sink("seen", "stdout", &format!("input = \"in\"\nrate = {rate}"))
    };
    let mut run = Run::start(&case, &pipeline(1_000_000));
    run.write("1\n");
    run.prints("1");
    run.refuses(&pipeline(2_000_000), "stage `trap` failed when it was asked to save its state");
    run.write("2\n");
    run.prints("2");
    assert_eq!(run.stop().code(143).stdout, "");
    assert_eq!(case.read("out.txt"), "1\n2\n");
}

#[test]
fn time_goes_on_although_one_input_is_quiet() {
    for state in STATES {
        let case =
            case().file("quiet.json", "{\"v\":\"q\",\"t\":\"2026-01-01T10:00:00Z\",\"k\":\"k\"}\n");
        let codec = "codec = { type = \"json\", value = \"v\", timestamp = \"t\", key = \"k\" }\nwatermark = {}";
        let pipeline = |rate: u64| {
            Pipeline::with(&format!("name = \"p\"\n{state}"))
                .source("quiet", "file", &format!("paths = \"quiet.json\"\nfollow = true\n{codec}"))
                .source("in", "stdin", &format!("batch = {{ linger = \"0s\" }}\n{codec}"))
                .stage(
                    "count",
                    "aggregate",
                    "input = [\"quiet\", \"in\"]\nconfig = { size = \"1m\" }",
                )
                .sink("out", "stdout", &format!("rate = {rate}"))
                .sink("late", "null", "input = \"count.late\"")
                .sink(
                    "tap",
                    "file",
                    "path = \"tap.txt\"\nappend = true\ninput = [\"quiet\", \"in\"]",
                )
        };
        let at = |minute: u64| {
            format!("{{\"v\":\"{minute}\",\"t\":\"2026-01-01T09:{minute:02}:30Z\",\"k\":\"k\"}}\n")
        };
        let mut run = Run::start(&case, &pipeline(1_000_000));
        has(&mut run, "tap.txt", "q\n");
        run.write(&at(0));
        run.write(&at(2));
        run.prints("1");
        run.replaced(&pipeline(2_000_000));
        run.write(&at(4));
        run.prints("1");
        run.stop().code(143);
    }
}

#[test]
fn a_file_that_was_completed_is_added_to_by_whatever_name_it_is_written() {
    let case = case();
    let pipeline = |path: &str| {
        Pipeline::with("name = \"p\"")
            .source(
                "in",
                "stdin",
                "batch = { linger = \"0s\" }\ncodec = { type = \"json\", key = \"k\" }",
            )
            .sink("out", "file", &format!("path = \"{path}\""))
            .sink("seen", "stdout", "input = \"in\"")
    };
    let record = |n: u64| format!("{{\"k\":\"a\",\"n\":{n}}}");
    let mut run = Run::start(&case, &pipeline("{key}.txt"));
    for (n, path) in [(1, "a.txt"), (2, "{key}.txt"), (3, "b.txt")] {
        run.write(&format!("{}\n", record(n)));
        run.prints(&record(n));
        run.replaced(&pipeline(path));
    }
    run.end().ok();
    assert_eq!(case.read("a.txt"), [1, 2, 3].map(|n| record(n) + "\n").concat());
    assert_eq!(case.read("b.txt"), "");
}

#[test]
fn signals_without_end_are_not_the_end() {
    let case = case();
    let mut run = Run::start(&case, &from_stdin("").sink("out", "stdout", ""));
    run.write("1\n");
    run.prints("1");
    for _ in 0..20 {
        kill_process(Pid::from_child(&run.child), Signal::HUP).unwrap();
    }
    run.says(REPLACED);
    run.write("2\n");
    run.prints("2");
    run.end().ok();
}

/// With `--watch`, a change of the file is as good as SIGHUP, and so is one of a component.
#[test]
fn a_run_that_watches_goes_on_with_what_has_changed() {
    let case = case();
    std::fs::write(case.path("stage.wat"), guest("pass")).unwrap();
    let pipeline = |prefix: &str| {
        let stage = from_stdin("").stage("pass", "stage.wat", "");
        prefixed(stage, prefix).sink("out", "stdout", "")
    };
    let args = ["run", "--watch", "pipeline.toml"];
    let mut run = Run::start_with(&case, &pipeline("a"), &args);
    run.write("1\n");
    run.prints("a1");
    let change = |text: &str| {
        std::fs::write(case.path("new"), text).unwrap();
        std::fs::rename(case.path("new"), case.path("pipeline.toml")).unwrap();
    };
    change(&pipeline("b").to_string());
    run.says(REPLACED);
    run.write("2\n");
    run.prints("b2");
    change("no = \"pipeline\"");
    run.says(REFUSED);
    change(&pipeline("c").to_string());
    run.says(REPLACED);
    std::fs::write(case.path("other"), guest("pass")).unwrap();
    std::fs::rename(case.path("other"), case.path("stage.wat")).unwrap();
    run.says(REPLACED);
    run.write("3\n");
    run.prints("c3");
    assert_eq!(run.end().ok().stdout, "");
    case.run(&["run", "--watch", "--plugin", "to-upper"]).code(2).says("--watch is for a pipeline");
}

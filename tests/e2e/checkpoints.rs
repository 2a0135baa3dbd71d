//! What a state directory keeps, when it is gone on from, and when it is refused.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, Ran, stop, wait};

/// A file through `alert`, whose count is its state, to a file.
fn counting() -> Case {
    let codec = r#"codec = { type = "json", attributes = ["level"], value = "text" }"#;
    let settings = "name = \"counting\"\nstate = \"state\"\ncheckpoint_interval = \"5ms\"";
    let pipeline = Pipeline::with(settings)
        .source("in", "file", &format!("paths = \"in.json\"\n{codec}"))
        .stage("alert", "alert", r#"config = { level = "E", threshold = 2 }"#)
        .sink("out", "file", r#"path = "out.txt""#)
        .sink("alerts", "file", "path = \"alerts.txt\"\ninput = \"alert.alerts\"");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

fn errors(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{{\"level\":\"E\",\"text\":\"{text}\"}}\n")).collect()
}

#[test]
fn a_second_run_takes_what_is_new_and_a_stage_goes_on_counting() {
    let case = counting().file("in.json", errors(&["a", "b", "c"]));
    case.pipeline().ok().says("4 records written");
    case.pipeline().ok().says("resuming from checkpoint").says("0 records written");
    case.append("in.json", errors(&["d"]));
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "a\nb\nc\nd\n");
    let expected = "ALERT: 2 E records, the last: b\nALERT: 4 E records, the last: d\n";
    assert_eq!(case.read("alerts.txt"), expected);
}

#[test]
fn without_a_state_directory_a_second_run_begins_anew() {
    let case = counting().file("in.json", errors(&["a", "b"]));
    let text = case.read("pipeline.toml").replace("state = \"state\"", "");
    let case = case.file("pipeline.toml", text);
    for _ in 0..2 {
        case.pipeline().ok().says("3 records written");
        assert_eq!(case.read("out.txt"), "a\nb\n");
    }
}

#[test]
fn state_show_says_where_everything_was() {
    let case = counting().file("in.json", errors(&["a", "b", "c"]));
    case.pipeline().ok();
    let shown = case.run(&["state", "show", "state"]).ok().stdout;
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name} is not in {shown}")).to_owned()
    };
    assert!(line("counting: checkpoint ").ends_with('Z'));
    assert!(line("in ").ends_with("3 records, 75 bytes of 1 file"), "{shown}");
    assert!(line("alert ").ends_with("has finished, and keeps 14 B"), "{shown}");
    assert!(line("out ").ends_with("  6 bytes"), "{shown}");
    let json = case.run(&["state", "show", "state", "--json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sources"]["in"]["position"][0]["offset"], 75);
}

#[test]
fn state_reset_begins_anew_or_takes_one_node_out() {
    let case = counting().file("in.json", errors(&["a", "b", "c"]));
    case.pipeline().ok();
    // The count begins anew, the source does not.
    case.run(&["state", "reset", "state", "--node", "alert"]).ok();
    case.append("in.json", errors(&["d", "e"]));
    case.pipeline().ok().says("`alert` is not in the checkpoint: it starts from the beginning");
    assert_eq!(case.read("out.txt"), "a\nb\nc\nd\ne\n");
    assert!(case.read("alerts.txt").ends_with("ALERT: 2 E records, the last: e\n"));
    case.run(&["state", "reset", "state", "--node", "nobody"])
        .code(2)
        .says("the state has no node `nobody`; it has `in`, `alert`, `alerts`, `out`");
    case.run(&["state", "reset", "state"]).ok();
    assert!(!case.path("state").exists());
    case.run(&["state", "show", "state"]).code(2).says("there is no state in state");
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "a\nb\nc\nd\ne\n", "written anew");
}

#[test]
fn the_state_of_another_pipeline_is_refused_and_the_difference_named() {
    let case = counting().file("in.json", errors(&["a"]));
    case.pipeline().ok();
    let text = case.read("pipeline.toml");
    let changed = |from: &str, to: &str| -> Ran {
        assert!(text.contains(from), "{from}");
        fs::write(case.path("pipeline.toml"), text.replace(from, to)).unwrap();
        case.pipeline().code(1).says("the state in state does not fit this pipeline:")
    };
    changed("name = \"counting\"", "name = \"other\"")
        .says("it is the state of the pipeline `counting`, and this is `other`");
    changed("\"in\"", "\"source\"").says("the source `in` (file) is gone");
    changed("out.txt", "new.txt").says("the sink `out` wrote the file ");
    assert_eq!(case.read("out.txt"), "a\n");
}

#[test]
fn a_stage_that_holds_something_cannot_be_taken_away_or_divided() {
    let case = counting().file("in.json", errors(&["a"]));
    let text = case.read("pipeline.toml").replace("\"file\"\npaths", "\"stdin\"\n#");
    let case = case.file("pipeline.toml", &text);
    case.suspended(&errors(&["a"]));
    let changed = |from: &str, to: &str| -> Ran {
        assert!(text.contains(from), "{from}");
        fs::write(case.path("pipeline.toml"), text.replace(from, to)).unwrap();
        case.pipeline().code(1)
    };
    changed("input = \"in\"", "input = \"in\"\nworkers = 2\npartition = \"key\"")
        .says("the stage `alert` had 1 workers, and has 2");
    let renamed = ["name = ", "input = "].iter().fold(text.clone(), |text, key| {
        text.replace(&format!("{key}\"alert\""), &format!("{key}\"counter\""))
    });
    let renamed = renamed.replace("alert.alerts", "counter.alerts");
    fs::write(case.path("pipeline.toml"), renamed).unwrap();
    case.pipeline().code(1).says("the stage `alert` is gone, and what it held would be lost");
}

#[test]
fn a_signal_suspends_a_run_and_windows_stay_open() {
    let source = "paths = \"in.log\"\nfollow = true\nbatch = { linger = \"0s\" }";
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", source)
        .stage("parse", "parse-log", "watermark = {}")
        .stage("count", "aggregate", r#"config = { size = "10s", attribute = "level" }"#)
        .sink("out", "file", "path = \"out.txt\"\ninput = \"parse\"")
        .sink("windows", "file", r#"path = "windows.txt""#)
        .sink("late", "null", r#"input = "count.late""#);
    let case = Case::new()
        .file("in.log", "2024-01-01T00:00:01Z INFO a\n2024-01-01T00:00:02Z INFO b\n")
        .file("pipeline.toml", pipeline.to_string());
    case.suspended("");
    assert_eq!(case.read("windows.txt"), "", "a window was not closed because of a signal");
    case.append("in.log", "2024-01-01T00:00:03Z INFO c\n2024-01-01T00:00:20Z INFO d\n");
    // The rest, as a file that ends.
    let text = case.read("pipeline.toml").replace("follow = true", "");
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    assert_eq!(case.read("windows.txt"), "3\n1\n");
    assert_eq!(case.read("out.txt"), "a\nb\nc\nd\n");
}

/// A pipeline that runs until it is stopped.
fn endless(case: &Case) -> Child {
    let mut child = case
        .command(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving metrics") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
    }
    // What it goes on to say must not fill the pipe.
    std::thread::spawn(move || log.read_to_string(&mut String::new()));
    child
}

fn endless_case() -> Case {
    let pipeline = Pipeline::with("state = \"state\"\ndead_letters = \"dead\"")
        .source("in", "stdin", "")
        .stage("guest", "guest.wat", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "");
    Case::new()
        .file("guest.wat", crate::harness::guest("trap"))
        .file("pipeline.toml", pipeline.to_string())
}

#[test]
fn two_runs_cannot_use_one_state_or_one_file_of_dead_letters() {
    let case = endless_case();
    let child = endless(&case);
    while !case.path("dead").exists() {
        std::thread::yield_now();
    }
    case.pipeline().code(1).says("another run of pipehost uses the state in state");
    case.run(&["state", "reset", "state"]).code(1).says("another run of pipehost uses the state");
    let text = case.read("pipeline.toml").replace("\"state\"", "\"state2\"");
    let case = case.file("second.toml", text);
    case.run(&["run", "second.toml"])
        .code(1)
        .says("another run of pipehost uses the dead letters dead");
    assert_eq!(stop(child, Signal::TERM).code, 143);
    case.run(&["run", "second.toml"]).ok();
}

#[test]
fn a_sink_that_was_touched_is_not_cut() {
    let case = counting().file("in.json", errors(&["a", "b"]));
    case.pipeline().ok();
    case.append("out.txt", "appended by somebody\n");
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "a\nb\n", "what came after the cut is removed");
    fs::write(case.path("out.txt"), "something else\n").unwrap();
    case.pipeline().code(1).says("out.txt: it is not the file that was written");
    fs::write(case.path("out.txt"), "a").unwrap();
    case.pipeline().code(1).says("out.txt: it had 4 bytes, and has 1. Bring it back as it was");
    fs::remove_file(case.path("out.txt")).unwrap();
    case.pipeline().code(1).says("out.txt: it had 4 bytes, and is gone");
    case.run(&["state", "reset", "state", "--node", "out"]).ok();
    case.append("in.json", errors(&["c"]));
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "c\n");
}

#[test]
fn an_input_that_was_cut_is_refused_and_another_of_its_name_is_read_whole() {
    let case = counting().file("in.json", errors(&["a", "b"]));
    case.pipeline().ok();
    let short = errors(&["a"]);
    let case = case.file("in.json", &short);
    // The same inode with fewer bytes, which do not begin as they did: another file.
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "a\nb\na\n");
}

#[test]
fn damage_to_the_state_is_found_and_named() {
    let case = counting().file("in.json", errors(&["a", "b"]));
    case.pipeline().ok();
    let file = case.path("state/state.redb");
    let whole = fs::read(&file).unwrap();
    let shown = case.run(&["state", "show", "state", "--json"]).ok().stdout;
    let mut random = fastrand::Rng::with_seed(7);
    let mut found = 0;
    let mut check = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let ran = case.run(&["state", "show", "state", "--json"]);
        assert!(!ran.stderr.contains("panicked"), "{what}: {}", ran.stderr);
        match ran.code {
            // Not all bytes of the file mean something.
            0 => assert!(ran.stdout == shown || ran.stdout == "no checkpoint yet\n", "{what}"),
            code => {
                assert_eq!(code, 1, "{what}: {}", ran.stderr);
                assert!(ran.stderr.contains("the state in state is damaged: "), "{}", ran.stderr);
                found += 1;
            }
        }
    };
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len().min(16 << 10));
        bytes[at] ^= 1 << random.u32(..8);
        check(&bytes, &format!("a bit of byte {at}"));
    }
    for _ in 0..20 {
        let length = random.usize(..whole.len());
        check(&whole[..length], &format!("{length} bytes of {}", whole.len()));
    }
    assert!(found > 10, "{found}");
    fs::write(&file, b"not a database at all").unwrap();
    case.pipeline().code(1).says("Restore a backup of the directory, or start over");
    case.run(&["state", "reset", "state"]).ok();
    case.pipeline().ok();
}

#[test]
fn a_guest_that_does_not_give_its_state_fails_the_run_and_nothing_is_forgotten() {
    for (guest, why) in [("trap-in-save", "it trapped: "), ("loop-in-save", "it used up its fuel")]
    {
        let pipeline = Pipeline::with(r#"state = "state""#)
            .source("in", "file", r#"paths = "in.txt""#)
            .stage("guest", "guest.wat", "")
            .sink("out", "file", r#"path = "out.txt""#);
        let case = Case::new()
            .file("guest.wat", crate::harness::guest(guest))
            .file("in.txt", "a\nb\n")
            .file("pipeline.toml", pipeline.to_string());
        case.pipeline()
            .code(1)
            .says(&format!("stage `guest` failed when it was asked to save its state: {why}"));
        // No checkpoint was written: a stage that does is given everything once more.
        let case = case.file("guest.wat", crate::harness::guest("pass"));
        case.pipeline().ok();
        assert_eq!(case.read("out.txt"), "a\nb\n");
    }
}

#[test]
fn what_was_written_before_the_first_checkpoint_is_cut_off_too() {
    let pipeline = Pipeline::with("state = \"state\"\ncheckpoint_interval = \"1h\"")
        .source("in", "generate", "count = 20_000\nbatch = { records = 100 }")
        .sink("out", "file", "path = \"out.txt\"\nappend = true\nrate = 100_000");
    let case = Case::new().file("out.txt", "before\n").file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    while case.read("out.txt").lines().count() < 1000 {
        assert!(child.try_wait().unwrap().is_none());
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    wait(child).code(137);
    case.pipeline().ok();
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(case.read("out.txt") == format!("before\n{expected}"));
}

#[test]
fn a_stage_comes_back_with_all_that_it_may_hold() {
    let input: String = (0..50_000)
        .map(|n| format!("{{\"t\":\"2024-01-01T00:00:00Z\",\"k\":\"a key of some length {n}\"}}\n"))
        .collect();
    let config = r#"config = { key = "k", timestamp = "t", attributes = [] }"#;
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", "paths = \"in.json\"\nfollow = true")
        .stage("parse", "parse-json", &format!("watermark = {{}}\n{config}"))
        .stage("count", "aggregate", r#"config = { size = "1h" }"#)
        .sink("windows", "file", r#"path = "windows.txt""#)
        .sink("late", "null", r#"input = "count.late""#)
        .sink("out", "file", "path = \"out.txt\"\ninput = \"parse\"");
    let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
    case.suspended("");
    let text = case.read("pipeline.toml").replace("follow = true", "");
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    assert_eq!(case.read("windows.txt").lines().count(), 50_000);
    // They were written: they do not come a second time.
    case.pipeline().ok();
    assert_eq!(case.read("windows.txt").lines().count(), 50_000);
}

//! Dead letters go back in, rotate, and are bounded.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use rustix::process::Signal;

use crate::harness::{Case, Pipeline, guest, letters, stop, wait};

/// Parses and filters lines; what is no log line is refused.
fn parsing(pipeline: &str, sink: &str) -> Case {
    let refused = r#"on_error = "dead-letter""#;
    let codec = r#"codec = { type = "lines", max_line = "40B" }"#;
    let pipeline = Pipeline::with(&format!("dead_letters = \"dead\"\n{pipeline}"))
        .source("in", "file", &format!("paths = \"in.log\"\n{codec}\n{refused}"))
        .stage("parse", "parse-log", refused)
        .stage("upper", "to-upper", "")
        // `path` comes first: a test replaces it together with the type.
        .sink("out", "file", &format!("path = \"out.log\"\ninput = \"upper\"\n{sink}"));
    Case::new().file("pipeline.toml", pipeline.to_string())
}

const MIXED: &str = "2024-01-01T00:00:00Z INFO a\nnot a log line\n2024-01-01T00:00:01Z WARN b\n";

#[test]
fn letters_that_go_through_leave_the_file_and_the_others_stay() {
    let case = parsing("", "").file("in.log", MIXED);
    case.pipeline().ok();
    assert_eq!(case.read("out.log"), "A\nB\n");
    let replay = || case.run(&["dead-letter", "replay", "dead", "--pipeline", "pipeline.toml"]);
    // Nothing has changed: it is refused again, and its attempts counted.
    replay().ok().prints("1 letter replayed: 0 went through, 1 refused again\n");
    let again = letters(&case, "dead");
    assert_eq!((again.len(), again[0].attempts), (1, 2));
    assert_eq!(again[0].value, "not a log line");
    // The stage is mended.
    let text = case.read("pipeline.toml").replace("\"parse-log\"", "\"to-upper\"");
    fs::write(case.path("mended.toml"), text).unwrap();
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "mended.toml"])
        .ok()
        .prints("1 letter replayed: 1 went through, 0 refused again\n");
    assert_eq!(
        case.read("out.log"),
        "A\nB\nNOT A LOG LINE\n",
        "added, at the stage that refused it"
    );
    assert_eq!(letters(&case, "dead"), []);
    replay().ok().prints("no letters to replay\n");
}

#[test]
fn a_replay_may_write_to_stdout_and_follows_a_link() {
    let case = parsing("", "").file("in.log", MIXED);
    case.pipeline().ok();
    let text = case.read("pipeline.toml").replace("\"parse-log\"", "\"to-upper\"");
    let text = text.replace("type = \"file\"\npath = \"out.log\"", "type = \"stdout\"");
    fs::write(case.path("mended.toml"), text).unwrap();
    std::os::unix::fs::symlink("dead", case.path("link")).unwrap();
    case.run(&["dead-letter", "replay", "link", "--pipeline", "mended.toml"])
        .ok()
        .prints("NOT A LOG LINE\n1 letter replayed: 1 went through, 0 refused again\n");
    assert_eq!(letters(&case, "dead"), [], "the file itself, not a new one in place of the link");
    assert!(case.path("link").is_symlink());
}

#[test]
fn only_those_that_were_asked_for_are_replayed() {
    let wrong = "not a log line\n2024-01-01T00:00:00Z 404 x\n".to_owned() + MIXED;
    let case = parsing("", "").file("in.log", wrong);
    case.pipeline().ok();
    let text = case.read("pipeline.toml").replace("\"parse-log\"", "\"to-upper\"");
    let case = case.file("mended.toml", text);
    let replay = |arguments: &[&str]| {
        let all = [&["dead-letter", "replay", "dead", "--pipeline", "mended.toml"], arguments];
        case.run(&all.concat())
    };
    replay(&["--stage", "nobody"])
        .code(2)
        .says("the pipeline has no source, stage or sink `nobody`");
    replay(&["--stage", "upper"]).ok().prints("no letters to replay\n");
    replay(&["--stage", "parse", "--reason", "is not a level"])
        .ok()
        .prints("1 letter replayed: 1 went through, 0 refused again\n2 letters not replayed\n");
    assert_eq!(letters(&case, "dead").len(), 2);
}

#[test]
fn what_a_source_refused_is_decoded_again() {
    let [json, out] = ["in.json", "out.txt"];
    let pipeline = |codec: &str| {
        let source = format!("paths = \"{json}\"\non_error = \"dead-letter\"\ncodec = {codec}");
        Pipeline::with(r#"dead_letters = "dead""#)
            .source("in", "file", &source)
            .sink("out", "file", &format!("path = \"{out}\""))
            .to_string()
    };
    let case = Case::new()
        .file(json, "{\"v\":\"a\"}\nb\n")
        .file("strict.toml", pipeline("{ type = \"json\", value = \"v\" }"))
        .file("lax.toml", pipeline("\"lines\""));
    case.run(&["run", "strict.toml"]).ok();
    assert_eq!(case.read(out), "a\n");
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "strict.toml"])
        .ok()
        .prints("1 letter replayed: 0 went through, 1 refused again\n");
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "lax.toml"])
        .ok()
        .prints("1 letter replayed: 1 went through, 0 refused again\n");
    assert_eq!(case.read(out), "a\nb\n");
}

#[test]
fn what_a_source_could_not_keep_stays_a_letter() {
    let long = "x".repeat(100);
    let case = parsing("", "").file("in.log", format!("{long}\n"));
    case.pipeline().ok();
    let before = letters(&case, "dead");
    assert_eq!((before.len(), &*before[0].value), (1, ""), "it was too long to be held");
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "pipeline.toml"])
        .ok()
        .prints("1 letter replayed: 0 went through, 1 refused again\n");
    assert_eq!(letters(&case, "dead")[0].reason, before[0].reason);
}

#[test]
fn a_replay_goes_on_from_the_state_and_leaves_the_sources_where_they_were() {
    let case = parsing("name = \"p\"\nstate = \"state\"", "").file("in.log", MIXED);
    case.pipeline().ok();
    let position = || {
        let shown = case.run(&["state", "show", "state", "--json"]).ok().stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["dead_letters"].clone()
    };
    let before = position();
    assert!(before["length"].as_u64() > Some(0));
    let text = case.read("pipeline.toml").replace("\"parse-log\"", "\"to-upper\"");
    fs::write(case.path("mended.toml"), text).unwrap();
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "mended.toml"])
        .ok()
        .prints("1 letter replayed: 1 went through, 0 refused again\n");
    assert_eq!(case.read("out.log"), "A\nB\nNOT A LOG LINE\n");
    assert_eq!(position(), before, "the letters of a replay are not those of the pipeline");
    let mut file = fs::OpenOptions::new().append(true).open(case.path("in.log")).unwrap();
    file.write_all(b"2024-01-01T00:00:02Z INFO c\n").unwrap();
    case.pipeline().ok();
    assert_eq!(case.read("out.log"), "A\nB\nNOT A LOG LINE\nC\n");
}

#[test]
fn letters_of_another_pipeline_are_not_cut_off() {
    let case = parsing("name = \"one\"\nstate = \"one\"", "").file("in.log", MIXED);
    let text = case.read("pipeline.toml");
    let case =
        case.file("two.toml", text.replace("\"one\"", "\"two\"").replace("out.log", "two.log"));
    case.pipeline().ok();
    case.run(&["run", "two.toml"]).ok();
    assert_eq!(letters(&case, "dead").len(), 2);
    case.append("in.log", "another\n");
    case.pipeline()
        .code(1)
        .says("will not cut dead back to the last checkpoint of `one`: the pipeline `two` has written")
        .says("Move the file away, and give each pipeline its own");
    fs::rename(case.path("dead"), case.path("both")).unwrap();
    case.pipeline().ok();
    assert_eq!((letters(&case, "both").len(), letters(&case, "dead").len()), (2, 1));
}

#[test]
fn a_replay_that_fails_takes_nothing_out() {
    let case = parsing("", "").file("in.log", MIXED);
    case.pipeline().ok();
    let text = case.read("pipeline.toml").replace("\"parse-log\"", "\"to-upper\"");
    let case = case.file("mended.toml", text.replace("out.log", "missing/out.log"));
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "mended.toml"])
        .code(2)
        .says("the folder missing does not exist");
    assert_eq!(letters(&case, "dead").len(), 1);
    assert!(!case.path("dead.replay").exists());
}

/// One that cannot be asked to close it: see `letters_live` for the others.
#[test]
fn a_file_that_is_written_is_not_replayed() {
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("trap", "trap.wat", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "");
    let case =
        Case::new().file("trap.wat", guest("trap")).file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml"]);
    child.stdin.as_mut().unwrap().write_all(b"a\n").unwrap();
    while fs::metadata(case.path("dead")).map_or(0, |m| m.len()) == 0 {
        std::thread::yield_now();
    }
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "pipeline.toml"])
        .code(1)
        .says("another run of pipehost uses the dead letters dead");
    stop(child, Signal::TERM).code(143);
}

/// Refuses every line.
fn refusing(dead_letters: &str, input: &str) -> Case {
    let pipeline = Pipeline::with(&format!("dead_letters = {dead_letters}"))
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 1 }")
        .stage("trap", "trap.wat", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "");
    Case::new()
        .file("trap.wat", guest("trap"))
        .file("in.txt", input)
        .file("pipeline.toml", pipeline.to_string())
}

#[test]
fn files_rotate_by_size_and_no_letter_is_lost() {
    let input: String = (0..20).map(|n| format!("{n}\n")).collect();
    let case = refusing("{ path = \"dead\", rotate = \"1KiB\" }", &input);
    case.pipeline().ok();
    let mut values = Vec::new();
    for name in (1..).map(|n| format!("dead.{n}")).take_while(|name| case.path(name).exists()) {
        assert!(fs::metadata(case.path(&name)).unwrap().len() < 1500);
        values.extend(letters(&case, &name).into_iter().map(|letter| letter.value));
    }
    assert!(values.len() > 5 && values.len() < 20, "{values:?}");
    values.extend(letters(&case, "dead").into_iter().map(|letter| letter.value));
    assert_eq!(values, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn when_they_are_full_the_pipeline_fails() {
    let case = refusing("{ path = \"dead\", max_size = \"500B\" }", "a\nb\nc\nd\n");
    case.pipeline()
        .code(1)
        .says("the dead letters dead are full: dead_letters.max_size allows 500 B; replay them");
    assert_eq!(letters(&case, "dead").len(), 2, "what had room is there");
}

/// Takes the files that were rotated away, and counts the letters in them.
fn rotated(case: &Case) -> usize {
    let take = |name: String| {
        fs::rename(case.path(&name), case.path("elsewhere")).ok()?;
        Some(letters(case, "elsewhere").len())
    };
    (1..=200).filter_map(|number| take(format!("dead.{number}"))).sum()
}

#[test]
fn or_it_waits_until_somebody_has_made_room() {
    // With a state, letters wait for a checkpoint, which must not wait for them.
    for state in ["", "\nstate = \"state\"\ncheckpoint_interval = \"1ms\""] {
        let case = refusing(
            &format!(
                "{{ path = \"dead\", max_size = \"500B\", rotate = \"1B\", when_full = \"wait\" }}{state}"
            ),
            &"a\n".repeat(40),
        );
        let mut child = case.spawn(&["run", "pipeline.toml"]);
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("The pipeline waits") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0);
        }
        std::thread::spawn(move || log.read_to_string(&mut String::new()));
        let mut taken = 0;
        while child.try_wait().unwrap().is_none() {
            taken += rotated(&case);
        }
        wait(child).ok();
        assert!(taken > 0);
        assert_eq!(taken + rotated(&case) + letters(&case, "dead").len(), 40, "{state}");
    }
}

/// Letters in all files, and the bytes of those files.
fn all(case: &Case) -> (Vec<String>, u64) {
    let rotated = (1..=200).map(|n| format!("dead.{n}")).filter(|name| case.path(name).exists());
    let files: Vec<_> = rotated.chain(["dead".to_owned()]).collect();
    let bytes = files.iter().map(|name| fs::metadata(case.path(name)).unwrap().len()).sum();
    (files.iter().flat_map(|name| letters(case, name)).map(|letter| letter.value).collect(), bytes)
}

#[test]
fn letters_of_a_checkpoint_keep_to_the_sizes_too() {
    let input: String = (0..40).map(|n| format!("{n}\n")).collect();
    let expected: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    for interval in ["1ms", "1h"] {
        let state = format!("\nstate = \"state\"\ncheckpoint_interval = \"{interval}\"");
        let case = refusing(&format!("{{ path = \"dead\", rotate = \"400B\" }}{state}"), &input);
        case.pipeline().ok();
        assert_eq!(all(&case).0, expected);
        for number in 1..4 {
            let name = format!("dead.{number}");
            assert!((400..800).contains(&fs::metadata(case.path(&name)).unwrap().len()), "{name}");
        }
        // Those that have no room wait in the state, over a kill too.
        let full =
            format!("{{ path = \"dead\", max_size = \"500B\", when_full = \"wait\" }}{state}");
        let case = refusing(&full, &input);
        let mut found = Vec::new();
        let mut kills = 0;
        let ran = loop {
            let mut child = case.spawn(&["run", "pipeline.toml"]);
            let mut log = BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            while !line.contains("The pipeline waits") && log.read_line(&mut line).unwrap() > 0 {}
            let (some, bytes) = all(&case);
            assert!(bytes <= 500, "{bytes} bytes");
            if kills < 20 && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                wait(child).code(137);
                kills += 1;
                // Somebody takes what was rotated, between two runs.
                for number in 1..=200 {
                    if case.path(&format!("dead.{number}")).exists() {
                        found.extend(
                            letters(&case, &format!("dead.{number}")).into_iter().map(|l| l.value),
                        );
                        fs::remove_file(case.path(&format!("dead.{number}"))).unwrap();
                    }
                }
                continue;
            }
            found.extend(some);
            break wait(child);
        };
        drop(ran.ok());
        assert_eq!(found, expected, "after {kills} kills");
    }
}

#[test]
fn letters_that_somebody_brings_back_are_not_cut_off() {
    let case = refusing("\"dead\"\nstate = \"state\"", "a\n");
    case.pipeline().ok();
    fs::rename(case.path("dead"), case.path("saved")).unwrap();
    case.append("in.txt", "");
    case.pipeline().ok(); // The state knows of an empty file now.
    fs::rename(case.path("saved"), case.path("dead")).unwrap();
    case.pipeline().ok();
    assert_eq!(letters(&case, "dead").len(), 1);
    let ran = case.run(&["dead-letter", "replay", "dead", "--pipeline", "pipeline.toml"]).ok();
    assert_eq!(ran.stdout, "1 letter replayed: 0 went through, 1 refused again\n");
}

#[test]
fn numbers_are_not_used_again_after_all_were_moved_away() {
    let state = "\nstate = \"state\"";
    let case = refusing(&format!("{{ path = \"dead\", rotate = \"1B\" }}{state}"), "a\nb\nc\n");
    case.pipeline().ok();
    assert!(case.path("dead.2").exists());
    for name in ["dead.1", "dead.2"] {
        fs::remove_file(case.path(name)).unwrap();
    }
    case.append("in.txt", "d\ne\n");
    case.pipeline().ok();
    assert!(!case.path("dead.1").exists() && !case.path("dead.2").exists());
    assert!(case.path("dead.3").exists() && case.path("dead.4").exists());
}

#[test]
fn damage_to_dead_letters_is_found_and_named() {
    let case = refusing("\"dead\"", "a\nb\nc\n");
    case.pipeline().ok();
    let whole = fs::read(case.path("dead")).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..40 {
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u32(..8);
        fs::write(case.path("dead"), bytes).unwrap();
        let ran = case.run(&["dead-letter", "list", "dead"]);
        // A length that grew makes the rest the begin of a letter.
        let torn = ran.code == 0 && ran.stderr.contains("is torn");
        assert!(
            torn || ran.code == 1 && ran.stderr.contains("dead: letter "),
            "byte {at}: {ran:?}"
        );
        // Nothing is added behind what cannot be read.
        let ran = case.pipeline();
        if !torn {
            ran.code(1).says("will not append to dead: letter ");
        }
    }
}

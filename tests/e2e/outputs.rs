//! What a run writes and what it must not touch: names of files, over restarts and moves.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, wait};

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

const IN_JSON: &str =
    "paths = \"in.json\"\ncodec = { type = \"json\", key = \"k\", value = \"v\" }";

/// Lines of `in.json` to a sink, with a state.
fn keeping(sink: &str) -> Case {
    let pipeline = Pipeline::with("name = \"p\"\nstate = \"state\"\ncheckpoint_interval = \"5ms\"")
        .source("in", "file", IN_JSON)
        .sink("out", "file", sink);
    Case::new().file("pipeline.toml", pipeline.to_string())
}

fn record(key: &str, value: u64) -> String {
    format!("{{\"k\":\"{key}\",\"v\":{value}}}\n")
}

#[test]
fn an_ordinary_second_run_leaves_everything_as_it_is() {
    let input = record("1.2", 1) + &record("1.2.3", 2) + &record("a/b", 3) + &record("a_b", 4);
    let case = keeping("path = \"out/{key}\"").file("in.json", input);
    fs::create_dir(case.path("out")).unwrap();
    for foreign in ["1.2.1", "1.2.20240101", "a_b.1"] {
        fs::write(case.path("out").join(foreign), "of somebody").unwrap();
    }
    case.pipeline().ok();
    let listed = || {
        let mut files: Vec<_> = fs::read_dir(case.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = listed();
    let values: Vec<_> = first.iter().map(|(_, text)| text.trim()).collect();
    for value in ["1", "2", "3", "4"] {
        assert_eq!(values.iter().filter(|found| **found == value).count(), 1, "{first:?}");
    }
    assert_eq!(values.iter().filter(|found| **found == "of somebody").count(), 3, "{first:?}");
    case.pipeline().ok();
    assert_eq!(listed(), first);
    case.append("in.json", record("1.2", 5));
    case.pipeline().ok();
    let grown: Vec<_> = listed().into_iter().filter(|file| !first.contains(file)).collect();
    assert_eq!(grown.len(), 1, "{grown:?}");
    assert_eq!(grown[0].1, "1\n5\n");
}

#[test]
fn foreign_files_and_backups_beside_a_file_that_rotates_stay() {
    let case = keeping("path = \"o.log\"\nrotate = { size = \"40B\" }");
    let input: String = (0..20).map(|n| record("k", n)).collect();
    let case = case.file("in.json", input);
    let foreign = ["o.log.1", "o.log.2", "o.log.20240101", "o.log.bak"];
    for name in foreign {
        fs::write(case.path(name), name).unwrap();
    }
    for _ in 0..2 {
        case.pipeline().ok();
        for name in foreign {
            assert_eq!(case.read(name), name);
        }
    }
}

#[test]
fn names_that_can_meet_are_refused() {
    let two = |first: &str, second: &str, why: &str| {
        let pipeline = Pipeline::new()
            .source("in", "file", r#"paths = "in.txt""#)
            .sink("a", "file", first)
            .sink("b", "file", second);
        let case = Case::new().file("in.txt", "x\n").file("pipeline.toml", pipeline.to_string());
        fs::write(case.path("there"), "").unwrap();
        fs::hard_link(case.path("there"), case.path("linked")).unwrap();
        std::os::unix::fs::symlink("there", case.path("link")).unwrap();
        fs::create_dir(case.path("real")).unwrap();
        std::os::unix::fs::symlink("real", case.path("folder")).unwrap();
        let ran = case.run(&["check", "pipeline.toml"]);
        match why {
            "" => ran.ok(),
            why => ran.code(2).says(why),
        };
    };
    let meet = "may write the same file";
    two("path = \"o\"", "path = \"o.1\"", "");
    two("path = \"o\"\nrotate = { size = \"1MB\" }", "path = \"o.1\"", meet);
    two("path = \"o\"\nrotate = { every = \"1h\" }", "path = \"o.20240101\"", meet);
    two("path = \"o\"\nrotate = { every = \"1h\" }", "path = \"o.log\"", "");
    two("path = \"{key}.log\"", "path = \"x.log\"", meet);
    two("path = \"{key}.log\"", "path = \"x.txt\"", "");
    two("path = \"a/{key}\"", "path = \"a/{attribute:x}/y\"", "");
    two("path = \"there\"", "path = \"link\"", "something else already writes");
    two("path = \"there\"", "path = \"linked\"", meet);
    two("path = \"real/x\"", "path = \"folder/x\"", "something else already writes");
    two("path = \"real/x\"", "path = \"./real/../real/x\"", "something else already writes");
}

#[test]
fn what_is_read_is_not_written() {
    let run = |source: &str, sink: &str| {
        let pipeline = Pipeline::with(r#"deadline = "20s""#)
            .source("in", "file", source)
            .sink("out", "file", sink);
        let case = Case::new().file("in.log", "x\n").file("pipeline.toml", pipeline.to_string());
        fs::hard_link(case.path("in.log"), case.path("hard.log")).unwrap();
        std::os::unix::fs::symlink("in.log", case.path("soft.log")).unwrap();
        (case.run(&["run", "pipeline.toml"]), case)
    };
    let endless = "the run would never end";
    for source in
        ["paths = \"in.log\"", "paths = \"*.log\"", "paths = \"soft.log\"", "paths = \"**/*\""]
    {
        for sink in ["in.log", "soft.log", "hard.log"] {
            if source.contains("soft") && sink == "hard.log" {
                continue; // Seen when it is opened, below.
            }
            let (ran, case) = run(source, &format!("path = \"{sink}\"\nappend = true"));
            ran.code(2).says(endless);
            assert_eq!(case.read("in.log"), "x\n");
        }
    }
    // A file that is there once it is complete may take the place of what was read.
    let (ran, case) = run(
        "paths = \"in.log\"",
        "path = \"in.log\"\ncodec = { type = \"lines\", template = \"{value}!\" }",
    );
    ran.ok();
    assert_eq!(case.read("in.log"), "x!\n");
    let (ran, _) = run("paths = \"in.log\"\nfollow = true", "path = \"in.log\"");
    ran.code(2).says(endless);
    let (ran, _) =
        run("paths = \"out*\"\nfollow = true", "path = \"out\"\nrotate = { size = \"1B\" }");
    ran.code(2).says(endless);
}

#[test]
fn a_table_that_is_read_is_not_written() {
    let pipeline = Pipeline::new()
        .source("in", "sqlite", "path = \"x.db\"\ntable = \"t\"")
        .sink("out", "sqlite", "path = \"./x.db\"\ntable = \"T\"")
        .to_string();
    let case = Case::new().file("pipeline.toml", pipeline);
    case.run(&["check", "pipeline.toml"])
        .code(2)
        .says("writes to the table that the source `in` reads");
}

/// A sink that is divided and rotates, killed now and then: each value's lines, once, in order.
#[test]
fn a_divided_sink_that_rotates_is_exact_after_kills() {
    let keys = 7;
    let input: String = (0..20_000).map(|n| record(&format!("k{}", n / 900 % keys), n)).collect();
    let case = keeping("path = \"out/{key}.log\"\nrotate = { size = \"2KiB\" }\nrate = 30_000")
        .file("in.json", input);
    let mut kills = 0;
    loop {
        let mut command = case.command(&["run", "pipeline.toml", "--quiet"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        if kills < 12 {
            std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(20..120)));
            if child.try_wait().unwrap().is_none() {
                kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
                wait(child).code(137);
                kills += 1;
                continue;
            }
        }
        wait(child).ok();
        break;
    }
    let expected = |key: u64| -> String {
        (0..20_000).filter(|n| n / 900 % keys == key).map(|n| format!("{n}\n")).collect()
    };
    for key in 0..keys {
        assert!(case.read_rotated(&format!("out/k{key}.log")) == expected(key), "{key}, {kills}");
    }
    let hidden = fs::read_dir(case.path("out"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "what no checkpoint knows was removed");
}

#[test]
fn a_rotated_file_may_be_taken_away_at_once() {
    let case = keeping(
        "path = \"o.log\"\nrotate = { size = \"1KiB\" }\nrate = 20_000\nbatch = { records = 50 }",
    )
    .file("in.json", (0..20_000).map(|n| record("k", n)).collect::<String>());
    let (mut taken, mut kills) = (Vec::new(), 0);
    let take = |taken: &mut Vec<(u64, String)>| {
        for entry in fs::read_dir(case.folder.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if let Some(number) = name.strip_prefix("o.log.") {
                taken.push((number.parse().unwrap(), fs::read_to_string(entry.path()).unwrap()));
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    loop {
        let mut command = case.command(&["run", "pipeline.toml", "--quiet"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        while kills < 8 && child.try_wait().unwrap().is_none() {
            let before = taken.len();
            take(&mut taken);
            if taken.len() > before && fastrand::u8(..) < 80 {
                let _ = child.kill();
                kills += 1;
                break;
            }
        }
        let ran = wait(child);
        assert!([0, 137].contains(&ran.code), "{ran:?}");
        if ran.code == 0 {
            break;
        }
    }
    take(&mut taken);
    taken.sort();
    let numbers: Vec<_> = taken.iter().map(|(number, _)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "no number twice");
    let all: String = taken.iter().map(|(_, text)| text.as_str()).collect();
    assert!(all + &case.read("o.log") == lines(0..20_000), "after {kills} kills");
}

#[test]
fn a_pipeline_that_was_moved_goes_on() {
    let case = Case::new();
    let inner = case.path("here");
    fs::create_dir(&inner).unwrap();
    let pipeline = Pipeline::with("name = \"p\"\nstate = \"state\"")
        .source("in", "file", IN_JSON)
        .stage("once", "dedupe", "")
        .sink("out", "file", r#"path = "out.txt""#)
        .sink("by-key", "file", r#"path = "out/{key}""#);
    fs::write(inner.join("pipeline.toml"), pipeline.to_string()).unwrap();
    fs::write(inner.join("in.json"), record("a", 1)).unwrap();
    case.run(&["run", "here/pipeline.toml"]).ok();
    // Moved; then copied, so that each file has another inode.
    fs::rename(&inner, case.path("moved")).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-r", "moved", "copied"])
        .current_dir(case.folder.path())
        .status();
    assert!(copied.unwrap().success());
    for folder in ["moved", "copied"] {
        case.append(&format!("{folder}/in.json"), &(record("a", 2) + &record("b", 3)));
        case.run(&["run", &format!("{folder}/pipeline.toml")]).ok();
        assert_eq!(case.read(&format!("{folder}/out.txt")), "1\n3\n");
        assert_eq!(case.read(&format!("{folder}/out/a")), "1\n");
        assert_eq!(case.read(&format!("{folder}/out/b")), "3\n");
        // From within the folder, it is the same pipeline.
        let mut command = case.command(&["run", "pipeline.toml"]);
        let ran = wait(command.current_dir(case.path(folder)).spawn().unwrap()).ok();
        ran.says("0 records written");
    }
}

#[test]
fn a_sink_that_was_taken_out_of_the_state_does_not_write_over_its_file() {
    let case = keeping("path = \"out.txt\"").file("in.json", record("a", 1));
    case.pipeline().ok();
    case.run(&["state", "reset", "state", "--node", "out"]).ok();
    case.append("in.json", record("a", 2));
    case.pipeline()
        .code(1)
        .says("will not write out.txt anew: the state does not know this sink")
        .says("Move it away, or say `append = true`");
    assert_eq!(case.read("out.txt"), "1\n");
    let text = case.read("pipeline.toml") + "append = true\n";
    let case = case.file("pipeline.toml", text);
    case.pipeline().ok();
    assert_eq!(case.read("out.txt"), "1\n2\n");
}

#[test]
fn nothing_is_touched_before_everything_could_refuse() {
    // The sink could be truncated; the source cannot be gone on with.
    let case = keeping("path = \"out.txt\"").file("in.json", record("a", 1) + &record("a", 2));
    case.pipeline().ok();
    case.append("out.txt", "behind the checkpoint\n");
    fs::write(case.path("in.json"), format!("{}\n", "x".repeat(5))).unwrap();
    let whole = case.read("in.json");
    fs::remove_file(case.path("in.json")).unwrap();
    case.pipeline().code(2).says("there is no file in.json");
    assert_eq!(case.read("out.txt"), "1\n2\nbehind the checkpoint\n");
    drop(whole);
}

#[test]
fn a_configuration_or_a_component_that_changed_is_said() {
    let source = "paths = \"in.json\"\nfollow = true\n\
                  codec = { type = \"json\", timestamp = \"t\", key = \"k\" }\n\
                  watermark = {}\nbatch = { linger = \"0s\" }";
    let pipeline = |config: &str| {
        Pipeline::with("name = \"p\"\nstate = \"state\"")
            .source("in", "file", source)
            .stage("count", "aggregate", &format!("config = {config}"))
            .sink("all", "file", "path = \"out.txt\"\ninput = \"in\"")
            .sink("out", "file", r#"path = "windows""#)
            .sink("late", "null", r#"input = "count.late""#)
            .to_string()
    };
    let case = Case::new()
        .file("in.json", "{\"t\":\"2024-01-01T00:00:00Z\",\"k\":\"a\"}\n")
        .file("pipeline.toml", pipeline("{ size = \"1m\", slide = \"30s\" }"));
    case.suspended("");
    let case =
        case.file("pipeline.toml", pipeline("{ size = \"2m\", max_open = 7, slide = \"30s\" }"));
    case.pipeline()
        .code(1)
        .says("stage `count`: it refuses the state that its version 0.1.0 saved")
        .says("made with another configuration; what differs: `size`")
        .says("pipehost state reset state --node count");
    // The same, written in another way.
    let case = case.file("pipeline.toml", pipeline("{ slide = \"30s\", size = \"1m\" }"));
    case.suspended("");
}

#[test]
fn a_key_is_needed_where_rows_are_replaced() {
    let run = |settings: &str, before: &str| {
        let table = "path = \"out.db\"\ntable = \"t\"\ncolumns = { id = \"key\", v = \"value\" }";
        let sink = format!("{table}\n{settings}");
        let pipeline = Pipeline::new().source("in", "file", IN_JSON).sink("out", "sqlite", &sink);
        let case = Case::new()
            .file("in.json", record("a", 1) + &record("a", 2))
            .file("pipeline.toml", pipeline.to_string());
        let connection = rusqlite::Connection::open(case.path("out.db")).unwrap();
        connection.execute_batch(before).unwrap();
        let ran = case.pipeline();
        let rows = connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
        (ran, rows.ok())
    };
    for conflict in ["replace", "ignore"] {
        let settings = format!("on_conflict = \"{conflict}\"");
        run(&settings, "").0.code(1).says("primary_key = [\"COLUMN\"]");
        run(&settings, "CREATE TABLE t (id, v); CREATE INDEX i ON t (id)").0.code(1);
        let unique = "CREATE TABLE t (id, v); CREATE UNIQUE INDEX i ON t (id)";
        let (ran, rows) = run(&settings, unique);
        ran.ok();
        assert_eq!(rows, Some(1));
        let (ran, rows) = run(&format!("{settings}\nprimary_key = \"id\""), "");
        ran.ok();
        assert_eq!(rows, Some(1));
    }
    run("primary_key = [\"none\"]", "").0.code(2).says("names \"none\", which is no column");
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let pipeline = Pipeline::new()
        .source("in", "file", r#"paths = "in.txt""#)
        .sink("out", "file", r#"path = "out.txt""#)
        .to_string();
    let case = Case::new().file("in.txt", "x\n").file("pipeline.toml", pipeline);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let left = |name: &str| {
        let file = fs::File::create(case.path(name)).unwrap();
        file.set_modified(old).unwrap();
        file
    };
    left(".pipehost-new-abcdef");
    let held = left(".pipehost-new-held00");
    held.lock().unwrap(); // Somebody still writes it.
    left(".pipehost-0123456789abcdef-0"); // A state may know it.
    left(".other");
    case.pipeline().ok();
    assert!(!case.path(".pipehost-new-abcdef").exists());
    for name in [".pipehost-new-held00", ".pipehost-0123456789abcdef-0", ".other"] {
        assert!(case.path(name).exists(), "{name}");
    }
}

#[test]
fn a_foreign_file_that_came_later_is_not_replaced() {
    let case = keeping("path = \"out/{key}\"").file("in.json", record("a", 1));
    case.pipeline().ok();
    fs::write(case.path("out/b"), "precious\n").unwrap();
    case.append("in.json", record("b", 2));
    case.pipeline().code(1).says("cannot write out/b: there is a file that no checkpoint");
    assert_eq!(case.read("out/b"), "precious\n");
    fs::rename(case.path("out/b"), case.path("away")).unwrap();
    case.pipeline().ok();
    assert_eq!(case.read("out/b"), "2\n");
}

#[test]
fn a_link_stays_where_it_leads_to_nothing_yet() {
    for state in ["", "state = \"state\""] {
        let pipeline = Pipeline::with(state)
            .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 10 }")
            .sink("out", "file", "path = \"out.txt\"\nrotate = { size = \"50B\" }");
        let case =
            Case::new().file("in.txt", lines(0..100)).file("pipeline.toml", pipeline.to_string());
        fs::create_dir(case.path("real")).unwrap();
        std::os::unix::fs::symlink("real/out.txt", case.path("out.txt")).unwrap();
        case.pipeline().ok();
        assert!(fs::symlink_metadata(case.path("out.txt")).unwrap().is_symlink());
        assert_eq!(case.read_rotated("real/out.txt"), lines(0..100));
        assert!(!case.path("out.txt.1").exists());
    }
    let pipeline = Pipeline::new()
        .source("in", "file", r#"paths = "in.txt""#)
        .sink("a", "file", r#"path = "a.txt""#)
        .sink("b", "file", r#"path = "b.txt""#);
    let case = Case::new().file("in.txt", "x\n").file("pipeline.toml", pipeline.to_string());
    std::os::unix::fs::symlink("b.txt", case.path("a.txt")).unwrap();
    case.run(&["check", "pipeline.toml"]).code(2).says("something else already writes b.txt");
}

#[test]
fn a_file_that_is_taken_away_while_it_is_written_ends_the_run() {
    let case =
        keeping("path = \"out.txt\"\nrate = 2000\nbatch = { records = 10, linger = \"1ms\" }")
            .file("in.json", (0..20_000).map(|n| record("k", n)).collect::<String>());
    let child = case.command(&["run", "pipeline.toml"]).stdin(Stdio::null()).spawn().unwrap();
    while fs::metadata(case.path("out.txt")).map_or(0, |metadata| metadata.len()) == 0 {}
    fs::remove_file(case.path("out.txt")).unwrap();
    wait(child)
        .code(1)
        .says("out.txt: it was moved, deleted or replaced while the pipeline wrote it");
}

#[test]
fn a_primary_key_is_one_and_nothing_is_made_up_for_it() {
    let run = |columns: &str, input: &str, before: &str| {
        let table = "path = \"out.db\"\ntable = \"t\"";
        let sink = format!("{table}\non_conflict = \"replace\"\nprimary_key = \"id\"\n{columns}");
        let pipeline = Pipeline::new().source("in", "file", IN_JSON).sink("out", "sqlite", &sink);
        let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
        rusqlite::Connection::open(case.path("out.db")).unwrap().execute_batch(before).unwrap();
        case.pipeline()
    };
    let columns = "columns = { id = { from = \"key\", type = \"integer\" }, v = \"value\" }";
    run(columns, "{\"v\":1}\n", "").code(1).says("NOT NULL constraint failed: t.id");
    run("columns = { id = \"key\", v = \"value\" }", "{\"v\":1}\n", "").code(1).says("NOT NULL");
    let other = "CREATE TABLE t (id integer, v, other UNIQUE)";
    run(columns, "{\"k\":5,\"v\":1}\n", other).code(1).says("`primary_key` is none of its keys");
    run(columns, "{\"k\":5,\"v\":1}\n", "CREATE TABLE t (id INTEGER PRIMARY KEY, v)").ok();
}

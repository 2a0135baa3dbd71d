//! Stopped at an operation on a file, or with one that fails, and then restarted: what is written
//! is right, to the line. What is right is computed here, not by another run.
//!
//! Some of all operations are tried each time, others each time; `PIPEHOST_CRASHES=2000` tries
//! so many of each kind.

#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use harness::{Case, Ran, plugin, root, wait};

const RECORDS: u64 = 400;

/// The library that stops a program at its operations on files.
fn faults() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        let made = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(root().join("tests/crash/faults.c"))
            .arg("-ldl")
            .status();
        assert!(made.expect("there is a C compiler: Rust links with it").success());
        library
    })
}

/// Record `n`: its second, its key and its value, of which some are no numbers.
fn record(n: u64) -> (u64, String, String) {
    let value = if n % 37 == 5 { format!("bad {n}") } else { n.to_string() };
    (n / 10, format!("k{}", n * n % 11), value)
}

fn pipeline(component: impl Fn(&str) -> String) -> String {
    let [double, dedupe, count] = ["double", "dedupe", "aggregate"].map(component);
    format!(
        r#"
[pipeline]
name = "crash"
state = "state"
checkpoint_interval = "2ms"
dead_letters = {{ path = "dead", rotate = "1KiB" }}

[[source]]
name = "in"
type = "file"
paths = "in.json"
codec = {{ type = "json", timestamp = "t", key = "k", value = "v" }}
batch = {{ records = 20 }}
watermark = {{}}

[[stage]]
name = "double"
plugin = "{double}"
input = "in"
workers = 2
on_error = "dead-letter"

[[stage]]
name = "once"
plugin = "{dedupe}"
input = "double"

[[stage]]
name = "count"
plugin = "{count}"
input = "double"
workers = 2
partition = "key"
config = {{ size = "10s" }}

[[sink]]
name = "all"
type = "file"
path = "all.out"
rotate = {{ size = "300B" }}
rate = 8_000
input = "double"

[[sink]]
name = "once"
type = "file"
path = "once.out"
input = "once"

[[sink]]
name = "by-key"
type = "file"
path = "by/{{key}}.out"
rotate = {{ size = "60B" }}
input = "double"

[[sink]]
name = "both"
type = "file"
path = "both.out"
input = ["once", "double"]

[[sink]]
name = "windows"
type = "file"
path = "windows.out"
codec = {{ type = "lines", template = "{{timestamp}} {{key}} {{value}}" }}
input = "count"

[[sink]]
name = "late"
type = "file"
path = "late.out"
input = "count.late"
"#
    )
    .replace("name = \"once\"\ntype", "name = \"firsts\"\ntype")
}

/// `old`: whether an earlier pipeline has left files, which the first start replaces.
fn case(old: bool) -> Case {
    let input: String = (0..RECORDS)
        .map(|n| {
            let (second, key, value) = record(n);
            let time = format!("2024-01-01T00:00:{second:02}Z");
            serde_json::json!({ "t": time, "k": key, "v": value }).to_string() + "\n"
        })
        .collect();
    let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline(plugin));
    if old {
        fs::create_dir(case.path("by")).unwrap();
        for old in ["all.out", "once.out", "by/k0.out", "by/k1.out"] {
            fs::write(case.path(old), "of an earlier pipeline\n").unwrap();
        }
    }
    case
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Compares all that was written with what is right.
#[track_caller]
fn is_right(case: &Case, what: &str) {
    let (mut all, mut firsts, mut bad) = (String::new(), String::new(), Vec::new());
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    let mut windows: BTreeMap<(u64, String), u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for n in 0..RECORDS {
        let (second, key, value) = record(n);
        let Ok(number) = value.parse::<u64>() else {
            bad.push(value);
            continue;
        };
        let line = format!("{}\n", number * 2);
        all += &line;
        if seen.insert(key.clone()) {
            firsts += &line;
        }
        *by_key.entry(key.clone()).or_default() += &line;
        *windows.entry((second / 10 * 10, key)).or_default() += 1;
    }
    assert_eq!(case.read_rotated("all.out"), all, "{what}");
    assert_eq!(case.read("once.out"), firsts, "{what}");
    assert_eq!(sorted(&case.read("both.out")), sorted(&(all + &firsts)), "{what}");
    for (key, lines) in &by_key {
        assert_eq!(case.read_rotated(&format!("by/{key}.out")), *lines, "{what}");
    }
    let expected: Vec<_> = (windows.iter())
        .map(|((second, key), count)| format!("2024-01-01T00:00:{second:02}Z {key} {count}"))
        .collect();
    assert_eq!(sorted(&case.read("windows.out")), expected, "{what}");
    assert_eq!(case.read("late.out"), "", "{what}");
    let mut letters = Vec::new();
    let rotated = (1..).map(|n| format!("dead.{n}")).take_while(|name| case.path(name).exists());
    for file in rotated.chain(["dead".to_owned()]) {
        letters.extend(harness::letters(case, &file).into_iter().map(|letter| letter.value));
    }
    letters.sort(); // Two workers refuse them.
    bad.sort();
    assert_eq!(letters, bad, "{what}");
    for folder in [".", "by"] {
        for entry in fs::read_dir(case.path(folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.starts_with(".pipehost-"), "{name} is left, {what}");
        }
    }
}

/// Runs with a fault at an operation.
fn faulty(case: &Case, kind: &str, at: u64) -> Ran {
    let shadow = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = case.command(&["run", "pipeline.toml", "--quiet"]);
    command
        .env("LD_PRELOAD", faults())
        .env("FAULT_DIR", case.folder.path().canonicalize().unwrap())
        .env("FAULT_SHADOW", shadow.path())
        .env("FAULT_KIND", kind)
        .env("FAULT_AT", at.to_string())
        .stdin(Stdio::null());
    wait(command.spawn().unwrap())
}

/// Operations of a run that nothing happens to.
fn operations() -> u64 {
    static COUNT: OnceLock<u64> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let case = case(false);
        let count = tempfile::NamedTempFile::new().unwrap();
        let mut command = case.command(&["run", "pipeline.toml"]);
        command
            .env("LD_PRELOAD", faults())
            .env("FAULT_DIR", case.folder.path().canonicalize().unwrap())
            .env("FAULT_COUNT", count.path());
        wait(command.stdin(Stdio::null()).spawn().unwrap()).ok();
        is_right(&case, "undisturbed");
        fs::read_to_string(count.path()).unwrap().parse().unwrap()
    })
}

fn crashes(kind: &str) {
    let tried = std::env::var("PIPEHOST_CRASHES").map_or(25, |n| n.parse().expect("a number"));
    let operations = operations();
    assert!(operations > 200, "{operations}");
    let mut stopped = 0;
    for round in 0..tried {
        // To bring a name back changes when its file was changed, by which old files are known.
        let case = case(kind != "lost" && fastrand::bool());
        // The first are those of the first start; then any.
        let at =
            if round < 8 { round * 4 + fastrand::u64(1..=4) } else { fastrand::u64(1..operations) };
        let first = faulty(&case, kind, at);
        // What fails once more, as it recovers.
        let again = fastrand::u64(1..60);
        let second = if fastrand::bool() { Some(faulty(&case, kind, again)) } else { None };
        let what = format!("{kind} at {at} of {operations}, then {again}: {first:?} {second:?}");
        for ran in [Some(&first), second.as_ref()].into_iter().flatten() {
            assert!([0, 1, 77].contains(&ran.code), "{what}");
            assert!(!ran.stderr.contains("panicked"), "{what}");
            stopped += u64::from(ran.code != 0);
        }
        let last = case.run(&["run", "pipeline.toml", "--quiet"]);
        assert_eq!(last.code, 0, "{}\n{what}", last.stderr);
        is_right(&case, &what);
    }
    assert!(stopped > tried / 2, "{stopped}");
}

#[test]
fn stopped_before_an_operation() {
    crashes("before");
}

#[test]
fn stopped_after_an_operation() {
    crashes("after");
}

#[test]
fn stopped_within_a_write() {
    crashes("torn");
}

#[test]
fn stopped_and_what_was_not_synced_is_gone() {
    crashes("lost");
}

#[test]
fn a_full_disk() {
    crashes("ENOSPC");
}

#[test]
fn a_disk_that_fails() {
    crashes("EIO");
}

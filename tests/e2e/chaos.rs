//! Killed at random moments, and replaced while it runs, and nothing is lost or invented.
//!
//! `PIPEHOST_KILLS=1000 cargo test --test e2e chaos` does it for longer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, guest, wait};

fn kills() -> usize {
    std::env::var("PIPEHOST_KILLS").map_or(100, |kills| kills.parse().expect("a number"))
}

/// Log lines in the order of time, of a few levels, some of them no log lines at all.
fn log(lines: u64) -> String {
    (0..lines)
        .map(|n| {
            let (seconds, level) = (n / 100, ["INFO", "WARN", "ERROR"][n as usize % 3]);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            match n % 1000 {
                999 => format!("not a log line, number {n}\n"),
                _ => format!(
                    "2024-01-01T{hours:02}:{minutes:02}:{seconds:02}.{:02}Z {level} {} {}\n",
                    n % 100,
                    match n % 1000 {
                        250 => "Loop",
                        500 => "Poison",
                        _ => "message",
                    },
                    n * 7919 % 5000
                ),
            }
        })
        .collect()
}

/// File to files, through everything that keeps something: rejected records, a window, a
/// memory of keys, workers, and a guest that traps now and then, or does not come back.
fn pipeline(rate: u64) -> Pipeline {
    let refused = r#"on_error = "dead-letter""#;
    let sized = r#"config = { size = "10s", slide = "5s", attribute = "level" }"#;
    Pipeline::with(
        "name = \"chaos\"\nstate = \"state\"\ncheckpoint_interval = \"20ms\"\n\
         dead_letters = { path = \"dead\", rotate = \"4KiB\" }",
    )
    .source("in", "file", &format!("paths = \"*.log\"\nbatch = {{ records = 200 }}\n{refused}"))
    .stage("parse", "parse-log", &format!("workers = 2\n{refused}\nwatermark = {{ lag = \"1s\" }}"))
    .stage("poison", "poison.wat", &format!("{refused}\nlimits = {{ fuel = 1_000_000 }}"))
    .stage("once", "dedupe", r#"config = { attribute = "level", keys = 2 }"#)
    .stage(
        "count",
        "aggregate",
        &format!("input = \"poison\"\nworkers = 2\npartition = \"attribute:level\"\n{sized}"),
    )
    .sink(
        "all",
        "file",
        &format!(
            "path = \"all.out\"\nrotate = {{ size = \"64KiB\" }}\ninput = \"poison\"\nrate = {rate}"
        ),
    )
    .sink("deduped", "file", "path = \"deduped.out\"\ninput = \"once\"\ncodec = \"json\"")
    .sink("windows", "file", "path = \"windows.out\"\ninput = \"count\"\ncodec = \"json\"")
    .sink("late", "file", "path = \"late-{level}.out\"\ninput = \"count.late\"")
}

fn case(rate: u64) -> Case {
    // What begins with a P makes the guest trap, and one with an L loop.
    Case::new()
        .file("a.log", log(20_000))
        .file("b.log", log(10_000))
        .file("poison.wat", guest("poison"))
        .file("pipeline.toml", pipeline(rate).to_string())
}

/// The same pipeline in another shape: with other lanes, batches and limits, and with connectors that
/// must be opened anew.
fn varied(text: &str) -> String {
    let mut text = text.to_owned();
    let mut vary = |from: &str, to: &[&str]| {
        let to = to[fastrand::usize(..to.len())];
        text = text.replace(from, to);
    };
    vary("workers = 2\npartition = \"attribute:level\"", &["", "workers = 1", "workers = 3"]);
    vary("workers = 2\n", &["", "workers = 1\n", "workers = 3\n"]);
    vary("records = 200", &["records = 200", "records = 70"]);
    vary("paths = \"*.log\"", &["paths = \"*.log\"", "paths = [\"a.log\", \"b.log\"]"]);
    vary("fuel = 1_000_000", &["fuel = 1_000_000", "fuel = 1_000_001"]);
    vary("size = \"64KiB\"", &["size = \"64KiB\"", "size = \"64KiB\", every = \"1h\""]);
    text
}

/// What must be the same to the byte, and what in any order: windows that close together
/// come worker by worker, and which do depends on where batches end.
const ORDERED: [&str; 3] = ["all.out", "deduped.out", "late-INFO.out"];
const UNORDERED: &str = "windows.out";

fn outputs(case: &Case) -> Vec<String> {
    let mut outputs: Vec<_> = ORDERED.map(|name| case.read_rotated(name)).into();
    let windows = case.read(UNORDERED);
    let mut lines: Vec<_> = windows.lines().collect();
    lines.sort_unstable();
    outputs.push(lines.join("\n"));
    outputs
}

/// All letters, those of rotated files first, without the time at which each was refused.
fn dead_letters(case: &Case) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(case.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("dead"))
        .collect();
    files.sort_by_key(|name| {
        name.strip_prefix("dead.").map_or(u64::MAX, |number| number.parse().unwrap())
    });
    let mut letters = Vec::new();
    for file in files {
        let exported = case.run(&["dead-letter", "export", &file]).ok().stdout;
        letters.extend(exported.lines().map(|line| {
            let mut letter: serde_json::Value = serde_json::from_str(line).unwrap();
            letter.as_object_mut().unwrap().remove("time");
            letter.to_string()
        }));
    }
    // Several stages write them, in whatever order.
    letters.sort();
    letters
}

#[test]
fn a_pipeline_that_is_killed_ends_as_if_it_had_not_been() {
    let undisturbed = case(1_000_000_000);
    undisturbed.pipeline().ok();
    let expected = outputs(&undisturbed);
    assert_eq!(expected[0].lines().count(), 29_910, "all but those that were refused");
    let letters = dead_letters(&undisturbed);
    assert_eq!(letters.len(), 90);

    let disturbed = case(6_000);
    let text = disturbed.read("pipeline.toml");
    // Renamed, so that a process that starts slowly does not read half a file.
    let vary = || {
        fs::write(disturbed.path("new.toml"), varied(&text)).unwrap();
        fs::rename(disturbed.path("new.toml"), disturbed.path("pipeline.toml")).unwrap();
    };
    let mut killed = 0;
    loop {
        vary();
        let mut command = disturbed.command_that_hears_hangups(&["run", "pipeline.toml", "-q"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        if killed < kills() {
            let pause = || Duration::from_micros(fastrand::u64(10_000..120_000));
            std::thread::sleep(pause());
            vary();
            kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
            std::thread::sleep(pause());
            let ended = child.try_wait().unwrap();
            if ended.is_some_and(|status| status.signal() == Some(1)) {
                continue; // It did not listen yet.
            }
            if ended.is_none() {
                kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
                wait(child).code(128 + 9);
                killed += 1;
                continue;
            }
        }
        wait(child).ok();
        break;
    }
    let names = ORDERED.into_iter().chain([UNORDERED]);
    for (name, (expected, found)) in names.zip(expected.iter().zip(outputs(&disturbed))) {
        assert!(found == *expected, "{name} differs after {killed} kills");
    }
    assert_eq!(dead_letters(&disturbed), letters, "after {killed} kills");
    assert!(killed > 20, "it was killed {killed} times alone");
}

/// Posts a body until it is acknowledged, whatever happens to the server.
fn post_until_acknowledged(address: SocketAddr, body: &str) {
    loop {
        let attempt = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            let length = body.len();
            write!(
                stream,
                "POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        match attempt() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => return,
            _ => std::thread::sleep(Duration::from_millis(5)), // It is dead, or busy.
        }
    }
}

#[test]
fn what_was_acknowledged_over_http_is_there_once_behind_a_dedupe() {
    // A port that is free now, and the same after each kill.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let codec = r#"codec = { type = "json", key = "id", value = "id" }"#;
    let source = format!("listen = \"{address}\"\n{codec}\nbatch = {{ linger = \"1ms\" }}");
    let pipeline = Pipeline::with("state = \"state\"\ncheckpoint_interval = \"20ms\"")
        .source("in", "http", &source)
        .stage("once", "dedupe", "")
        .sink("out", "file", r#"path = "out.txt""#);
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    const POSTERS: u64 = 4;
    let posted = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let start = || {
        let mut command = case.command_that_hears_hangups(&["run", "pipeline.toml", "--quiet"]);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    // The source goes on as it is, or listens anew.
    let text = case.read("pipeline.toml");
    let vary = || {
        let linger = ["linger = \"1ms\"", "linger = \"2ms\""][fastrand::usize(..2)];
        let listen = ["", "queue = 9\n"][fastrand::usize(..2)];
        let varied = text.replace("linger = \"1ms\"", linger);
        let varied = varied.replace("listen =", &format!("{listen}listen ="));
        fs::write(case.path("pipeline.toml"), varied).unwrap();
    };
    let child = std::thread::scope(|scope| {
        let mut child = start();
        for poster in 0..POSTERS {
            let (posted, stop) = (&posted, &stop);
            scope.spawn(move || {
                for n in (poster..).step_by(POSTERS as usize) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    post_until_acknowledged(
                        address,
                        &format!("{{\"id\":{}}}\n{{\"id\":{}}}\n", 2 * n, 2 * n + 1),
                    );
                    posted.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..kills() / 4 {
            // Something was acknowledged since it started; then, at any moment.
            let before = posted.load(Ordering::Relaxed);
            while posted.load(Ordering::Relaxed) == before {
                assert!(child.try_wait().unwrap().is_none(), "{:?}", wait(child));
                std::thread::sleep(Duration::from_millis(1));
            }
            vary();
            kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..100_000)));
            kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
            wait(child).code(128 + 9);
            child = start();
        }
        stop.store(true, Ordering::Relaxed);
        child
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    wait(child).code(143);
    let mut found: Vec<u64> =
        case.read("out.txt").lines().map(|line| line.parse().unwrap()).collect();
    let count = found.len() as u64;
    assert_eq!(
        count,
        posted.load(Ordering::Relaxed),
        "no more and no fewer than were acknowledged"
    );
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len() as u64, count, "each once");
    assert!(count > 100, "{count}");
}

#[test]
fn a_full_disk_fails_the_run_and_the_next_one_completes_it() {
    let lines: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let pipeline = Pipeline::with("state = \"state\"\ncheckpoint_interval = \"1ms\"")
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 1000 }")
        .sink("out", "file", r#"path = "out.txt""#);
    let case = Case::new().file("in.txt", &lines).file("pipeline.toml", pipeline.to_string());
    // No file may grow beyond a megabyte: for a program, as if the disk were full.
    let limited = std::process::Command::new("sh")
        .current_dir(case.folder.path())
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" run pipeline.toml"])
        .arg(env!("CARGO_BIN_EXE_pipehost"))
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait(limited).code(1).says("error: sink `out`: cannot write ").says("out.txt: File too large");
    case.pipeline().ok().says("resuming from checkpoint");
    assert!(case.read("out.txt") == lines);
}

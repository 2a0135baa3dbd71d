//! However a run ends: what came in was written, is in the dead letters, or is said not to be
//! delivered.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, letters, plugin, wait};

/// What the summary says came in, and what it says was not delivered.
fn said(stderr: &str) -> (u64, u64) {
    let number = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
    let Some(row) = stderr.lines().find(|line| line.starts_with("  in ")) else {
        // The signal came before anything was read: the file of a database is made first.
        assert!(stderr.contains("every record that was read was delivered"), "{stderr}");
        return (0, 0);
    };
    let came = number(row.split_whitespace().nth(1).unwrap());
    let lost = stderr.match_indices(" before or in `").map(|(at, _)| {
        number(stderr[..at].rsplit(|c: char| c != ',' && !c.is_ascii_digit()).next().unwrap())
    });
    (came, lost.sum())
}

#[test]
fn what_comes_in_is_written_refused_or_said_not_to_be_delivered() {
    let double = plugin("double");
    let input: String = (0..200_000)
        .map(|n| if n % 50 == 7 { format!("bad {n}\n") } else { format!("{n}\n") })
        .collect();
    let sources = [
        "type = \"stdin\"",
        "type = \"file\"\npaths = \"in.txt\"",
        "type = \"file\"\npaths = \"in.txt\"\nfollow = true",
        "type = \"generate\"\ncount = 200_000",
    ];
    let sinks = [
        "type = \"file\"\npath = \"out.txt\"\nappend = true",
        "type = \"sqlite\"\npath = \"out.db\"\ntable = \"t\"\ncolumns = { v = \"value\" }",
    ];
    let ends = [Some(Signal::TERM), Some(Signal::HUP), Some(Signal::INT), None];
    for (round, (source, sink)) in
        sources.iter().flat_map(|source| sinks.map(|sink| (source, sink))).enumerate()
    {
        for end in [ends[round % 4], ends[(round + 2) % 4]] {
            let deadline = if end.is_none() { "deadline = \"150ms\"\n" } else { "" };
            // Now and then, there is too little time to drain.
            let grace = if round % 3 == 0 { "1ms" } else { "10s" };
            let case = Case::new().file("in.txt", &input).file(
                "pipeline.toml",
                format!(
                    "[pipeline]\nshutdown_grace = \"{grace}\"\n{deadline}\
                     dead_letters = \"dead\"\n\
                     [[source]]\nname = \"in\"\n{source}\nbatch = {{ records = 500 }}\n\
                     [[stage]]\nname = \"double\"\nplugin = \"{double}\"\ninput = \"in\"\n\
                     on_error = \"dead-letter\"\n\
                     [[sink]]\nname = \"out\"\ninput = \"double\"\nrate = 100_000\n{sink}\n"
                ),
            );
            let mut command = case.command_that_hears_hangups(&["run", "pipeline.toml"]);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let bytes = input.clone();
            let writer =
                std::thread::spawn(move || stdin.write_all(bytes.as_bytes()).map(|()| stdin));
            if let Some(signal) = end {
                let out = case.path(if sink.contains("out.txt") { "out.txt" } else { "out.db" });
                while std::fs::metadata(&out).map_or(0, |metadata| metadata.len()) == 0 {
                    assert!(child.try_wait().unwrap().is_none(), "{:?}", wait(child));
                }
                std::thread::sleep(Duration::from_millis(fastrand::u64(0..100)));
                kill_process(Pid::from_child(&child), signal).unwrap();
                if signal == Signal::HUP {
                    // It goes on with the same pipeline, until another signal ends it.
                    std::thread::sleep(Duration::from_millis(fastrand::u64(0..100)));
                    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
                }
            }
            let ran = wait(child);
            let _ = writer.join();
            assert!(ran.code > 100, "{ran:?}");
            let written = if sink.contains("out.txt") {
                case.read("out.txt").lines().count() as u64
            } else {
                let connection = rusqlite::Connection::open(case.path("out.db")).unwrap();
                let count = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
                u64::try_from(count.unwrap_or(0_i64)).unwrap()
            };
            let refused = letters(&case, "dead").len() as u64;
            let (came, lost) = said(&ran.stderr);
            assert_eq!(came, written + refused + lost, "{source} {sink} {end:?}: {}", ran.stderr);
        }
    }
}

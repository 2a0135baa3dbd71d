//! The recipes: pipelines for everyday jobs in `host/examples`, each with its input and with what
//! must come of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{Case, root, stop};

/// A copy of an example, so that what it writes does not lie in the repository.
fn example(name: &str) -> Case {
    let case = Case::new();
    copy(&root().join("host/examples").join(name), case.folder.path());
    case
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs an example, and compares what it wrote with the files in `expected`.
#[track_caller]
fn gives_what_is_expected(name: &str) -> Case {
    let case = example(name);
    case.pipeline().ok();
    let mut files = 0;
    for entry in fs::read_dir(case.path("expected")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(case.read(&file), case.read(&format!("expected/{file}")), "{name}: {file}");
        files += 1;
    }
    assert!(files > 0, "{name} expects nothing");
    case
}

#[test]
fn an_access_log_becomes_5xx_answers_by_minute() {
    gives_what_is_expected("access-log");
}

#[test]
fn json_logs_without_debug_are_redacted_and_routed() {
    gives_what_is_expected("json-logs");
}

#[test]
fn a_csv_export_with_line_breaks_becomes_a_table_with_types() {
    let case = example("csv-to-sqlite");
    for _ in 0..2 {
        // A second run replaces the rows.
        case.pipeline().ok();
        let database = rusqlite::Connection::open(case.path("orders.db")).unwrap();
        let mut rows = database
            .prepare("select id, customer, total, note, typeof(id), typeof(total) from orders order by id")
            .unwrap();
        let rows: Vec<(i64, String, f64, String, String, String)> = rows
            .query_map((), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let row = |id, customer: &str, total, note: &str| {
            (
                id,
                customer.to_owned(),
                total,
                note.to_owned(),
                "integer".to_owned(),
                "real".to_owned(),
            )
        };
        assert_eq!(
            rows,
            [
                row(1, "Jürgen Meißner", 19.9, "leave it\nat the door; ring twice"),
                row(2, "O\"Neill & Co", 250.0, ""),
                row(3, "Ana", 7.5, "said \"no\""),
            ]
        );
    }
}

#[test]
fn syslog_in_files_becomes_json() {
    gives_what_is_expected("syslog");
}

#[test]
fn java_stack_traces_are_records() {
    gives_what_is_expected("stack-traces");
}

/// The body of a request, and whether it was answered with this status.
fn take(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(&stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut stream: &TcpStream = &stream;
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (head, body)
}

#[test]
fn a_directory_is_followed_and_posted_until_it_is_taken() {
    let case = example("follow-to-http");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::create_dir(case.path("logs")).unwrap();
    fs::write(case.path("logs/a.log"), "one\n").unwrap();
    let mut command = case.command(&["run", "pipeline.toml"]);
    command.env("COLLECTOR", format!("http://{}", listener.local_addr().unwrap()));
    let run = command.spawn().unwrap();
    let (head, refused) = take(&listener, "503 Service Unavailable");
    assert!(head.starts_with("POST /logs "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-encoding: gzip"), "{head}");
    let (_, taken) = take(&listener, "200 OK");
    assert_eq!(refused, taken, "it is sent again as it was");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*taken).read_to_string(&mut text).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["value"], "one");
    assert!(record["attributes"]["file"].as_str().unwrap().ends_with("logs/a.log"));
    // Rotated, and going on in a new file.
    fs::rename(case.path("logs/a.log"), case.path("logs/a.log.1")).unwrap();
    fs::write(case.path("logs/a.log"), "two\n").unwrap();
    let (_, taken) = take(&listener, "200 OK");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*taken).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["value"], "two");
    stop(run, Signal::TERM);
}

#[test]
fn every_recipe_is_short_needs_no_stage_of_its_own_and_is_in_the_document() {
    let document = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root().join("host/examples")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(folder.join("pipeline.toml")) else { continue };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines.count();
        assert!(lines <= 30, "{} has {lines} lines", folder.display());
        assert!(
            document.contains(&text),
            "docs/recipes.md does not have {} as it is",
            folder.display()
        );
        let plugins = text.lines().filter_map(|line| line.strip_prefix("plugin = "));
        for plugin in plugins {
            assert!(!plugin.contains(['/', '.']), "{plugin} does not come with the program");
        }
        names.insert(folder.file_name().unwrap().to_owned());
    }
    assert!(names.len() >= 6, "{names:?}");
}

/// Traces as the programs write them, and the patterns of the document.
#[test]
fn stack_traces_of_java_python_and_go_are_one_record_each() {
    let document = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let java = "E first\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:41)\nCaused by: x.Y: z\n\t... 14 more\n";
    let python = "E first\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\n\
                  ZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\n\
                  Traceback (most recent call last):\n  File \"a.py\", line 5, in <module>\nValueError: boom\n";
    let go = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.f(...)\n\
              \t/tmp/a.go:8\nmain.main()\n\t/tmp/a.go:12 +0x1d\nexit status 2\n";
    let continued = "one \\\ntwo \\\nthree\n";
    let mut patterns = document.lines().filter(|line| line.starts_with("multiline = "));
    for (trace, records) in [(java, 1), (python, 1), (go, 1), (continued, 1)] {
        let multiline = patterns.next().unwrap();
        let text = format!(
            "[[source]]\nname = \"in\"\ntype = \"file\"\npaths = \"in.log\"\n[source.codec]\ntype = \"lines\"\n\
             {multiline}\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\ncodec = \"json\"\ninput = \"in\"\n"
        );
        let case = Case::new()
            .file("pipeline.toml", text)
            .file("in.log", format!("{trace}I next\n{trace}"));
        let out = case.pipeline().ok().stdout;
        let values: Vec<String> = (out.lines())
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|record| record["value"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(values.len(), 2 * records + 1, "{multiline}: {values:#?}");
        let first = values[..records].join("\n");
        assert_eq!(first, trace.trim_end_matches('\n'));
        assert_eq!(values[records], "I next");
    }
}

//! Peers of sinks: they answer without end, in the past, with what moves a cursor; they refuse.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use crate::harness::{Case, Pipeline, letters, wait};
use crate::support::{PROGRAM, run_limited};

/// A server that answers the body of each request as `answer` says: a status line with headers,
/// and what follows. Its requests come out of the channel.
fn server(
    answer: impl Fn(&str) -> (String, Vec<u8>) + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let body = String::from_utf8(body).unwrap();
            let (head, rest) = answer(&body);
            let _ = send.send(body);
            let mut stream = &stream;
            let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(&rest);
        }
    });
    (address, requests)
}

const IN_ONE_BATCH: &str = "paths = \"in.txt\"\nbatch = { linger = \"1h\" }";

fn posting(address: SocketAddr, sink: &str, input: &str) -> Case {
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", IN_ONE_BATCH)
        .sink("out", "http", &format!("url = \"http://{address}\"\n{sink}"));
    Case::new().file("in.txt", input).file("pipeline.toml", pipeline.to_string())
}

#[test]
fn an_answer_without_end_is_not_read() {
    let (address, _requests) = server(|_| ("500 Oops".to_owned(), vec![b'x'; 1 << 30]));
    let case = posting(address, "retry = { attempts = 2, backoff = \"1ms\" }", "x\n");
    let ran = run_limited(&case, &["run", "pipeline.toml"], PROGRAM);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("500 Internal Server Error: xxx"), "{}", ran.stderr);
    assert!(ran.stderr.len() < 5_000, "{} bytes", ran.stderr.len());
}

#[test]
fn an_answer_moves_no_cursor() {
    let text = "a\u{1b}[2J\u{9b}1m\u{202e}b\nforged line";
    let (address, _requests) = server(|_| ("400 No".to_owned(), text.into()));
    let ran = posting(address, "", "x\n").pipeline().code(1);
    assert!(ran.stderr.contains(r"400 Bad Request: a\u{1b}[2J\u{9b}1m\u{202e}b"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("forged"), "{}", ran.stderr);
}

#[test]
fn a_server_that_hurries_is_not_obeyed_and_dates_are_read_in_all_three_forms() {
    let dates = [
        "0",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ];
    for date in dates {
        let (address, _requests) =
            server(move |_| (format!("503 Busy\r\nretry-after: {date}"), Vec::new()));
        let sink = "retry = { attempts = 2, backoff = \"40ms\", max_backoff = \"40ms\" }";
        let ran = posting(address, sink, "x\n").pipeline().code(1);
        // Between half of the backoff and the whole.
        let (_, wait) = ran.stderr.split_once("retrying in ").unwrap();
        let (wait, _) = wait.split_once("ms").unwrap();
        assert!((20.0..=40.0).contains(&wait.parse::<f64>().unwrap()), "{date}: {}", ran.stderr);
    }
    // A date to come is waited for: nobody here has so much time.
    for date in ["Mon, 31 Dec 2255 23:59:59 GMT", "Friday, 31-Dec-55 23:59:59 GMT"] {
        let (address, requests) =
            server(move |_| (format!("503 Busy\r\nretry-after: {date}"), Vec::new()));
        let case = posting(address, "retry = { attempts = 2, backoff = \"1ms\" }", "x\n");
        let child = case.spawn(&["run", "pipeline.toml"]);
        requests.recv().unwrap();
        let mut child = child;
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("retrying in") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0);
        }
        assert!(line.contains("retrying in 300s"), "{date}: {line}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn records_that_a_server_refuses_are_found() {
    let refuses = |body: &str| match body.contains("bad") {
        true => ("400 No".to_owned(), b"bad".to_vec()),
        false => ("200 OK".to_owned(), Vec::new()),
    };
    let input: String =
        (0..100).map(|n| format!("{}{n}\n", if n % 33 == 5 { "bad" } else { "" })).collect();
    let (address, requests) = server(refuses);
    let case = posting(address, "on_error = \"dead-letter\"", &input);
    let ran = case.pipeline().ok();
    assert!(ran.stderr.contains("97 records written"), "{}", ran.stderr);
    let taken: String = requests.try_iter().filter(|body| !body.contains("bad")).collect();
    let good: String =
        input.lines().filter(|line| !line.contains("bad")).map(|l| format!("{l}\n")).collect();
    assert_eq!(taken, good, "each once, in order");
    let refused = letters(&case, "dead");
    let values: Vec<_> = refused.iter().map(|letter| (&*letter.value, letter.number)).collect();
    assert_eq!(values, [("bad5", 6), ("bad38", 39), ("bad71", 72)]);
    assert!(refused[0].reason.contains("answers 400 Bad Request: bad"), "{:?}", refused[0]);

    // They go back in where they were refused.
    let (address, requests) = server(|_| ("200 OK".to_owned(), Vec::new()));
    let old = case.read("pipeline.toml");
    let start = old.find("http://").unwrap();
    let end = start + old[start..].find('"').unwrap();
    let case =
        case.file("pipeline.toml", format!("{}http://{address}{}", &old[..start], &old[end..]));
    case.run(&["dead-letter", "replay", "dead", "--pipeline", "pipeline.toml"])
        .ok()
        .prints("3 letters replayed: 3 went through, 0 refused again\n");
    assert_eq!(requests.try_iter().collect::<String>(), "bad5\nbad38\nbad71\n");
}

#[test]
fn what_is_not_about_records_refuses_the_batch() {
    let (address, requests) = server(|_| ("403 No".to_owned(), Vec::new()));
    let case = posting(address, "on_error = \"skip\"", "a\nb\nc\n");
    let ran = case.pipeline().ok();
    assert!(ran.stderr.contains("out: 3 records were rejected and dropped"), "{}", ran.stderr);
    assert_eq!(requests.try_iter().count(), 1);
    // Nor is a server that is down, once all attempts are made.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = "on_error = \"dead-letter\"\nretry = { attempts = 3, backoff = \"1ms\" }";
    let case = posting(closed, sink, "a\nb\n");
    case.pipeline().ok();
    let letters = letters(&case, "dead");
    assert_eq!(letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn attempts_without_limit_end_with_the_run() {
    let (address, requests) = server(|_| ("503 Busy".to_owned(), Vec::new()));
    let sink = "retry = { attempts = \"unlimited\", backoff = \"1ms\", max_backoff = \"1ms\" }";
    let case = posting(address, sink, "x\n");
    let text =
        case.read("pipeline.toml").replace("[pipeline]", "[pipeline]\nshutdown_grace = \"10ms\"");
    let case = case.file("pipeline.toml", text);
    let child = case.spawn(&["run", "pipeline.toml"]);
    for _ in 0..30 {
        requests.recv().unwrap();
    }
    let ran = crate::harness::stop(child, rustix::process::Signal::TERM);
    assert_eq!(ran.code, 143);
    assert!(ran.stderr.contains("records not delivered: 1 before or in `out`"), "{}", ran.stderr);
}

#[test]
fn rows_that_a_table_does_not_take_are_left_out_and_a_lock_is_waited_for() {
    let sink = "path = \"db\"\ntable = \"t\"\ncolumns = { n = \"value\" }\n\
                on_error = \"dead-letter\"\nretry = { attempts = \"unlimited\", backoff = \"1ms\" }";
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", IN_ONE_BATCH)
        .sink("out", "sqlite", sink);
    let case =
        Case::new().file("in.txt", "1\n2\n1\n3\n").file("pipeline.toml", pipeline.to_string());
    let db = rusqlite::Connection::open(case.path("db")).unwrap();
    db.execute("CREATE TABLE t (n TEXT UNIQUE)", []).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    let child = {
        let child = case.spawn(&["run", "pipeline.toml"]);
        // Held until the sink has said that it waits.
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut child = child;
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut said = String::new();
        while !said.contains("database is locked; retrying in") {
            line.clear();
            if log.read_line(&mut line).unwrap() == 0 {
                break; // It was faster than the lock.
            }
            said.push_str(&line);
        }
        db.execute_batch("COMMIT").unwrap();
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        child
    };
    assert_eq!(wait(child).code, 0);
    let rows: Vec<String> = db
        .prepare("SELECT n FROM t ORDER BY rowid")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows, ["1", "2", "3"]);
    let letters = letters(&case, "dead");
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.contains("UNIQUE constraint failed: t.n"), "{:?}", letters[0]);
}

#[test]
fn a_table_that_undoes_what_came_before_fails_the_batch_whole() {
    let sink = "path = \"db\"\ntable = \"t\"\ncolumns = { n = \"value\" }\non_error = \"skip\"";
    let pipeline = Pipeline::new().source("in", "file", IN_ONE_BATCH).sink("out", "sqlite", sink);
    let case =
        Case::new().file("in.txt", "1\n2\n2\n3\n").file("pipeline.toml", pipeline.to_string());
    let db = rusqlite::Connection::open(case.path("db")).unwrap();
    db.execute("CREATE TABLE t (n TEXT UNIQUE ON CONFLICT ROLLBACK)", []).unwrap();
    case.pipeline().code(1).says("records not delivered: 4 before or in `out`");
    let rows: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

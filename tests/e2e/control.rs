//! Looking into a run: the control interface, `top` and `tap`, lags, and waits while they last.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Case, Pipeline, guest, root, stop, wait};

/// Where the runs of these tests are looked into.
const SOCKET: &str = "c.sock";

/// Calls the interface of a run; returns the head and the body of the answer.
fn call(run: &Run, method: &str, path: &str, headers: &str, body: &[u8]) -> (String, String) {
    let mut stream = connect(run);
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}").unwrap();
    write!(stream, "Content-Length: {length}\r\n\r\n").unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Connects once the run listens.
fn connect(run: &Run) -> UnixStream {
    loop {
        match UnixStream::connect(run.case.path(SOCKET)) {
            Ok(stream) => return stream,
            Err(_) => {
                let ended = run.child.borrow_mut().try_wait().unwrap();
                assert!(ended.is_none(), "the run has ended: {ended:?}");
                std::thread::yield_now();
            }
        }
    }
}

const LOCAL: &str = "Host: localhost\r\n";

fn get(run: &Run, path: &str) -> (String, String) {
    call(run, "GET", path, LOCAL, b"")
}

fn status(run: &Run) -> Value {
    serde_json::from_str(&get(run, "/v1/status").1).unwrap()
}

/// Asks until it is so.
fn until(run: &Run, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = status(run);
        if is_so(&status) {
            return status;
        }
    }
}

/// A node in a status.
fn node<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()
}

/// A run of the pipeline in `pipeline.toml`, which reads stdin as long as that is open.
struct Run {
    case: Case,
    child: RefCell<Child>,
}

impl Run {
    fn new(case: Case, pipeline: impl Into<String>) -> Self {
        let case = case.file("pipeline.toml", pipeline.into());
        let mut command = case.command(&["run", "pipeline.toml", "--control", SOCKET]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let run = Self { case, child: child.into() };
        drop(connect(&run));
        run
    }

    fn give(&self, lines: &str) {
        let mut child = self.child.borrow_mut();
        child.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    fn end(self) {
        let mut child = self.child.into_inner();
        drop(child.stdin.take());
        wait(child).ok();
    }

    fn stop(self) {
        stop(self.child.into_inner(), Signal::TERM).code(143);
    }
}

/// From stdin through `parse` to a file, record by record.
fn parsing() -> Pipeline {
    Pipeline::with("dead_letters = \"dead\"")
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("parse", "parse-log", r#"on_error = "dead-letter""#)
        .sink("out", "file", "path = \"out.txt\"")
}

const LINE: &str = "2026-11-30T10:00:00Z ERROR disk full\n";

#[test]
fn the_status_counts_what_each_node_does() {
    let run = Run::new(Case::new(), parsing());
    run.give(&format!("{LINE}no log\n{LINE}"));
    let status = until(&run, |status| node(status, "out")["records_out"] == 2);
    assert_eq!((&status["pipeline"], &status["phase"]), (&"pipeline".into(), &"running".into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["process"], run.child.borrow().id());
    assert_eq!(status["dead_letters"], run.case.path("dead").display().to_string());
    assert_eq!(status["state"], Value::Null);
    let parse = node(&status, "parse");
    assert_eq!((&parse["kind"], &parse["inputs"][0]), (&"stage".into(), &"in".into()));
    assert_eq!((&parse["records_in"], &parse["records_out"]), (&3.into(), &2.into()));
    assert_eq!((&parse["rejected"], &parse["dead_letters"]), (&1.into(), &1.into()));
    assert_eq!(parse["component"].as_str().unwrap().len(), 64);
    assert!(node(&status, "out")["behind_seconds"].as_f64().is_some(), "it has a timestamp");
    run.end();
}

#[test]
fn the_interface_is_described_and_does_what_the_description_says() {
    let run = Run::new(Case::new(), parsing());
    let description: Value = serde_json::from_str(&get(&run, "/v1/openapi.json").1).unwrap();
    // The document that is made from the code is among the documents.
    let file = root().join("docs/reference/control.json");
    let text = format!("{description:#}\n");
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text, "SNAPSHOTS=overwrite writes it anew");
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 6, "{paths:?}");
    for (path, methods) in paths {
        let method = methods.as_object().unwrap().keys().next().unwrap().to_uppercase();
        let (head, _) = call(&run, &method, path, LOCAL, b"");
        let code = head.split(' ').nth(1).unwrap();
        let answers = &methods[method.to_lowercase()]["responses"];
        assert!(answers.get(code).is_some(), "{method} {path} answers {code}, not {answers}");
    }
    let (head, body) = get(&run, "/v1/nothing");
    assert!(head.starts_with("HTTP/1.1 404") && body.contains("/v1/openapi.json"), "{body}");
    run.end();
}

/// A page in somebody's browser comes from this machine, too.
#[test]
fn browsers_are_refused() {
    let run = Run::new(Case::new(), parsing());
    for headers in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: http://evil.example\r\n"]
    {
        let (head, body) = call(&run, "GET", "/v1/status", headers, b"");
        assert!(head.starts_with("HTTP/1.1 403") && body.contains("not for browsers"), "{body}");
    }
    run.end();
}

#[test]
fn a_socket_is_for_its_user_alone_and_gone_at_the_end() {
    // One that a killed process has left is replaced.
    let case = Case::new();
    drop(UnixListener::bind(case.path(SOCKET)).unwrap());
    let run = Run::new(case, parsing());
    let metadata = std::fs::metadata(run.case.path(SOCKET)).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    run.case
        .run(&["run", "pipeline.toml", "--control", SOCKET])
        .code(1)
        .says("cannot listen at c.sock: another process listens there");
    let Run { case, child } = run;
    let mut child = child.into_inner();
    drop(child.stdin.take());
    wait(child).ok();
    assert!(!case.path(SOCKET).exists());
    let case = case.file(SOCKET, "text");
    case.run(&["run", "pipeline.toml", "--control", SOCKET])
        .code(1)
        .says("there is a file that is no socket");
    assert_eq!(case.read(SOCKET), "text");
    case.run(&["run", "pipeline.toml", "--control", "nowhere"])
        .code(2)
        .says("write the path of a Unix socket (./x.sock), or ADDRESS:PORT");
    case.run(&["run", "pipeline.toml", "--control", "none/x.sock"])
        .code(1)
        .says("cannot listen at");
}

#[test]
fn the_usual_socket_is_found_without_a_word() {
    let case = Case::new().controlled().file("pipeline.toml", parsing().to_string());
    case.run(&["top"]).code(2).says("this user runs no pipeline");
    let spawn = |arguments: &[&str]| {
        let mut child = case.command(arguments).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(LINE.as_bytes()).unwrap();
        child
    };
    // One without an interface is not found.
    let hidden = spawn(&["run", "pipeline.toml", "--control", "none"]);
    let first = spawn(&["run", "--plugin", "parse-log"]);
    let top = |arguments: &[&str]| {
        let arguments = [&["top", "--once", "--interval", "10ms"], arguments].concat();
        case.run(&arguments)
    };
    while top(&[]).code != 0 {}
    let shown = top(&[]).ok().stdout;
    assert!(shown.starts_with("stdin to stdout: "), "{shown}");
    // Of several, one is named.
    let second = spawn(&["run", "--plugin", "parse-log"]);
    while !top(&[]).stderr.contains("several pipelines run: `stdin to stdout` (process ") {}
    top(&["--run", "no"])
        .code(2)
        .says("no run of this user has the pipeline or the process ID `no`");
    top(&["--run", &second.id().to_string()]).ok();
    for child in [hidden, first, second] {
        stop(child, Signal::TERM).code(143);
    }
}

#[test]
fn top_names_what_holds_the_others_up() {
    let pipeline = Pipeline::new()
        .source("in", "generate", "")
        .stage("upper", "to-upper", "")
        .sink("out", "null", "rate = 1000");
    let run = Run::new(Case::new(), pipeline);
    let top = || {
        let arguments = ["top", "--control", SOCKET, "--once", "--interval", "200ms"];
        run.case.run(&arguments).ok().stdout
    };
    let said = "bottleneck: the others wait for `out`: it is held to its `rate`";
    let shown = loop {
        let shown = top();
        if shown.contains(said) {
            break shown;
        }
    };
    let line = |name: &str| {
        let mut lines = shown.lines().filter(|line| line.trim_start().starts_with(name));
        lines.next().unwrap().to_owned()
    };
    for name in ["NODE", "IN/s", "OUT/s", "QUEUE", "BUSY", "WAITS FOR"] {
        assert!(line("NODE").contains(name), "{shown}");
    }
    assert!(line("out").ends_with("its rate"), "{shown}");
    assert!(line("in").ends_with("output"), "{shown}");
    run.stop();
}

#[test]
fn waits_count_while_they_last() {
    // Nobody listens: the sink tries again and again.
    let pipeline = Pipeline::new().source("in", "stdin", r#"batch = { linger = "0s" }"#).sink(
        "out",
        "http",
        "url = \"http://127.0.0.1:9\"\nretry = { backoff = \"1h\", max_backoff = \"1h\" }",
    );
    let run = Run::new(Case::new(), pipeline);
    run.give("a\n");
    let waiting =
        |status: &Value| node(status, "out")["seconds"]["waiting_to_retry"].as_f64().unwrap();
    let first = waiting(&until(&run, |status| waiting(status) > 0.0));
    let later = until(&run, |status| waiting(status) > first);
    let out = node(&later, "out");
    assert_eq!(out["retries"], 1);
    // It does not work while it waits.
    let working = out["seconds"]["working"].as_f64().unwrap();
    until(&run, |status| waiting(status) > working + 0.1);
    let starved =
        |status: &Value| node(status, "in")["seconds"]["waiting_for_input"].as_f64().unwrap();
    let before = starved(&later);
    until(&run, |status| starved(status) > before);
    let mut child = run.child.into_inner();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_lag_of_files_and_tables_is_what_is_not_read() {
    let case = Case::new();
    let database = rusqlite::Connection::open(case.path("in.db")).unwrap();
    database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)").unwrap();
    let all = 50_000;
    let rows = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {all})
         INSERT INTO t SELECT i, 'x' FROM n"
    );
    database.execute_batch(&rows).unwrap();
    let text = "a line\n".repeat(1_000_000);
    let case = case.file("in.log", &text);
    let batch = "batch = { records = 100, linger = \"0s\" }\n";
    let pipeline = Pipeline::new()
        .source("file", "file", &format!("paths = \"in.log\"\nfollow = true\n{batch}"))
        .sink("a", "null", "rate = 100")
        .source(
            "table",
            "sqlite",
            &format!("path = \"in.db\"\ntable = \"t\"\npoll = \"1s\"\n{batch}"),
        )
        .sink("b", "null", "rate = 100");
    let run = Run::new(case, pipeline);
    let lag = |status: &Value, name: &str, unit: &str| node(status, name)[unit].as_u64();
    let status = until(&run, |status| {
        let found = [lag(status, "file", "lag_bytes"), lag(status, "table", "lag_records")];
        found.iter().all(|lag| lag.is_some_and(|lag| lag > 0))
    });
    let (file, table) =
        (lag(&status, "file", "lag_bytes").unwrap(), lag(&status, "table", "lag_records").unwrap());
    assert!(file <= text.len() as u64 && table <= all, "{file}, {table}");
    // What is added is behind, too.
    run.case.append("in.log", &text);
    until(&run, |status| lag(status, "file", "lag_bytes").unwrap() > text.len() as u64);
    run.stop();

    // A source that keeps up has none.
    let pipeline = Pipeline::new()
        .source("file", "file", "paths = \"small.log\"\nfollow = true")
        .sink("out", "null", "");
    let run = Run::new(Case::new().file("small.log", "a\nb\n"), pipeline);
    until(&run, |status| {
        node(status, "out")["records_out"] == 2 && lag(status, "file", "lag_bytes") == Some(0)
    });
    run.stop();
}

/// Starts `pipehost tap`, and gives its lines as they come.
fn tap(case: &Case, arguments: &[&str]) -> (Child, std::sync::mpsc::Receiver<String>) {
    let arguments = [&["tap", "--control", SOCKET], arguments].concat();
    let mut child = case.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let lines = crate::harness::lines(child.stdout.take().unwrap());
    (child, lines)
}

#[test]
fn a_tap_shows_what_a_stage_is_given_and_what_it_makes_of_it() {
    let pipeline = parsing().sink("all", "file", "input = \"in\"\npath = \"all.txt\"");
    let run = Run::new(Case::new(), pipeline);
    let lines = format!("{LINE}no log\n");
    // It shows what comes from when it looks on: give until it does.
    let (mut child, shown) = tap(&run.case, &["parse", "--limit", "2"]);
    let first = loop {
        run.give(&lines);
        if let Ok(first) = shown.try_recv() {
            break first;
        }
    };
    let mut shown: Vec<String> = std::iter::once(first).chain(shown).collect();
    assert!(child.wait().unwrap().success(), "it ends at its limit");
    if shown[0].starts_with("parse < no log") {
        shown.rotate_left(2); // It begins with any record.
    }
    let expected = [
        "parse < 2026-11-30T10:00:00Z ERROR disk full",
        "parse > 2026-11-30T10:00:00Z  disk full  level=ERROR",
        "parse < no log",
        "parse x rejected: \"no\" is not an RFC 3339 time",
    ];
    assert_eq!(shown, expected);
    run.end();
}

#[test]
fn a_tap_shows_sources_ports_and_sinks_as_text_or_json_and_what_fits() {
    let run = Run::new(Case::new(), parsing());
    let given = "2026-11-30T10:00:00Z INFO one\n2026-11-30T10:00:00Z ERROR two\n";
    let first = |arguments: &[&str]| {
        let (mut child, shown) = tap(&run.case, arguments);
        let line = loop {
            run.give(given);
            if let Ok(line) = shown.try_recv() {
                break line;
            }
        };
        assert!(child.wait().unwrap().success());
        line
    };
    let one = |node: &'static str| [node, "--limit", "1", "--filter"];
    let line = first(&[&one("in")[..], &["value~two"]].concat());
    assert_eq!(line, "2026-11-30T10:00:00Z ERROR two");
    let line = first(&[&one("parse.out")[..], &["level=ERROR"]].concat());
    assert_eq!(line, "2026-11-30T10:00:00Z  two  level=ERROR");
    let line = first(&[&one("out")[..], &["level!=ERROR", "--format", "json"]].concat());
    let line: Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({ "record": {
        "timestamp": "2026-11-30T10:00:00Z",
        "key": null,
        "value": "one",
        "attributes": { "level": "INFO" },
    }});
    assert_eq!(line, expected);
    // Of a stage, what it made may fit, and it is shown with what it was made of.
    let line = first(&[&one("parse")[..], &["level=ERROR", "--format", "json"]].concat());
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["given"]["record"]["value"], given.lines().nth(1).unwrap());
    assert_eq!(line["given"]["sent"][0]["port"], "out");
    let wrong = |arguments: &[&str]| {
        let arguments = [&["tap", "--control", SOCKET], arguments].concat();
        run.case.run(&arguments)
    };
    wrong(&["pars"]).code(2).says("there is no `pars`; there is `in`, `parse`, `out`");
    wrong(&["parse.x"]).code(2).says("`parse` has no port `x`; it has out");
    wrong(&["out.x"]).code(2).says("`out` is a sink, which has no ports");
    wrong(&["in", "--filter", "x"]).code(2).says("write NAME=TEXT, NAME!=TEXT, NAME~TEXT");
    wrong(&["in", "--sample", "0"]).code(2).says("0 is not in 1");
    run.end();
}

/// What is not taken in time is skipped, and counted; the pipeline does not wait.
#[test]
fn a_tap_that_nobody_reads_holds_up_nothing() {
    let pipeline = Pipeline::new()
        .source("go", "stdin", "")
        .sink("end", "null", "")
        .source("in", "generate", "count = 3_000_000")
        .stage("upper", "to-upper", "")
        .sink("out", "null", "");
    let run = Run::new(Case::new(), pipeline);
    // It asks, and reads nothing but the head.
    let mut deaf = connect(&run);
    write!(deaf, "GET /v1/tap?node=upper HTTP/1.1\r\n{LOCAL}\r\n").unwrap();
    let mut head = String::new();
    BufReader::new(deaf.try_clone().unwrap()).read_line(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until(&run, |status| node(status, "out")["records_out"] == 3_000_000);
    // One that reads is told what it has not seen.
    drop(deaf);
    run.end();
}

#[test]
fn a_tap_of_a_flood_says_what_it_skipped() {
    let pipeline = Pipeline::new().source("in", "generate", "").sink("out", "null", "");
    let run = Run::new(Case::new(), pipeline);
    let (mut child, shown) = tap(&run.case, &["in", "--format", "json"]);
    let skipped = shown.iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let skipped = skipped.into_iter().find_map(|line| line["skipped"].as_u64());
    assert!(skipped.unwrap() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    run.stop();
}

/// A row is never wrapped, and the least important columns go first.
#[test]
fn top_fits_into_its_width() {
    let pipeline = Pipeline::new()
        .source("in", "generate", "")
        .stage("a-stage-with-a-name-that-is-rather-long-for-one", "to-upper", "")
        .sink("out", "null", "rate = 1000");
    let run = Run::new(Case::new(), pipeline);
    let shown =
        run.case.run(&["top", "--control", SOCKET, "--once", "--interval", "100ms"]).ok().stdout;
    for line in shown.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
    run.stop();
}

/// A log in which each record is refused would be nothing but that.
#[test]
fn rejections_are_in_the_log_once_with_an_example() {
    let pipeline = Pipeline::with("dead_letters = \"dead\"")
        .source("in", "stdin", "batch = { records = 1 }")
        .stage("poison", "poison.wat", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "");
    let case = Case::new()
        .file("poison.wat", guest("poison"))
        .file("pipeline.toml", pipeline.to_string())
        .stdin("Poison\nPoison\nPoison\n");
    let said = case.pipeline().ok().stderr;
    let told: Vec<_> = said.lines().filter(|line| line.contains("rejected 1 record")).collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(
        told[0].contains("WARN stage `poison` rejected 1 record, such as record 1 of stdin: trap")
    );
}

#[test]
fn a_run_can_be_looked_into_over_tcp() {
    let case = Case::new().file("pipeline.toml", parsing().to_string());
    let mut child = case.spawn(&["run", "pipeline.toml", "--control", "127.0.0.1:0"]);
    let log = crate::harness::lines(child.stderr.take().unwrap());
    let address = log.iter().find_map(|line| {
        line.split_once("control at ").map(|(_, address)| address.trim().to_owned())
    });
    let address = address.unwrap();
    let top = || case.run(&["top", "--control", &address, "--once", "--interval", "10ms"]);
    // It answers once the pipeline runs.
    let shown = loop {
        let ran = top();
        if ran.code == 0 {
            break ran.stdout;
        }
    };
    assert!(shown.starts_with("pipeline: "), "{shown}");
    case.run(&["tap", "nothing", "--control", &address]).code(2).says("there is no `nothing`");
    stop(child, Signal::TERM).code(143);
}

//! Metrics over HTTP, health, and logs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::harness::{Case, Pipeline, StageCase, guest, wait};

fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Runs `double`, which takes a while for a record, until it is stopped.
fn doubling(count: &str) -> Case {
    let pipeline = Pipeline::with(r#"deadline = "5m""#)
        .source("in", "generate", count)
        .stage("twice", "double", "config = { work = 2000 }")
        .sink("out", "null", "");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

#[test]
fn a_profile_says_where_stages_spend_their_time() {
    let case = doubling("count = 100_000");
    for limits in ["", "limits = { fuel = false }\n"] {
        let text = case.read("pipeline.toml").replace("config =", &format!("{limits}config ="));
        std::fs::write(case.path("limited.toml"), text).unwrap();
        case.run(&["run", "limited.toml", "--profile", "out.json"]).ok();
        let profile: serde_json::Value = serde_json::from_str(&case.read("out.json")).unwrap();
        let threads = profile["threads"].as_array().unwrap();
        assert_eq!(threads.len(), 1);
        assert_eq!(threads[0]["name"], "twice");
        assert!(
            threads[0]["samples"]["length"].as_u64().unwrap() > 20,
            "{}",
            threads[0]["samples"]
        );
        // Functions have the names that their author gave them.
        assert!(profile.to_string().contains("pipehost_plugin::opened::Opened<"));
    }
    // One that was there is kept until there is another.
    case.run(&["run", "none.toml", "--profile", "out.json"]).code(2);
    assert!(!case.read("out.json").is_empty());
    case.run(&["run", "pipeline.toml", "--profile", "none/out.json"])
        .code(1)
        .says("cannot write the profile none/out.json: No such file or directory");
    // A link stays one.
    std::os::unix::fs::symlink("out.json", case.path("link.json")).unwrap();
    std::fs::write(case.path("out.json"), "").unwrap();
    case.run(&["run", "pipeline.toml", "--profile", "link.json"]).ok();
    assert!(!case.read("out.json").is_empty() && case.path("link.json").is_symlink());
    // And a pipe stays a pipe.
    assert!(Command::new("mkfifo").arg(case.path("pipe")).status().unwrap().success());
    let pipe = case.path("pipe");
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
    case.run(&["run", "pipeline.toml", "--profile", "pipe"]).ok();
    assert!(reader.join().unwrap().contains("\"threads\""));
}

#[test]
fn a_profile_of_the_host_is_served() {
    let case = doubling("");
    let mut child = case.spawn(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"]);
    let address = serving(&mut child);
    let ask = |seconds: u64| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let path = format!("/debug/pprof/profile?seconds={seconds}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    // While one is taken, another is refused.
    let streams = [ask(300), ask(300)];
    let (send, answers) = mpsc::channel();
    for (number, stream) in streams.iter().enumerate() {
        let (stream, send) = (stream.try_clone().unwrap(), send.clone());
        std::thread::spawn(move || send.send((number, answer_of(stream))));
    }
    let (refused, answer) = answers.recv().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 409"), "{}", String::from_utf8_lossy(&answer));
    // One that nobody waits for any more ends.
    streams[1 - refused].shutdown(Shutdown::Both).unwrap();
    let answer = loop {
        let answer = answer_of(ask(1));
        if !answer.starts_with(b"HTTP/1.1 409") {
            break answer;
        }
    };
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..body]));
    let mut profile = Vec::new();
    flate2::read::GzDecoder::new(&answer[body..]).read_to_end(&mut profile).unwrap();
    let text = String::from_utf8_lossy(&profile);
    assert!(text.contains("nanoseconds") && text.contains("pipehost::"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn answer_of(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Where a run says that it serves its metrics; the port is in the log.
fn serving(child: &mut Child) -> String {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it says where it serves");
        if let Some((_, rest)) = line.split_once("http://") {
            break rest.split('/').next().unwrap().to_owned();
        }
    };
    // What it goes on to say must not fill the pipe.
    std::thread::spawn(move || log.read_to_string(&mut String::new()));
    address
}

#[test]
fn metrics_health_and_readiness() {
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "stdin", r#"batch = { linger = "0s" }"#)
        .stage("poison", "poison.wat", r#"on_error = "dead-letter""#)
        .sink("out", "stdout", "");
    let case =
        Case::new().file("poison.wat", guest("poison")).file("pipeline.toml", pipeline.to_string());
    let mut child = case.spawn(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"]);
    let address = serving(&mut child);
    child.stdin.as_mut().unwrap().write_all(b"a\nPoison\nb\n").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for expected in ["a\n", "b\n"] {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }
    assert_eq!(get(&address, "/healthz").1, "ok\n");
    // It says so once everything is open; records may have gone through by then.
    while get(&address, "/readyz").1 != "ready\n" {}
    // A record is counted after it is written, so shortly after it was read here.
    let (head, metrics) = loop {
        let (head, metrics) = get(&address, "/metrics");
        if metrics.contains("pipeline_processed_items_total{pipeline=\"pipeline\"} 2\n")
            && metrics.contains(
                "pipeline_stage_queue_depth_batches{stage=\"poison\",pipeline=\"pipeline\"} 0\n",
            )
        {
            break (head, metrics);
        }
    };
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "pipeline_stage_records_in_total{stage=\"poison\",pipeline=\"pipeline\"} 3",
        "pipeline_stage_records_out_total{stage=\"poison\",pipeline=\"pipeline\"} 2",
        "pipeline_stage_records_rejected_total{stage=\"poison\",pipeline=\"pipeline\"} 1",
        "pipeline_stage_dead_letters_total{stage=\"poison\",pipeline=\"pipeline\"} 1",
        "pipeline_stage_records_dropped_total{stage=\"poison\",pipeline=\"pipeline\"} 0",
        "pipeline_stage_queue_depth_batches{stage=\"poison\",pipeline=\"pipeline\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        value(
            "pipeline_stage_failures_total{cause=\"trap\",stage=\"poison\",pipeline=\"pipeline\"}"
        ) >= 1.0
    );
    assert!(
        value("pipeline_stage_fuel_consumed_total{stage=\"poison\",pipeline=\"pipeline\"}") > 0.0
    );
    assert!(
        value("pipeline_stage_memory_bytes{stage=\"poison\",pipeline=\"pipeline\"}")
            >= 4.0 * 65536.0
    );
    assert!(
        value("pipeline_stage_duration_seconds_count{stage=\"poison\",pipeline=\"pipeline\"}")
            >= 1.0
    );
    assert!(
        value("pipeline_stage_batch_records_count{stage=\"poison\",pipeline=\"pipeline\"}") >= 1.0
    );
    let build = format!(
        "pipehost_build_info{{version=\"{}\",pipeline=\"pipeline\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(value(&build), 1.0);
    assert!(value("process_resident_memory_bytes{pipeline=\"pipeline\"}") > 1e6);
    assert!(get(&address, "/other").0.starts_with("HTTP/1.1 404"));
    promtool(&metrics);
    drop(child.stdin.take());
    wait(child).ok();
}

/// Prometheus's own check, if it is installed; CI installs it.
fn promtool(metrics: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        assert!(std::env::var_os("CI").is_none(), "CI has promtool: Debian's package `prometheus`");
        return;
    };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let ran = wait(child).ok();
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let case = StageCase::guest("pass").case();
    case.run(&["run", "pipeline.toml", "--metrics", &address])
        .code(1)
        .says(&format!("cannot serve metrics at {address}: Address already in use"));
}

#[test]
fn what_a_guest_prints_carries_its_stage_and_worker() {
    let case = StageCase::wasi().input(&["print hello\u{1b}[2J"]).case();
    let json = case.run(&["run", "pipeline.toml", "--log-format", "json"]).ok();
    let line = json.stderr.lines().find(|line| line.contains("hello")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["fields"]["stage"], "stage");
    assert_eq!(line["fields"]["worker"], 0);
    assert_eq!(line["fields"]["message"], "hello\\u{1b}[2J", "and cannot move a cursor");
    assert_eq!(line["target"], "guest");
    let text = case.pipeline().ok().stderr;
    assert!(text.contains("hello\\u{1b}[2J stage=\"stage\" worker=0"), "{text}");
}

/// With `--log-format json`, each line is an object: also what a run says of its end.
#[test]
fn every_line_of_a_log_in_json_parses() {
    let events = |ran: &crate::harness::Ran| -> Vec<serde_json::Value> {
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let message =
        |event: &serde_json::Value| event["fields"]["message"].as_str().unwrap().to_owned();
    let pipeline = |stage: &str| {
        crate::harness::Pipeline::with("name = \"p\"")
            .source("in", "stdin", "")
            .stage("stage", stage, "")
            .sink("out", "stdout", "")
            .to_string()
    };
    let args = ["run", "pipeline.toml", "--log-format", "json"];
    let case = Case::new().stdin("a\nb\n").file("pipeline.toml", pipeline("to-upper"));
    let found = events(&case.run(&args).ok().prints("A\nB\n"));
    assert_eq!(found[0]["fields"]["pipeline"], "p");
    let component = found[0]["fields"]["components"].as_str().unwrap();
    assert_eq!(component.strip_prefix("stage=").unwrap().len(), 64);
    let last = found.last().unwrap();
    assert!(message(last).starts_with("p: 2 records written in "), "{last}");
    assert_eq!((&last["level"], &last["target"]), (&"INFO".into(), &"pipehost".into()));
    assert_eq!(last["fields"]["records"], 2);
    let nodes = last["fields"]["nodes"].as_array().unwrap();
    let counts: Vec<_> =
        nodes.iter().map(|node| (&node["name"], &node["in"], &node["out"])).collect();
    assert_eq!(counts[1], (&"stage".into(), &2.into(), &2.into()));
    // A run that fails, a mistake, and a signal.
    let case = case.stdin("x\n").file("pipeline.toml", pipeline("double"));
    let failed = events(&case.run(&args).code(1));
    let last = failed.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(message(last).contains("stage `stage` rejected record 1"), "{last}");
    let case = case.file("pipeline.toml", pipeline("no-such-stage"));
    let wrong = events(&case.run(&args).code(2));
    assert!(message(&wrong[0]).contains("no-such-stage"), "{wrong:?}");
}

/// What is zero in all nodes is left out, and no row is wider than a terminal.
#[test]
fn the_summary_fits_into_eighty_columns() {
    let long = "a-name-that-is-much-longer-than-anybody-would-think-that-it-might-be-one";
    let pipeline = crate::harness::Pipeline::new()
        .source("in", "generate", "count = 2_000_000")
        .stage(long, "add-prefix", "config = { prefix = \"x\" }")
        .sink("out", "null", "");
    let case = Case::new().file("pipeline.toml", pipeline.to_string());
    let summary = case.pipeline().ok().stderr;
    for line in summary.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(summary.contains("2,000,000") && summary.contains("a-name-that"), "{summary}");
    assert!(!summary.contains("rejected") && !summary.contains("dropped"), "{summary}");
}

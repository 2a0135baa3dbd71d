//! Records that are posted, to and by a pipeline.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Pipeline, Ran, guest, wait};

/// A request or an answer: its first line, its headers in lower case, its body.
#[derive(Debug)]
struct Message {
    first: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn read_message(stream: &mut BufReader<&TcpStream>) -> Message {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let headers: BTreeMap<_, _> = std::iter::from_fn(|| Some(line()).filter(|l| !l.is_empty()))
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Message { first, headers, body: String::from_utf8(body).unwrap() }
}

/// Posts a body without waiting for the answer.
fn post(address: SocketAddr, headers: &str, body: &str) -> TcpStream {
    post_bytes(address, headers, body.as_bytes())
}

fn post_bytes(address: SocketAddr, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head =
        format!("POST /logs HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream
}

fn answer(stream: &TcpStream) -> Message {
    read_message(&mut BufReader::new(stream))
}

#[track_caller]
fn expect(stream: TcpStream, status: &str, body: &str) -> Message {
    let answer = answer(&stream);
    assert_eq!((&*answer.first, &*answer.body), (&*format!("HTTP/1.1 {status}"), body));
    answer
}

/// A run that takes what is posted.
struct Run {
    child: Child,
    address: SocketAddr,
}

impl Run {
    fn start(case: &Case, env: &[(&str, &str)]) -> Self {
        Self::of(case.command(&["run", "pipeline.toml"]).envs(env.iter().copied()))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
            if let Some((_, rest)) = line.split_once("taking records at http") {
                let address = rest.trim_start_matches("s").trim_start_matches("://");
                break address.split('/').next().unwrap().parse().unwrap();
            }
        };
        std::thread::spawn(move || log.read_to_string(&mut String::new()));
        Self { child, address }
    }

    fn stop(self, signal: Signal) -> Ran {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        wait(self.child)
    }
}

/// Behind what is posted.
fn posted(pipeline: &str, source: &str) -> Pipeline {
    let source = format!("listen = \"127.0.0.1:0\"\npath = \"/logs\"\n{source}");
    Pipeline::with(pipeline).source("in", "http", &source)
}

fn case(pipeline: &Pipeline) -> Case {
    Case::new().file("pipeline.toml", pipeline.to_string())
}

/// What is posted goes to a file.
fn to_file(pipeline: &str, source: &str) -> Case {
    case(&posted(pipeline, source).sink("out", "file", "path = \"out.txt\"\nappend = true"))
}

#[test]
fn an_answer_says_that_the_records_are_in_the_file() {
    for state in ["", "state = \"state\"\ncheckpoint_interval = \"1h\""] {
        let case = to_file(state, "");
        let run = Run::start(&case, &[]);
        for n in 1..=3 {
            expect(post(run.address, "", &format!("a{n}\nb{n}\n")), "200 OK", "{\"records\":2}\n");
            assert_eq!(case.read("out.txt").lines().count(), 2 * n, "at once, and not at the end");
        }
        // Killed right after the answer: a second run has all that was answered.
        run.stop(Signal::KILL);
        let run = Run::start(&case, &[]);
        expect(post(run.address, "", "c\n"), "200 OK", "{\"records\":1}\n");
        assert_eq!(run.stop(Signal::TERM).code, 143);
        assert_eq!(case.read("out.txt"), "a1\nb1\na2\nb2\na3\nb3\nc\n");
    }
}

#[test]
fn a_body_that_is_compressed_is_taken_within_the_same_limits() {
    let case = to_file("", "max_body = \"100KiB\"");
    let run = Run::start(&case, &[]);
    let text = "this Content-Encoding is not known: send gzip, zstd, or none\n";
    let refused = "415 Unsupported Media Type";
    expect(post(run.address, "Content-Encoding: br\r\n", "a\n"), refused, text);
    let gzip = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    };
    let ok = "{\"records\":1}\n";
    for (name, body) in
        [("gzip", gzip(b"g\n")), ("zstd", zstd::encode_all(&b"z\n"[..], 3).unwrap())]
    {
        let encoding = format!("Content-Encoding: {name}\r\n");
        expect(post_bytes(run.address, &encoding, &body), "200 OK", ok);
        // One that breaks off, and one that swells.
        let torn = answer(&post_bytes(run.address, &encoding, &body[..body.len() - 3]));
        assert_eq!(torn.first, "HTTP/1.1 400 Bad Request");
        assert!(torn.body.contains("cannot be decompressed"), "{}", torn.body);
        let zeros = vec![0; 10 << 20];
        let bomb =
            if name == "gzip" { gzip(&zeros) } else { zstd::encode_all(&*zeros, 19).unwrap() };
        assert!(bomb.len() < 100 << 10);
        let large = answer(&post_bytes(run.address, &encoding, &bomb));
        assert_eq!(large.first, "HTTP/1.1 413 Payload Too Large");
    }
    // One that wants more memory than a decoder must have.
    for (window_log, first) in [(23, "HTTP/1.1 200 OK"), (24, "HTTP/1.1 400 Bad Request")] {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(b"w\n").unwrap();
        encoder.flush().unwrap();
        let body = encoder.finish().unwrap();
        let answered = answer(&post_bytes(run.address, "Content-Encoding: zstd\r\n", &body));
        assert_eq!(answered.first, first, "{}", answered.body);
    }
    let identity = "Content-Encoding: identity\r\n";
    expect(post(run.address, identity, "a\n"), "200 OK", "{\"records\":1}\n");
    run.stop(Signal::TERM);
    assert_eq!(case.read("out.txt"), "g\nz\nw\na\n");
}

#[test]
fn lines_json_and_arrays_are_taken_and_what_does_not_decode_is_refused_whole() {
    let codec = "codec = { type = \"json\", value = \"v\" }";
    let case = to_file("", codec);
    let run = Run::start(&case, &[]);
    expect(post(run.address, "", "{\"v\":1}\n{\"v\":2}"), "200 OK", "{\"records\":2}\n");
    let array = "[{\"v\":3},\n {\"v\":\"fo\\nur\"\n}]";
    expect(post(run.address, "", array), "200 OK", "{\"records\":2}\n");
    expect(post(run.address, "", ""), "200 OK", "{\"records\":0}\n");
    let refused = answer(&post(run.address, "", "{\"v\":5}\nnot json\n"));
    assert_eq!(refused.first, "HTTP/1.1 400 Bad Request");
    assert!(
        refused.body.starts_with("no record was accepted:\nrecord 2: not a JSON object: "),
        "{}",
        refused.body
    );
    assert!(answer(&post(run.address, "", "[1")).body.starts_with("not a JSON array: "));
    assert_eq!(run.stop(Signal::TERM).code, 143);
    assert_eq!(case.read("out.txt"), "1\n2\n3\nfo\nur\n");
}

#[test]
fn what_does_not_fit_into_one_batch_becomes_several() {
    let case = to_file("", "codec = { type = \"json\", attributes = \"*\" }");
    let run = Run::start(&case, &[]);
    let swollen: String = (0..1100).map(|n| format!("{{\"a{n}\":1}}\n")).collect();
    expect(post(run.address, "", &swollen), "200 OK", "{\"records\":1100}\n");
    expect(post(run.address, "", "{\"v\":1}\n"), "200 OK", "{\"records\":1}\n");
    // One record with more of them than a record may have is refused.
    let members: Vec<_> = (0..1025).map(|n| format!("\"a{n}\":1")).collect();
    let wide = format!("{{{}}}\n", members.join(","));
    let why = "no record was accepted:\n\
               record 1: it has 1025 members, and at most 1024 can be attributes\n";
    expect(post(run.address, "", &wide), "400 Bad Request", why);
    assert_eq!(run.stop(Signal::TERM).code, 143);
    assert_eq!(case.read("out.txt"), format!("{swollen}{{\"v\":1}}\n"));
}

#[test]
fn a_token_a_size_and_another_path() {
    let case = to_file("", "token_env = \"SECRET\"\nmax_body = \"10B\"");
    case.pipeline().code(2).says("the environment has no SECRET (token_env)");
    let run = Run::start(&case, &[("SECRET", "s3cret")]);
    let answer =
        expect(post(run.address, "", "x\n"), "401 Unauthorized", "a bearer token is needed\n");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let wrong = post(run.address, "authorization: Bearer other\r\n", "x\n");
    expect(wrong, "401 Unauthorized", "a bearer token is needed\n");
    let right = "authorization: Bearer s3cret\r\n";
    expect(post(run.address, right, "x\n"), "200 OK", "{\"records\":1}\n");
    expect(
        post(run.address, right, "0123456789\n"),
        "413 Payload Too Large",
        "the body has more than 10 bytes (max_body)\n",
    );
    let mut stream = TcpStream::connect(run.address).unwrap();
    stream.write_all(b"GET /logs HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    expect(stream, "405 Method Not Allowed", "");
    run.stop(Signal::TERM);
}

#[test]
fn a_body_that_breaks_off_is_not_taken() {
    let case = to_file("", "");
    let run = Run::start(&case, &[]);
    let mut stream = TcpStream::connect(run.address).unwrap();
    let head = "POST /logs HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}2\r\na\n\r\nnot a length\r\n").as_bytes()).unwrap();
    let refused = answer(&stream);
    assert_eq!(refused.first, "HTTP/1.1 400 Bad Request");
    assert!(refused.body.starts_with("the body cannot be read: "), "{}", refused.body);
    assert_eq!(run.stop(Signal::TERM).code, 143);
    assert_eq!(case.read("out.txt"), "");
}

#[test]
fn a_pipeline_that_does_not_keep_up_says_when_to_come_back() {
    // The guest takes its time: until it is stopped, it takes nothing more.
    let limits = r#"limits = { fuel = 9_000_000_000_000, timeout = "1h" }"#;
    let slow = posted("shutdown_grace = \"10ms\"", "queue = 2\nbatch = { linger = \"0s\" }")
        .stage("slow", "slow.wat", &format!("queue = 1\n{limits}"))
        .sink("out", "null", "");
    let case = case(&slow).file("slow.wat", guest("loop-in-process"));
    let run = Run::start(&case, &[]);
    let mut waiting = Vec::new();
    let refused = loop {
        let stream = post(run.address, "", "x\n");
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        let mut byte = [0];
        match stream.peek(&mut byte) {
            Ok(_) => break answer(&stream),
            Err(_) => waiting.push(stream), // No answer yet: it has a place.
        }
        assert!(waiting.len() < 20, "places are bounded");
    };
    assert_eq!(refused.first, "HTTP/1.1 429 Too Many Requests");
    assert_eq!(refused.headers["retry-after"], "1");
    run.stop(Signal::TERM);
}

#[test]
fn queued_is_answered_before_anything_is_durable() {
    let counted = |pipeline: &str, source: &str| {
        let counted = posted(pipeline, source)
            .stage("count", "aggregate", r#"config = { size = "1h" }"#)
            .sink("out", "file", "path = \"out.txt\"\ninput = [\"count\", \"count.late\"]");
        case(&counted)
    };
    let source = "watermark = {}\ncodec = { type = \"json\", timestamp = \"t\" }\n";
    let durable = counted("", source);
    durable
        .pipeline()
        .code(2)
        .says("`in` answers once its records are durable, and the stage `count` keeps something")
        .says("`in` answers once its records are durable, and the file of the sink `out` is there once");
    let case = counted("", &format!("{source}ack = \"queued\""));
    let run = Run::start(&case, &[]);
    let body = "{\"t\":\"2024-01-01T00:00:00Z\"}\n";
    expect(post(run.address, "", body), "202 Accepted", "{\"records\":1}\n");
    run.stop(Signal::TERM);
    assert_eq!(case.read("out.txt"), "1\n");
    // With a state directory, a window holds what was acknowledged.
    let case = counted("state = \"state\"", source);
    let run = Run::start(&case, &[]);
    expect(post(run.address, "", body), "200 OK", "{\"records\":1}\n");
    run.stop(Signal::KILL);
    let run = Run::start(&case, &[]);
    let later = "{\"t\":\"2024-01-01T00:00:01Z\"}\n{\"t\":\"2024-01-01T02:00:00Z\"}\n";
    expect(post(run.address, "", later), "200 OK", "{\"records\":2}\n");
    run.stop(Signal::TERM);
    assert_eq!(case.read("out.txt"), "2\n");
}

#[test]
fn a_source_that_is_replaced_or_stopped_delivers_what_it_took_and_answers() {
    for signal in [Signal::HUP, Signal::TERM] {
        let pipeline = |source: &str| {
            posted("", &format!("{source}\nbatch = {{ records = 20 }}")).sink(
                "out",
                "file",
                "path = \"out.txt\"\nappend = true\nrate = 500\nqueue = 1",
            )
        };
        let case = case(&pipeline(""));
        let mut command = case.command_that_hears_hangups(&["run", "pipeline.toml"]);
        let run = Run::of(&mut command);
        let bodies =
            [1, 2, 3].map(|post| (0..100).map(|n| format!("{post} {n}\n")).collect::<String>());
        let posts = bodies.each_ref().map(|body| post(run.address, "", body));
        // All are taken, and one of them is given out in part.
        while fs::read(case.path("out.txt")).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
        fs::write(case.path("pipeline.toml"), pipeline("queue = 9").to_string()).unwrap();
        kill_process(Pid::from_child(&run.child), signal).unwrap();
        let answers = posts.map(|stream| answer(&stream).first);
        // One that came too late to be taken may come again.
        let taken = answers.iter().filter(|first| *first == "HTTP/1.1 200 OK").count();
        assert!(taken > 0, "{answers:?}");
        if signal == Signal::HUP {
            run.stop(Signal::TERM);
        } else {
            wait(run.child);
        }
        let written = case.read("out.txt");
        assert_eq!(written.lines().count(), 100 * taken, "{answers:?}");
        for (body, answer) in bodies.iter().zip(&answers) {
            assert_eq!(written.contains(body), answer == "HTTP/1.1 200 OK", "{answers:?}");
        }
    }
}

#[test]
fn what_was_not_acknowledged_is_said_so() {
    let trapping = posted("", "").stage("t", "trap.wat", "").sink("out", "null", "");
    let case = case(&trapping).file("trap.wat", guest("trap"));
    let run = Run::start(&case, &[]);
    // The guest traps and the pipeline fails; an answer may not come at all.
    let mut text = String::new();
    let _ = post(run.address, "", "x\n").read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 503"), "{text}");
    assert_eq!(wait(run.child).code, 1);
}

/// Answers requests with these, one after the other.
fn server(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<Vec<Message>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            requests.push(read_message(&mut BufReader::new(&stream)));
            let end = "connection: close\r\ncontent-length: 0\r\n\r\n";
            write!(&stream, "HTTP/1.1 {answer}\r\n{end}").unwrap();
        }
        requests
    };
    (address, std::thread::spawn(serve))
}

fn posting(address: &str, sink: &str, input: &str) -> Case {
    let pipeline = Pipeline::new()
        .source("in", "file", "paths = \"in.txt\"\nbatch = { records = 2 }")
        .sink("out", "http", &format!("url = \"{address}\"\n{sink}"));
    Case::new().file("in.txt", input).file("pipeline.toml", pipeline.to_string())
}

#[test]
fn a_sink_posts_batches_and_tries_again() {
    let (address, served) = server(&[
        "503 Service Unavailable",
        // A time that has passed is no reason to hurry.
        "429 Too Many Requests\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT",
        "204 No Content",
        "200 OK",
    ]);
    let sink = "retry = { backoff = \"1ms\" }\ntoken_env = \"TOKEN\"";
    let case = posting(&format!("http://{address}/x"), sink, "a\nb\na\nb\n");
    let child = case.command(&["run", "pipeline.toml"]).env("TOKEN", "t").spawn().unwrap();
    wait(child)
        .ok()
        .says("answers 503 Service Unavailable; retrying in ")
        .says("answers 429 Too Many Requests; retrying in ")
        .says("4 records written");
    let requests = served.join().unwrap();
    let bodies: Vec<_> = requests.iter().map(|request| &*request.body).collect();
    assert_eq!(bodies, ["a\nb\n"; 4], "the first batch three times, and one that is like it");
    assert_eq!(requests[0].first, "POST /x HTTP/1.1");
    assert_eq!(requests[0].headers["authorization"], "Bearer t");
    assert_eq!(requests[0].headers["content-type"], "text/plain; charset=utf-8");
    let keys: Vec<_> = requests.iter().map(|request| &request.headers["idempotency-key"]).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
}

#[test]
fn a_sink_that_is_refused_fails_and_says_what_was_answered() {
    let (address, served) = server(&["403 Forbidden"]);
    posting(&format!("http://{address}"), "", "a\n")
        .pipeline()
        .code(1)
        .says(&format!("error: sink `out`: http://{address}/ answers 403 Forbidden"));
    served.join().unwrap();
    // What may be a secret is not shown.
    let (address, served) = server(&["403 Forbidden"]);
    let url = format!("http://name:password@{address}/x?key=secret");
    let ran = posting(&url, "", "a\n").pipeline().code(1);
    assert!(!ran.stderr.contains("password") && !ran.stderr.contains("secret"), "{}", ran.stderr);
    assert_eq!(served.join().unwrap()[0].first, "POST /x?key=secret HTTP/1.1");
    // A redirect would lose the records, and look like a success.
    let (address, served) = server(&["301 Moved Permanently\r\nlocation: /new"]);
    posting(&format!("http://{address}"), "", "a\n")
        .pipeline()
        .code(1)
        .says("answers 301 Moved Permanently");
    served.join().unwrap();
    let (address, served) = server(&["500 Oops", "500 Oops"]);
    posting(&format!("http://{address}"), "retry = { attempts = 2, backoff = \"1ms\" }", "a\n")
        .pipeline()
        .code(1)
        .says("answers 500 Internal Server Error, after 2 attempts");
    served.join().unwrap();
    posting("ftp://x", "", "a\n")
        .pipeline()
        .code(2)
        .says("\"ftp://x\" is not a URL of http or https");
    posting("http://", "", "a\n")
        .pipeline()
        .code(2)
        .says("\"http://\" is not a URL, such as \"https://example.com\": empty host");
}

#[test]
fn one_pipeline_posts_to_another_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let case = to_file("", tls)
        .file("cert.pem", made.cert.pem())
        .file("key.pem", made.signing_key.serialize_pem());
    let run = Run::start(&case, &[]);
    let url = format!("https://localhost:{}/logs", run.address.port());
    let sink = "ca = \"cert.pem\"\nretry = { attempts = 1 }";
    let trusting = posting(&url, sink, "a\nb\nc\n").file("cert.pem", made.cert.pem());
    trusting.pipeline().ok();
    assert_eq!(case.read("out.txt"), "a\nb\nc\n");
    posting(&url, "retry = { attempts = 1 }", "x\n")
        .pipeline()
        .code(1)
        .says("invalid peer certificate");
    run.stop(Signal::TERM);
    fs::write(case.path("key.pem"), "not a key").unwrap();
    case.pipeline().code(1).says("source `in`: cannot use cert.pem and key.pem: ");
}

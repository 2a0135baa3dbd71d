//! Clients that begin and do not go on: they cost a connection, and nobody else anything.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::harness::{Case, Pipeline};
use crate::support::{Run, Watched, get, post};

fn case(source: &str) -> Case {
    let pipeline = Pipeline::new()
        .source("in", "http", &format!("listen = \"127.0.0.1:0\"\n{source}"))
        .sink("out", "file", "path = \"out\"\nappend = true");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

/// A run with so many descriptors; where it takes records, and where it tells its health.
fn run(case: &Case, descriptors: u32) -> (Watched, SocketAddr, SocketAddr) {
    let plain = case.command(&["run", "pipeline.toml", "--metrics", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -n {descriptors}; exec \"$@\""))
        .arg("sh")
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(case.folder.path())
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut run = Run::start(command);
    let metrics = run.address("serving metrics at http://");
    let address = run.address("taking records at http://");
    (run.watch(), address, metrics)
}

fn ends(run: Watched) {
    run.signal(Signal::TERM);
    let ran = run.end();
    assert_eq!(ran.code, 143, "{}", ran.stderr);
}

/// The test itself needs many descriptors.
fn many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn heads_that_do_not_end() {
    many_descriptors();
    let case = case("");
    // Fewer descriptors than connections.
    let (run, address, metrics) = run(&case, 1024);
    let mut begun = Vec::new();
    for n in 0..3_000 {
        let mut stream = TcpStream::connect(if n % 8 == 0 { metrics } else { address }).unwrap();
        // The server may have closed it to make room for another.
        let _ = stream.write_all(b"POST / HTTP/1.1\r\nhost: ");
        begun.push(stream);
        if n % 500 == 0 {
            assert_eq!(post(address, "/", b"x\n").0, 200);
            assert_eq!(get(metrics, "/healthz").0, 200);
        }
    }
    assert_eq!(post(address, "/", b"x\n").0, 200);
    assert_eq!(get(metrics, "/healthz").0, 200);
    ends(run);
    assert_eq!(case.read("out"), "x\n".repeat(7));
}

#[test]
fn bodies_that_do_not_end_take_no_place() {
    let case = case("queue = 2");
    let (run, address, metrics) = run(&case, 4096);
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let begun: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(format!("{head}x").as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(post(address, "/", b"x\n").0, 200);
    }
    assert_eq!(get(metrics, "/healthz").0, 200);
    // A body that breaks off is not taken.
    drop(begun);
    ends(run);
    assert_eq!(case.read("out"), "x\n".repeat(10));
}

#[test]
fn bodies_that_do_not_end_make_room_for_others() {
    many_descriptors();
    let case = case("");
    let (run, address, metrics) = run(&case, 1024);
    // More than there may be connections.
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nx";
    let begun: Vec<_> = (0..1_100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    assert_eq!(post(address, "/", b"x\n").0, 200);
    assert_eq!(get(metrics, "/healthz").0, 200);
    drop(begun);
    ends(run);
    assert_eq!(case.read("out"), "x\n");
}

#[test]
fn heads_and_bodies_that_are_too_large() {
    let case = case("max_body = \"1KiB\"");
    let (run, address, _) = run(&case, 1024);
    let refused = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    let header =
        |bytes: usize| format!("POST / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(bytes));
    assert!(refused(header(1 << 20).as_bytes()).contains("431"));
    let headers = format!("POST / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    assert!(refused(headers.as_bytes()).contains("431"));
    // By what it says, before anything of it is read; and by what comes.
    let long =
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n";
    assert!(refused(long.as_bytes()).contains("413"));
    let chunked =
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{chunked}800\r\n{}\r\n", "x".repeat(0x800));
    assert!(refused(chunk.as_bytes()).contains("413"));
    assert_eq!(post(address, "/", b"x\n").0, 200);
    ends(run);
}

#[test]
fn what_is_no_http() {
    let case = case("");
    let (run, address, metrics) = run(&case, 1024);
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..200 {
        let mut stream = TcpStream::connect(if n % 2 == 0 { address } else { metrics }).unwrap();
        let bytes: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
        let _ = stream.write_all(&bytes);
    }
    assert_eq!(post(address, "/", b"x\n").0, 200);
    assert_eq!(get(metrics, "/healthz").0, 200);
    ends(run);
}

//! Bodies that are posted: sixteen at once cost twenty times what was sent at most, and health
//! is told meanwhile.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use rustix::process::Signal;

use crate::harness::{Case, Pipeline};
use crate::support::{PROGRAM, Run, get, limited, post};

/// As many members as a record may have, then records that have none of them.
fn wide_then_empty(members: usize, empty: usize) -> Vec<u8> {
    let members: Vec<_> = (0..members).map(|n| format!("\"a{n}\":1")).collect();
    let mut body = format!("{{{}}}\n", members.join(",")).into_bytes();
    body.extend(b"{}\n".repeat(empty));
    body
}

/// Each with members of its own.
fn all_different(records: usize) -> Vec<u8> {
    let record = |n| {
        let members: Vec<_> = (0..100).map(|m| format!("\"{n}_{m}\":1")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    (0..records).map(record).collect::<String>().into_bytes()
}

fn pipeline(codec: &str) -> Case {
    let pipeline = Pipeline::new()
        .source("in", "http", &format!("listen = \"127.0.0.1:0\"\ncodec = {codec}"))
        .sink("out", "file", "path = \"out\"\nappend = true");
    Case::new().file("pipeline.toml", pipeline.to_string())
}

/// Posts sixteen of a body at once; returns the statuses.
fn sixteen(body: &[u8], codec: &str) -> Vec<u16> {
    let case = pipeline(codec);
    let bound = PROGRAM + 20 * 16 * body.len();
    let command = limited(&case, &["run", "pipeline.toml", "--metrics", "127.0.0.1:0"], bound);
    let mut run = Run::start(command);
    let metrics = run.address("serving metrics at http://");
    let address = run.address("taking records at http://");
    let run = run.watch();
    let (done, ended) = mpsc::channel();
    let statuses = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..16)
            .map(|_| {
                let done = done.clone();
                scope.spawn(move || {
                    let status = until_taken(address, body);
                    let _ = done.send(());
                    status
                })
            })
            .collect();
        // Health is told while they are decoded.
        let mut answered = 0;
        while ended.try_iter().count() + answered < 16 {
            assert_eq!(get(metrics, "/healthz").0, 200);
            answered += ended.try_iter().count();
            if posts.iter().all(|post| post.is_finished()) {
                break;
            }
        }
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    run.signal(Signal::TERM);
    assert_eq!(run.end().code, 143);
    statuses
}

#[test]
fn bodies_whose_clients_hang_up() {
    let body = b"1\n".repeat(1 << 20);
    let case = pipeline(ALL);
    let command = limited(&case, &["run", "pipeline.toml"], PROGRAM + (64 << 20) + 4 * body.len());
    let mut run = Run::start(command);
    let address = run.address("taking records at http://");
    let run = run.watch();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }
    assert_eq!(until_taken(address, b"{}\n"), 200);
    run.signal(Signal::TERM);
    assert_eq!(run.end().code, 143);
}

/// Sends it again while the pipeline does not keep up, as its answer says.
fn until_taken(address: SocketAddr, body: &[u8]) -> u16 {
    loop {
        match post(address, "/", body).0 {
            429 => std::thread::yield_now(),
            status => return status,
        }
    }
}

const ALL: &str = "{ type = \"json\", attributes = \"*\" }";

#[test]
fn members_that_most_records_lack() {
    assert_eq!(sixteen(&wide_then_empty(1000, 50_000), ALL), [200; 16]);
    assert_eq!(sixteen(&wide_then_empty(1024, 1_000), ALL), [200; 16]);
}

#[test]
fn members_that_no_two_records_share() {
    assert_eq!(sixteen(&all_different(1_000), ALL), [200; 16]);
}

#[test]
fn mistakes_without_end() {
    assert_eq!(sixteen(&b"1\n".repeat(500_000), ALL), [400; 16]);
    assert_eq!(sixteen(&b"{\"a\":\n".repeat(100_000), ALL), [400; 16]);
}

#[test]
fn arrays_lines_and_nothing() {
    let array = format!("[{}{{}}]", "{},".repeat(200_000)).into_bytes();
    assert_eq!(sixteen(&array, ALL), [200; 16]);
    let numbers = format!("[{}1]", "1,".repeat(200_000)).into_bytes();
    assert_eq!(sixteen(&numbers, ALL), [400; 16]);
    assert_eq!(sixteen(&b"\n".repeat(500_000), "\"lines\""), [200; 16]);
    let nested = [b"[".repeat(500_000), b"]".repeat(500_000)].concat();
    assert_eq!(sixteen(&nested, ALL), [400; 16]);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(sixteen(deep.as_bytes(), ALL), [200; 16]);
}

//! Requests of a guest over HTTP: they go where they were granted, and end at their limits.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::harness::{Case, Pipeline, letters, plugin_folder};

/// What a server does with a connection whose request was read: its path, and its header
/// `authorization`.
type Serve = fn(&mut TcpStream, &str, &str);

fn server(serve: Serve) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
                let named = head.filter_map(|line| {
                    Some(line.to_lowercase().strip_prefix("authorization: ")?.to_owned())
                });
                let authorization = named.last().unwrap_or_default();
                serve(&mut stream, &path, &authorization);
            });
        }
    });
    address
}

fn respond(stream: &mut TcpStream, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(head.as_bytes());
}

fn echo(stream: &mut TcpStream, path: &str, authorization: &str) {
    respond(stream, &format!("{path} as {authorization}"));
}

/// Lines for the guest, and what it may do: what it wrote, and why it rejected the others.
fn run(lines: &[String], grants: &str, limits: &str) -> (String, Vec<String>) {
    let stage = format!("on_error = \"dead-letter\"\nlimits = {{ {limits} }}\n{grants}");
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("guest", &plugin_folder("tests/guests/http"), &stage)
        .sink("out", "stdout", "");
    let case =
        Case::new().file("in.txt", lines.join("\n")).file("pipeline.toml", pipeline.to_string());
    let ran = case.pipeline().ok();
    let reasons = letters(&case, "dead").into_iter().map(|letter| letter.reason);
    (ran.stdout, reasons.collect())
}

fn granted(url: &str, more: &str) -> String {
    format!("[[stage.grants.http]]\nurl = \"{url}\"\n{more}")
}

#[test]
fn without_a_grant_every_request_is_denied() {
    let address = server(echo);
    let (out, rejected) = run(&[format!("GET http://{address}/")], "", "");
    assert_eq!((out.as_str(), rejected.len()), ("", 1));
    assert!(rejected[0].contains("HttpRequestDenied"), "{rejected:?}");
}

#[test]
fn a_request_goes_to_what_was_granted_and_nowhere_else() {
    let (address, other) = (server(echo), server(echo));
    let lines = [
        format!("GET http://{address}/a/b?c=d"),
        format!("GET http://{other}/"),
        format!("GET https://{address}/"),
        format!("GET http://user@{address}/"),
        format!("GET http://{address}@{other}/"),
    ];
    let (out, rejected) = run(&lines, &granted(&format!("http://{address}"), ""), "");
    assert_eq!(out, "200 /a/b?c=d as of the guest\n");
    assert_eq!(rejected.len(), 4);
    assert!(rejected.iter().all(|reason| reason.contains("HttpRequestDenied")), "{rejected:?}");
}

#[test]
fn the_host_puts_secrets_into_requests_and_the_guest_does_not_see_them() {
    let address = server(echo);
    let grants = granted(&format!("http://{address}"), "headers = { Authorization = \"secret\" }");
    let (out, _) = run(&[format!("GET http://{address}/")], &grants, "");
    assert_eq!(out, "200 / as secret\n");
}

#[test]
fn a_name_that_leads_inside_is_not_dialled_unless_the_grant_says_so() {
    let port = server(echo).port();
    let lines = [format!("GET http://localhost:{port}/")];
    let url = format!("http://localhost:{port}");
    let (out, rejected) = run(&lines, &granted(&url, ""), "");
    assert_eq!(out, "");
    assert!(rejected[0].contains("DestinationIpProhibited"), "{rejected:?}");
    let (out, _) = run(&lines, &granted(&url, "inside = true"), "");
    assert_eq!(out, "200 / as of the guest\n");
}

#[test]
fn bodies_end_at_their_limit() {
    let address = server(|stream, path, _| match path {
        "/endless" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 1000]).is_ok() {}
        }
        _ => respond(stream, &"x".repeat(2000)),
    });
    let grants = granted(&format!("http://{address}"), "");
    let lines = ["fits", "endless"].map(|path| format!("GET http://{address}/{path}"));
    let (out, rejected) = run(&lines, &grants, "http = { body = \"2kB\" }");
    assert_eq!(out, format!("200 {}\n", "x".repeat(2000)));
    assert!(rejected[0].contains("response body size exceeds limit: 2000 bytes"), "{rejected:?}");
    // What the guest sends counts too.
    let post = |bytes| format!("POST http://{address}/ {}", "y".repeat(bytes));
    let (_, rejected) = run(&[post(2001)], &grants, "http = { body = \"2kB\" }");
    assert_eq!(rejected.len(), 1);
}

#[test]
fn a_server_that_does_not_answer_holds_nobody() {
    let address = server(|_, _, _| {
        loop {
            std::thread::park();
        }
    });
    let grants = granted(&format!("http://{address}"), "");
    let lines = [format!("GET http://{address}/")];
    let (out, rejected) = run(&lines, &grants, "http = { timeout = \"100ms\" }");
    assert_eq!(out, "");
    assert!(rejected[0].contains("ConnectionReadTimeout"), "{rejected:?}");
}

#[test]
fn an_instance_has_so_many_requests_at_a_time() {
    let address = server(|stream, _, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        loop {
            std::thread::park();
        }
    });
    let grants = granted(&format!("http://{address}"), "");
    let lines = vec![format!("HOLD http://{address}/"); 4];
    let limits = "http = { requests = 3 }";
    let (out, rejected) = run(&lines, &grants, limits);
    assert_eq!(out, "held 1\nheld 2\nheld 3\n");
    assert!(rejected[0].contains("ConnectionLimitReached"), "{rejected:?}");
}

#[test]
fn headers_of_an_answer_are_bounded() {
    let address = server(|stream, _, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(format!("x: {}\r\n", "y".repeat(1000)).as_bytes()).is_ok() {}
    });
    let grants = granted(&format!("http://{address}"), "");
    let (out, rejected) = run(&[format!("GET http://{address}/")], &grants, "");
    assert_eq!((out.as_str(), rejected.len()), ("", 1));
}

#[test]
fn each_part_of_a_request_is_bounded() {
    let address = server(|stream, path, _| respond(stream, &path.len().to_string()));
    let grants = granted(&format!("http://{address}"), "");
    let path = |len: usize| format!("/{}", "p".repeat(len - 1));
    let method = |len| "M".repeat(len);
    let lines = [
        format!("GET http://{address}{}", path(8 << 10)),
        format!("{} http://{address}/", method(64)),
        format!("GET http://{address}{}", path((8 << 10) + 1)),
        format!("{} http://{address}/", method(65)),
        format!("GET http://{}/", "h".repeat((8 << 10) + 1)),
    ];
    let (out, rejected) = run(&lines, &grants, "");
    assert_eq!(out, "200 8192\n200 1\n");
    assert_eq!(rejected, ["set_path", "set_method", "set_authority"]);
}

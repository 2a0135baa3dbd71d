//! A server that answers as a test tells it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request: its head, in lower case but for the first line.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub head: String,
}

pub enum Body {
    /// With a length that is right.
    Whole(Vec<u8>),
    /// So many zeros, in chunks and without a length.
    Endless(u64),
    /// This length is promised, and these bytes come.
    Promised(u64, Vec<u8>),
    /// A byte a while, for ever.
    Slow,
    /// No answer at all.
    Silent,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

impl Answer {
    pub fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub fn ok(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(200, Body::Whole(bytes.into()))
    }

    pub fn status(status: u16) -> Self {
        Self::new(status, Body::Whole(Vec::new()))
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub struct Liar {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
}

impl Liar {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, sent) = <(Arc<Mutex<Vec<Asked>>>, Arc<AtomicU64>)>::default();
        let answer = Arc::new(answer);
        let (all, bytes) = (asked.clone(), sent.clone());
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, all, bytes) = (answer.clone(), all.clone(), bytes.clone());
                std::thread::spawn(move || serve(&stream, &*answer, &all, &bytes));
            }
        });
        Self { port, asked, sent }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many bytes of bodies it got rid of.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: &TcpStream,
    answer: &dyn Fn(&Asked) -> Answer,
    all: &Mutex<Vec<Asked>>,
    sent: &AtomicU64,
) -> Option<()> {
    let asked = read(stream)?;
    all.lock().unwrap().push(asked.clone());
    let Answer { status, headers, body } = answer(&asked);
    let mut out = stream;
    if matches!(body, Body::Silent) {
        std::thread::sleep(Duration::from_secs(60));
        return None;
    }
    write!(out, "HTTP/1.1 {status} x\r\nConnection: close\r\n").ok()?;
    for (name, value) in headers {
        write!(out, "{name}: {value}\r\n").ok()?;
    }
    let mut send = |bytes: &[u8]| {
        out.write_all(bytes).ok()?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(())
    };
    match body {
        Body::Whole(bytes) => {
            send(format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes())?;
            if asked.method != "HEAD" {
                send(&bytes)?;
            }
        }
        Body::Promised(length, bytes) => {
            send(format!("Content-Length: {length}\r\n\r\n").as_bytes())?;
            send(&bytes)?;
        }
        Body::Endless(most) => {
            send(b"Transfer-Encoding: chunked\r\n\r\n")?;
            let chunk = [b"10000\r\n".to_vec(), vec![0; 1 << 16], b"\r\n".to_vec()].concat();
            for _ in 0..most >> 16 {
                send(&chunk)?;
            }
            send(b"0\r\n\r\n")?;
        }
        Body::Slow => {
            send(b"\r\n")?;
            loop {
                send(b" ")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Body::Silent => {}
    }
    Some(())
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head += &(line + "\n");
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(Asked { method, path, head })
}

//! What the tests of this suite share: limits of memory, a client, a run that is watched.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, Ran, plugin_folder, wait};

/// What the program itself takes with its threads, whatever it runs: code is not in it.
pub const PROGRAM: usize = 220 << 20;

/// The program with no more data than this: memory that it writes, on the heap and elsewhere.
pub fn limited(case: &Case, arguments: &[&str], bytes: usize) -> Command {
    let plain = case.command(arguments);
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("ulimit -d {}; exec \"$@\"", bytes / 1024))
        .arg("sh")
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(case.folder.path());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    limited
}

pub fn run_limited(case: &Case, arguments: &[&str], bytes: usize) -> Ran {
    wait(limited(case, arguments, bytes).spawn().expect("sh starts"))
}

/// The hostile guest, built.
pub fn hostile() -> String {
    plugin_folder("tests/guests/hostile")
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// A run, what it has said so far, and where it can be reached.
pub struct Run {
    pub child: Child,
    pub said: Arc<Mutex<String>>,
    log: BufReader<ChildStderr>,
}

impl Run {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, said: Arc::default(), log }
    }

    /// Waits until the log has this, and gives the rest of the line.
    pub fn says(&mut self, text: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.log.read_line(&mut line).expect("the log is text");
            assert!(read > 0, "it ended without saying {text:?}:\n{}", self.said.lock().unwrap());
            self.said.lock().unwrap().push_str(&line);
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The address that it listens at, once it has said so.
    pub fn address(&mut self, before: &str) -> SocketAddr {
        let rest = self.says(before);
        rest.split('/').next().unwrap().parse().unwrap_or_else(|e| panic!("{rest}: {e}"))
    }

    /// Reads on, so that it never waits for who reads its log.
    pub fn watch(self) -> Watched {
        let said = self.said.clone();
        let mut log = self.log;
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while log.read_line(&mut line).is_ok_and(|read| read > 0) {
                let mut said = said.lock().unwrap();
                // Of a flood, the end is kept.
                if said.len() > 1 << 20 {
                    said.clear();
                }
                said.push_str(&line);
                line.clear();
            }
        });
        Watched { child: self.child, said: self.said, reader }
    }
}

pub struct Watched {
    pub child: Child,
    pub said: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Watched {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end.
    pub fn end(self) -> Ran {
        let mut ran = wait(self.child);
        self.reader.join().expect("reading does not panic");
        ran.stderr = self.said.lock().unwrap().clone();
        ran
    }
}

/// Posts a body, and gives the status and the body of the answer.
pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    // It may answer and close before it has all.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    answer(&mut stream)
}

/// Gets something, and waits for the whole answer.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    answer(&mut stream)
}

pub fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// A value of a metric.
pub fn metric(text: &str, name: &str, labels: &str) -> f64 {
    let start = format!("{name}{{{labels}}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0.0, |value| value.parse().unwrap())
}

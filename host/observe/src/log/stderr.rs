//! Writes to stderr, on a thread of its own: a pipe that nobody reads must block neither a sink
//! that logs nor the end of the program.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::{Format, secrets};
use pipehost_record::foreign::{Foreign, is_harmful};

/// Maximum bytes that wait to be written; further lines of the log are dropped and counted.
const WAITING: usize = 1 << 20;
/// How long the end of the program waits until everything is written.
const PATIENCE: Duration = Duration::from_secs(1);

enum Message {
    Text(Vec<u8>),
    /// Confirms that everything before it is written.
    Written(Sender<()>),
}

struct Queue {
    messages: Mutex<Sender<Message>>,
    waiting: AtomicUsize,
    /// Lines of the log that were dropped and not yet reported.
    dropped: AtomicU64,
}

static QUEUE: LazyLock<Queue> = LazyLock::new(|| {
    let (messages, receiver) = channel();
    std::thread::Builder::new()
        .name("stderr".to_owned())
        .spawn(move || write(&receiver))
        .expect("the system gives a thread for stderr");
    let (waiting, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
    Queue { messages: Mutex::new(messages), waiting, dropped }
});

fn write(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Text(bytes) => {
                // If stderr is closed, there is nowhere to report it.
                let mut write = || drop(io::stderr().write_all(&bytes));
                match &*CLEAR.lock().expect("nobody panics here") {
                    Some(clear) => clear(&mut write),
                    None => write(),
                }
                QUEUE.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            Message::Written(done) => drop(done.send(())),
        }
    }
}

/// Clears the last line of a terminal, calls what writes, and draws the line again.
pub type Clear = Box<dyn Fn(&mut dyn FnMut()) + Send>;

static CLEAR: Mutex<Option<Clear>> = Mutex::new(None);

/// Has everything be written with `clear`, or no longer.
pub fn keep_clear(clear: Option<Clear>) {
    *CLEAR.lock().expect("nobody panics here") = clear;
}

impl Queue {
    fn send(&self, message: Message) {
        let messages = self.messages.lock().expect("nobody panics here");
        let _ = messages.send(message);
    }

    fn text(&self, bytes: Vec<u8>) {
        self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        self.send(Message::Text(bytes));
    }
}

/// Set once the log is one of JSON: what is said is then a line of it.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Has [`say`] and [`fail`] write events of the log in this format.
pub(super) fn set_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Whether the log is one of JSON.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Writes a message, and waits until it is written, at most for `PATIENCE`.
pub fn say(text: &str) {
    tell("INFO", text, Map::new());
}

/// The same of a warning.
pub fn warn(text: &str) {
    tell("WARN", text, Map::new());
}

/// The same of an error.
pub fn fail(text: &str) {
    tell("ERROR", text, Map::new());
}

/// The same of an event with these fields, which are only in JSON.
pub fn tell(level: &str, text: &str, mut fields: Map<String, Value>) {
    let stderr = io::stderr();
    let plain = || anstream::adapter::strip_str(text.trim_end()).to_string();
    let line = if is_json() {
        let mut all = Map::from_iter([("message".to_owned(), plain().into())]);
        all.append(&mut fields);
        let timestamp = pipehost_record::time::rfc3339(pipehost_record::time::now());
        let event =
            json!({ "timestamp": timestamp, "level": level, "fields": all, "target": "pipehost" });
        secrets::masked_json(&safe(Format::Json, &event.to_string())).into_owned()
    } else {
        let styled = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        let text = if styled { text.trim_end().to_owned() } else { plain() };
        format!("{}\n", secrets::masked(&text))
    };
    QUEUE.text(line.into_bytes());
    let (done, written) = channel();
    QUEUE.send(Message::Written(done));
    let _ = written.recv_timeout(PATIENCE);
}

/// The writer of the log. An event is one line, whatever it contains.
pub struct Log {
    pub format: Format,
}

pub struct Line {
    format: Format,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { format: self.format, bytes: Vec::new() }
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        if QUEUE.waiting.load(Ordering::Relaxed) > WAITING {
            QUEUE.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut line = safe(self.format, &String::from_utf8_lossy(&self.bytes));
        let dropped = QUEUE.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && self.format == Format::Text {
            line.insert_str(
                0,
                &format!("{dropped} log lines were dropped: stderr was not read fast enough\n"),
            );
        }
        let line = match self.format {
            Format::Text => secrets::masked(&line),
            Format::Json => secrets::masked_json(&line),
        };
        QUEUE.text(line.into_owned().into_bytes());
    }
}

/// One line, in which a terminal can obey only the log's own colours.
fn safe(format: Format, event: &str) -> String {
    let event = event.trim_end_matches('\n');
    let mut line = String::with_capacity(event.len() + 1);
    let mut rest = event;
    while let Some(at) = rest.find(is_harmful) {
        let (before, from) = rest.split_at(at);
        line.push_str(before);
        let colour = colour(from);
        if colour > 0 && format == Format::Text {
            line.push_str(&from[..colour]);
            rest = &from[colour..];
            continue;
        }
        let c = from.chars().next().expect("it was found");
        rest = &from[c.len_utf8()..];
        let mut utf8 = [0; 4];
        let text = &*c.encode_utf8(&mut utf8);
        let text = match format {
            Format::Text => Foreign::new(text),
            Format::Json => Foreign::json(text),
        };
        line.push_str(&text.to_string());
    }
    line.push_str(rest);
    line.push('\n');
    line
}

/// The length of a sequence that sets only a colour or a weight. Text of guests is escaped before:
/// these sequences are the log's own.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len());
    if rest[end..].starts_with('m') { 2 + end + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_moves_no_cursor() {
        let text = |event| safe(Format::Text, event);
        assert_eq!(text("\u{1b}[32mINFO\u{1b}[0m a\nb\n"), "\u{1b}[32mINFO\u{1b}[0m a\\nb\n");
        assert_eq!(text("\u{1b}[2J\u{9b}1m\u{202e}x"), "\\u{1b}[2J\\u{9b}1m\\u{202e}x\n");
        let json = safe(Format::Json, "{\"m\":\"\u{202e}\u{9b}\"}\n");
        assert_eq!(json, "{\"m\":\"\\u202e\\u009b\"}\n");
    }
}

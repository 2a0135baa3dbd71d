//! A CPU profile of the host, in the format of pprof
//! (<https://github.com/google/pprof/blob/main/proto/profile.proto>), gzipped.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::{ProfilerGuardBuilder, Report};
use prost::Message as _;

/// Samples per second of CPU time. Not a round number, so that samples do not coincide with regular
/// work.
const FREQUENCY: i32 = 99;

/// Held while a profile is taken: the process has only one timer for it.
static TAKEN: Mutex<()> = Mutex::new(());

/// Why there is no profile.
pub enum Sampling {
    /// Another one is being taken.
    Busy,
    /// The client has gone.
    Unwanted,
    Failed(String),
}

/// Takes a profile of this process for `length`, or until the sender of `wanted` is dropped.
///
/// # Errors
/// If another profile is being taken, the system refuses it, or the client has gone.
pub fn sample(length: Duration, wanted: &Receiver<()>) -> Result<Vec<u8>, Sampling> {
    let _taken = TAKEN.try_lock().map_err(|_| Sampling::Busy)?;
    let failed = |error: pprof::Error| Sampling::Failed(error.to_string());
    // Unwinding in these libraries may wait for a lock that the interrupted thread holds.
    let blocked = ["libc", "libgcc", "pthread", "vdso"];
    let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&blocked);
    let guard = builder.build().map_err(failed)?;
    if wanted.recv_timeout(length) == Err(RecvTimeoutError::Disconnected) {
        return Err(Sampling::Unwanted);
    }
    let report = guard.report().build().map_err(failed)?;
    drop(guard);
    let bytes = encode(&report, length).encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let zipped = gzip.write_all(&bytes).and_then(|()| gzip.finish());
    zipped.map_err(|error| Sampling::Failed(error.to_string()))
}

fn encode(report: &Report, length: Duration) -> Profile {
    let mut texts = Texts { list: vec![String::new()], places: HashMap::new() };
    let (samples, count) = (texts.place("samples"), texts.place("count"));
    let (cpu, nanoseconds) = (texts.place("cpu"), texts.place("nanoseconds"));
    let thread = texts.place("thread");
    let period = 1_000_000_000 / i64::from(FREQUENCY);
    let mut profile = Profile {
        sample_type: vec![
            ValueType { r#type: samples, unit: count },
            ValueType { r#type: cpu, unit: nanoseconds },
        ],
        period_type: Some(ValueType { r#type: cpu, unit: nanoseconds }),
        period,
        duration_nanos: i64::try_from(length.as_nanos()).unwrap_or(i64::MAX),
        ..Profile::default()
    };
    let mut functions: HashMap<String, u64> = HashMap::new();
    for (frames, &count) in &report.data {
        let mut locations = Vec::new();
        for symbol in frames.frames.iter().flatten() {
            let name = symbol.name();
            let next = functions.len() as u64 + 1;
            let id = *functions.entry(name.clone()).or_insert(next);
            if id == next {
                let name = texts.place(&name);
                let filename = texts.place(&symbol.filename());
                profile.function.push(Function { id, name, system_name: name, filename });
                let line = vec![Line { function_id: id, line: 0 }];
                profile.location.push(Location { id, line });
            }
            locations.push(id);
        }
        let count = count as i64;
        let label = Label { key: thread, str: texts.place(&frames.thread_name_or_id()) };
        profile.sample.push(Sample {
            location_id: locations,
            value: vec![count, count * period],
            label: vec![label],
        });
    }
    profile.string_table = texts.list;
    profile
}

/// A table of texts, each once: other parts refer to them by index.
struct Texts {
    list: Vec<String>,
    places: HashMap<String, i64>,
}

impl Texts {
    fn place(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.list.len() as i64;
        self.list.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

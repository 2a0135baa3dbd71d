//! A test case of a stage, as `pipehost test` and `pipehost conformance` run it: a file with what
//! goes in and what is expected.

use std::net::SocketAddr;
use std::ops::Range;

use serde_json::Value;

use crate::At;
use crate::grants::Answer;
use crate::limits::Limits;
use pipehost_record::Record;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The configuration of the stage, a JSON object.
    pub config: Value,
    /// Where the clock of the stage stands, in nanoseconds since the Unix epoch.
    pub clock: i64,
    pub limits: Limits,
    pub grants: CaseGrants,
    pub steps: Vec<Step>,
    /// Whether the stage is asked to finish at the end.
    pub finishes: bool,
    pub output: Vec<Expected>,
    pub rejected: Vec<ExpectedRejection>,
    /// A part of the error with which the stage refuses its configuration or its state.
    pub refused: Option<String>,
}

/// What a stage is granted in a case: stand-ins that the case itself holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseGrants {
    pub env: Vec<(String, String)>,
    /// Files that it may read: their path in the guest, and their content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What servers answer to requests over HTTP.
    pub http: Vec<Answer>,
    /// What servers say over TCP.
    pub tcp: Vec<Exchange>,
}

/// What a server says over TCP to what it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub address: SocketAddr,
    /// What it is sent; empty: it speaks first, when the stage connects.
    pub wants: Vec<u8>,
    pub answer: Vec<u8>,
    /// Whether it then closes the connection.
    pub close: bool,
}

/// A case of a pipeline, as `pipehost test PIPELINE.toml` runs it.
#[derive(Debug, Clone)]
pub struct PipelineCase {
    /// Where the clocks of the stages stand, in nanoseconds since the Unix epoch.
    pub clock: i64,
    pub input: Vec<Entering>,
    pub output: Vec<Leaving>,
    /// Nodes and ports at which nothing is expected.
    pub nothing: Vec<At<String>>,
    pub rejected: Vec<RejectedBy>,
}

/// A record that enters a pipeline.
#[derive(Debug, Clone)]
pub struct Entering {
    /// The source, stage or sink that it is given to, or `STAGE.INPUT`.
    pub to: At<String>,
    /// For a source of lines, its value is what the codec reads.
    pub record: Record,
    pub times: usize,
}

/// A record that is expected in a pipeline.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// The sink that it is given to, or the node, or `NODE.PORT`, that sends it.
    pub from: At<String>,
    pub record: Record,
    pub times: usize,
}

/// A record that a node is expected to reject.
#[derive(Debug, Clone)]
pub struct RejectedBy {
    pub by: At<String>,
    pub reason: Reason,
}

/// What happens to the stage, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Records(Repeated),
    /// In nanoseconds since the Unix epoch.
    Watermark(i64),
    /// The state is saved, and restored in a new instance: with this configuration, if there is one.
    Restart(Option<Value>),
}

/// A record that comes as often as the case says, with `{n}` in its texts as the number, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    pub record: Record,
    /// The input by which it comes, if the stage tells its inputs apart.
    pub from: Option<String>,
    pub times: usize,
}

/// Records that are expected on a port.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// `None`: the default port.
    pub port: Option<String>,
    pub record: Record,
    pub times: usize,
    /// Where the case says so, in bytes of its text.
    pub span: Range<usize>,
}

/// A record that is expected to be rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRejection {
    /// Its number among all records of the case, from 1.
    pub input: usize,
    pub reason: Reason,
    pub retryable: Option<bool>,
}

/// What a reason must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Is(String),
    Contains(String),
}

impl Reason {
    pub fn fits(&self, reason: &str) -> bool {
        match self {
            Self::Is(text) => text == reason,
            Self::Contains(part) => reason.contains(&**part),
        }
    }
}

/// The most records of one case.
pub const MOST_RECORDS: usize = 1_000_000;

/// The number that `n` stands for in the texts of a repeated record.
pub fn numbered(record: &Record, times: usize, n: usize) -> Record {
    if times == 1 {
        return record.clone();
    }
    let number = n.to_string();
    let filled = |bytes: &Vec<u8>| match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("{n}") => text.replace("{n}", &number).into_bytes(),
        _ => bytes.clone(),
    };
    Record {
        timestamp: record.timestamp,
        key: record.key.as_ref().map(filled),
        value: record.value.as_ref().map(filled),
        attributes: (record.attributes.iter())
            .map(|(name, bytes)| (name.clone(), filled(bytes)))
            .collect(),
    }
}

//! `pipehost tap`.

use std::io::{self, Write as _};

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::{Which, step_back};
use crate::error::Error;
use crate::runtime::one_thread;
use crate::seen;
use pipehost_config::graph::node_and_port;
use pipehost_observe::log::stderr;
use pipehost_record::foreign::Foreign;
use pipehost_serve::tap::Line;

pub const ABOUT: &str = "\
Show the records that pass a node of a pipeline that runs.

Of a stage, each record that it is given (<), and what it made of it (>, x if rejected); with a port,
what leaves it there. Of a source, what it sends; of a sink, what it takes in.

    pipehost tap parse --filter level=ERROR

    pipehost tap parse.out --sample 1000 --format json | jq .record.value

The pipeline never waits for it: what cannot be shown in time is skipped, and counted.";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source, stage or sink, or the port of a stage.
    #[arg(value_name = "NODE[.PORT]")]
    node: String,
    #[command(flatten)]
    which: Which,
    /// Only records that fit: NAME=TEXT, NAME!=TEXT, NAME~TEXT (contains) or NAME!~TEXT, where NAME is
    /// `key`, `value` or an attribute. Several must all fit. Of a stage, what it made may fit, too.
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show one of so many of them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// End after so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to write them to stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people; long values are cut.
    Text,
    /// One object a line: `record`, `given`, `made` or `skipped`, as in the OpenAPI document.
    Json,
}

pub fn tap(args: &Args) -> Result<u8, Error> {
    step_back();
    one_thread()?.block_on(show(args))
}

async fn show(args: &Args) -> Result<u8, Error> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("node", &args.node).append_pair("sample", &args.sample.to_string());
    for filter in &args.filter {
        query.append_pair("filter", filter);
    }
    let (node, _) = node_and_port(&args.node);
    let client = args.which.find().await?;
    let path = format!("/tap?{}", query.finish());
    let mut body = client.request(Method::GET, &path, Bytes::new()).await?.into_body();
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Error::Failed(anyhow!("cannot wait for signals: {error}")))?;
    let (mut left, mut begun) = (args.limit.unwrap_or(u64::MAX), Vec::new());
    while left > 0 {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = interrupts.recv() => return Ok(0),
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            None => {
                stderr::say("the run has ended, or goes on without this node");
                return Ok(0);
            }
            Some(Err(error)) => {
                return Err(Error::Failed(anyhow!("the connection to the run broke: {error}")));
            }
        };
        let data = frame.into_data().unwrap_or_default();
        // Looks only at what is new: a long line comes in many frames.
        let Some(end) = data.iter().rposition(|byte| *byte == b'\n') else {
            begun.extend_from_slice(&data);
            continue;
        };
        begun.extend_from_slice(&data[..end]);
        let lines = std::mem::replace(&mut begun, data[end + 1..].to_vec());
        let mut out = Vec::new();
        for line in lines.split(|byte| *byte == b'\n') {
            if left == 0 {
                break;
            }
            let parsed: Line = serde_json::from_slice(line)
                .map_err(|error| Error::Failed(anyhow!("the run answers no record: {error}")))?;
            match args.format {
                Format::Json => {
                    // What a record holds must not reach a terminal as it is.
                    let line = String::from_utf8_lossy(line);
                    out.extend_from_slice(Foreign::json(&line).to_string().as_bytes());
                    out.push(b'\n');
                }
                Format::Text => {
                    out.extend_from_slice(seen::text(node, &parsed).as_bytes());
                    out.push(b'\n');
                }
            }
            left -= u64::from(!matches!(parsed, Line::Skipped(_)));
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Error::stdout)?;
    }
    Ok(0)
}

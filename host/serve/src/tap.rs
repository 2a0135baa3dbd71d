//! The records that pass a node, as lines of JSON. What cannot be shown in time is skipped and
//! counted: whoever looks never slows the pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::Control;
use crate::record::Record;
use crate::refusal::Refusal;
use pipehost_config::graph::{NodeId, node_and_port};
use pipehost_http::ConnectionSlot;
use pipehost_observe::tap::{Call, Emission, Look, Seen, Tap};
use pipehost_record::Batch;
use pipehost_record::foreign::Foreign;

/// A line of a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A record that a source sent, that left a stage at the port, or that a sink took in.
    Record(Record),
    /// A record that a stage was given, and what became of it.
    Given(Given),
    /// A record that a stage made of no single one.
    Made(Sent),
    /// So many records were not looked at, as they came too fast.
    Skipped(u64),
}

/// A record that a stage was given, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Given {
    pub record: Record,
    /// What the stage sent for it; with `rejected`, nothing.
    pub sent: Vec<Sent>,
    /// Why the stage rejected it.
    pub rejected: Option<String>,
}

/// A record that a stage has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    pub port: String,
    pub record: Record,
}

/// Which records are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    part: Part,
    text: Vec<u8>,
    /// Whether it is enough that the part contains the text.
    contains: bool,
    /// Whether the others are shown.
    is_not: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Attribute(String),
}

impl Filter {
    /// `NAME=TEXT`, `NAME!=TEXT`, `NAME~TEXT` or `NAME!~TEXT`.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "the filter `{}`: write NAME=TEXT, NAME!=TEXT, NAME~TEXT (contains) or NAME!~TEXT, \
                 where NAME is `key`, `value` or an attribute",
                Foreign::new(text)
            )
        };
        let at = text.find(['=', '~']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(at);
        let (name, is_not) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let part = match name {
            "" => return Err(wrong()),
            "key" => Part::Key,
            "value" => Part::Value,
            name => Part::Attribute(name.to_owned()),
        };
        Ok(Self {
            part,
            text: rest.as_bytes()[1..].to_vec(),
            contains: rest.starts_with('~'),
            is_not,
        })
    }

    fn has(&self, batch: &Batch, row: usize) -> bool {
        let column = match &self.part {
            Part::Key => batch.key.as_ref(),
            Part::Value => batch.value.as_ref(),
            Part::Attribute(name) => batch.attribute(name),
        };
        let value = column.and_then(|column| column.get(row));
        let is = value.is_some_and(|value| match self.contains {
            true => memchr::memmem::find(value, &self.text).is_some(),
            false => value == self.text,
        });
        is != self.is_not
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    node: String,
    port: Option<String>,
    filters: Vec<Filter>,
    /// One of so many of the records that the filters have is shown.
    sample: u64,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, String> {
        let (mut node, mut filters, mut sample) = (None, Vec::new(), 1);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "node" => node = Some(value.into_owned()),
                "filter" => filters.push(Filter::parse(&value)?),
                "sample" => {
                    let valid = value.parse().ok().filter(|sample| *sample > 0);
                    sample = valid
                        .ok_or("`sample` is a whole number from 1: one of so many is shown")?;
                }
                other => return Err(format!("there is no parameter `{}`", Foreign::new(other))),
            }
        }
        let node = node.ok_or("`node` is missing: NODE or NODE.PORT")?;
        let (node, port) = node_and_port(&node);
        Ok(Self { node: node.to_owned(), port: port.map(str::to_owned), filters, sample })
    }
}

/// The records that pass a node, until the client goes.
///
/// Of a stage, each record that it is given with what it made of it; at a port, what it sends
/// there. Of a source, what it sends; of a sink, what it takes in. What cannot be shown in time is
/// skipped, and counted in a line of its own.
#[utoipa::path(
    get,
    path = "/v1/tap",
    params(
        ("node" = String, Query, description = "NODE or NODE.PORT"),
        ("filter" = Option<Vec<String>>, Query, description = "Only records that fit all of these: \
            NAME=TEXT, NAME!=TEXT, NAME~TEXT (contains), NAME!~TEXT; NAME is `key`, `value` or an \
            attribute"),
        ("sample" = Option<u64>, Query, description = "Show one of so many"),
    ),
    responses(
        (status = 200, description = "One object a line.", body = Line, content_type = "application/x-ndjson"),
        (status = 400, description = "A parameter is wrong."),
        (status = 404, description = "There is no such node or port."),
        (status = 409, description = "There are too many taps."),
    )
)]
pub(crate) async fn tap(
    State(control): State<Control>,
    Extension(connection): Extension<Arc<ConnectionSlot>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let asked = Asked::parse(&query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    let nodes = control.view.nodes();
    let Some(node) = nodes.iter().find(|node| node.name == asked.node) else {
        let names: Vec<_> = nodes.iter().map(|node| format!("`{}`", node.name)).collect();
        let asked = Foreign::new(&asked.node);
        return Err(Refusal::not_found(format!(
            "there is no `{asked}`; there is {}",
            names.join(", ")
        )));
    };
    let port = |name: &String| {
        node.ports.iter().position(|port| port == name).ok_or_else(|| match node.ports.is_empty() {
            true => format!("`{}` is a sink, which has no ports", node.name),
            false => format!(
                "`{}` has no port `{}`; it has {}",
                node.name,
                Foreign::new(name),
                node.ports.join(", ")
            ),
        })
    };
    let look = match &asked.port {
        Some(name) => match port(name).map_err(Refusal::not_found)? {
            // A source has one port, at which all of it leaves.
            _ if matches!(node.id, NodeId::Source(_)) => Look::Node,
            port => Look::Port(port),
        },
        None => Look::Node,
    };
    let Ok(place) = control.limits.taps.clone().try_acquire_owned() else {
        return Err(Refusal::conflict("there are too many taps: end one of them"));
    };
    let (sender, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
    let shown_ports = node.ports.clone();
    let shown = Shown { ports: node.ports.clone(), asked, fitting: 0 };
    let (point, view) = (node.metrics.tap.clone(), control.view.clone());
    let tap = point.tap(look);
    tokio::spawn(async move {
        let _busy = connection.busy(); // Its connection is not idle, though it sends nothing.
        let is_there = || {
            let nodes = view.nodes();
            nodes
                .iter()
                .any(|node| Arc::ptr_eq(&node.metrics.tap, &point) && node.ports == shown_ports)
        };
        show(tap, shown, sender, is_there).await;
        drop(place);
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(body)).into_response())
}

/// The part of one core that a tap may take, as one of so many.
const PART: u32 = 100;
/// How much of that it may save up.
const SAVED: Duration = Duration::from_millis(50);
/// How often what was skipped is told.
const TELL: Duration = Duration::from_secs(1);
/// Bytes of lines that are sent at once, and the time after which others get their turn.
const AT_ONCE: usize = 64 << 10;
const TURN: Duration = Duration::from_millis(2);
/// A client that reads nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows what is seen, until the client goes or the node is gone.
async fn show(
    mut tap: Tap,
    mut shown: Shown,
    mut sender: Sender<Bytes>,
    is_there: impl Fn() -> bool,
) {
    let mut told = Instant::now();
    // The time that it may take now; it grows with the clock.
    let (mut allowance, mut at) = (SAVED, Instant::now());
    loop {
        let seen = tokio::select! {
            seen = tap.next() => seen,
            () = tokio::time::sleep(TELL) => None,
        };
        let (mut begun, mut worked) = (Instant::now(), Duration::ZERO);
        let mut lines = Vec::new();
        let rows = seen.map(Rows::of);
        let count = rows.as_ref().map_or(0, Rows::count);
        for row in 0..count {
            shown.row(rows.as_ref().expect("it has rows"), row, &mut lines);
            let is_full = lines.len() >= AT_ONCE;
            if is_full || begun.elapsed() > TURN {
                worked += begun.elapsed();
                if is_full && send(&mut sender, &mut lines).await.is_err() {
                    return;
                }
                yield_now().await;
                begun = Instant::now();
            }
        }
        worked += begun.elapsed();
        drop(rows);
        if told.elapsed() >= TELL {
            told = Instant::now();
            if !is_there() {
                return; // Another pipeline goes on without it.
            }
            let skipped = tap.skipped();
            if skipped > 0 {
                write(&Line::Skipped(skipped), &mut lines);
            }
        }
        // An empty frame finds out whether the client is still there.
        if (!lines.is_empty() || count == 0) && send(&mut sender, &mut lines).await.is_err() {
            return;
        }
        allowance = (allowance + at.elapsed() / PART).min(SAVED).saturating_sub(worked);
        at = Instant::now();
        if allowance.is_zero() {
            tokio::time::sleep(worked * PART).await;
        }
    }
}

async fn send(sender: &mut Sender<Bytes>, lines: &mut Vec<u8>) -> Result<(), ()> {
    let lines = std::mem::take(lines);
    // A client that does not read makes this wait, and the tap skip.
    match timeout(PATIENCE, sender.send_data(lines.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// What is shown of what is seen.
struct Shown {
    ports: Vec<String>,
    asked: Asked,
    /// Records that the filters had.
    fitting: u64,
}

impl Shown {
    /// Writes one of the rows of what was seen, if it is to be shown.
    fn row(&mut self, rows: &Rows, row: usize, lines: &mut Vec<u8>) {
        let fits = |batch: &Batch, row| self.asked.filters.iter().all(|f| f.has(batch, row));
        if !rows.any(row, fits) {
            return;
        }
        self.fitting += 1;
        if (self.fitting - 1).is_multiple_of(self.asked.sample) {
            write(&rows.line(&self.ports, row), lines);
        }
    }
}

/// What was seen, as rows: of a call, those that it was given, then those that it made of none.
pub struct Rows {
    seen: Seen,
    count: usize,
    /// What descends from the rows of a call: the row, the emission, and the row in that; sorted.
    children: Vec<(usize, usize, usize)>,
    /// The rejected rows of a call, each with its place among the rejections; sorted.
    rejected: Vec<(usize, usize)>,
}

impl Rows {
    pub fn of(seen: Seen) -> Self {
        let (mut count, mut children, mut rejected) = (0, Vec::new(), Vec::new());
        match &seen {
            Seen::Records(batch) => count = batch.len,
            Seen::Call(call) => {
                count += call.before.len;
                for (number, emission) in call.after.iter().enumerate() {
                    match &emission.parents {
                        None => count += emission.batch.len,
                        Some(parents) => {
                            let parents = parents.iter().enumerate();
                            children.extend(parents.map(|(at, row)| (*row as usize, number, at)));
                        }
                    }
                }
                children.sort_unstable();
                let rows = call.rejected.iter().enumerate();
                rejected.extend(rows.map(|(at, rejected)| (rejected.row, at)));
                rejected.sort_unstable();
            }
        }
        Self { seen, count, children, rejected }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A row as a line; `ports` are the names of the node's ports.
    pub fn line(&self, ports: &[String], row: usize) -> Line {
        let json = |batch: &Batch, row| Record::from(&batch.record(row));
        let sent = |emission: &Emission, at| {
            let port = ports.get(emission.port).cloned().unwrap_or_default();
            Sent { port, record: json(&emission.batch, at) }
        };
        match self.at(row) {
            At::Record(batch, row) => Line::Record(json(batch, row)),
            At::Made(emission, at) => Line::Made(sent(emission, at)),
            At::Given(call) => Line::Given(Given {
                record: json(&call.before, row),
                sent: self.children(call, row).map(|(of, at)| sent(of, at)).collect(),
                rejected: self.reason(call, row).map(str::to_owned),
            }),
        }
    }

    /// Whether this is so for a record of a row: what was given, or what became of it.
    fn any(&self, row: usize, is: impl Fn(&Batch, usize) -> bool) -> bool {
        match self.at(row) {
            At::Record(batch, row) => is(batch, row),
            At::Made(emission, at) => is(&emission.batch, at),
            At::Given(call) => {
                is(&call.before, row) || self.children(call, row).any(|(of, at)| is(&of.batch, at))
            }
        }
    }

    fn at(&self, row: usize) -> At<'_> {
        let call = match &self.seen {
            Seen::Records(batch) => return At::Record(batch, row),
            Seen::Call(call) => call,
        };
        let Some(mut at) = row.checked_sub(call.before.len) else { return At::Given(call) };
        for emission in call.after.iter().filter(|emission| emission.parents.is_none()) {
            if at < emission.batch.len {
                return At::Made(emission, at);
            }
            at -= emission.batch.len;
        }
        unreachable!("there are `count` rows")
    }

    /// What descends from a row of a call, each with the row in it.
    fn children<'c>(
        &self,
        call: &'c Call,
        row: usize,
    ) -> impl Iterator<Item = (&'c Emission, usize)> {
        let first = self.children.partition_point(|(parent, ..)| *parent < row);
        let of_row = self.children[first..].iter().take_while(move |(parent, ..)| *parent == row);
        of_row.map(|(_, emission, at)| (&call.after[*emission], *at))
    }

    /// Why a row of a call was rejected, if it was.
    fn reason<'c>(&self, call: &'c Call, row: usize) -> Option<&'c str> {
        let first = self.rejected.partition_point(|(rejected, _)| *rejected < row);
        let (_, at) = self.rejected.get(first).filter(|(rejected, _)| *rejected == row)?;
        Some(&call.rejected[*at].reason)
    }
}

/// What a row is.
enum At<'a> {
    Record(&'a Batch, usize),
    Given(&'a Call),
    Made(&'a Emission, usize),
}

fn write(line: &Line, lines: &mut Vec<u8>) {
    serde_json::to_writer(&mut *lines, line).expect("its keys are texts");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_record::BatchBuilder;

    #[test]
    fn a_filter_compares_a_part_of_a_record() {
        let mut builder = BatchBuilder::default();
        let attributes = [("level", &b"ERROR"[..])];
        builder.push(
            &"test".into(),
            1,
            None,
            Some(b"k"),
            Some(b"it = broken"),
            attributes.into_iter(),
        );
        let batch = builder.take();
        let has = |text: &str| Filter::parse(text).unwrap().has(&batch, 0);
        for fits in ["level=ERROR", "level!=WARN", "value~broken", "value~= b", "key=k", "other!=x"]
        {
            assert!(has(fits), "{fits}");
        }
        for other in ["level=ERR", "level!=ERROR", "value!~broken", "key=", "other~x", "other="] {
            assert!(!has(other), "{other}");
        }
        for wrong in ["level", "=x", "!=x", "~"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_names_a_node_or_a_port() {
        let asked = Asked::parse("node=a.b&filter=x%3D1&filter=value~y&sample=10").unwrap();
        assert_eq!((&*asked.node, asked.port.as_deref()), ("a", Some("b")));
        assert_eq!((asked.filters.len(), asked.sample), (2, 10));
        for wrong in ["", "node=a&sample=0", "node=a&sample=x", "node=a&nope=1", "node=a&filter=x"]
        {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}

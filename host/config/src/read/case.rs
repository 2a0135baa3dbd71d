//! From TOML to a test case.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use toml::de::DeValue;

use super::stage;
use super::table::{self, Item, TableReader};
use crate::case::{
    Case, CaseGrants, Entering, Exchange, Expected, ExpectedRejection, Leaving, MOST_RECORDS,
    PipelineCase, Reason, RejectedBy, Repeated, Step,
};
use crate::grants::{Answer, FIXED_CLOCK};
use crate::mistake::Mistake;
use pipehost_record::Record;

/// Reads a test case, and collects its mistakes.
pub fn read_case(text: &str) -> (Case, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let document = table::document(text, &mut mistakes);
    let mut root = TableReader::new("a case", document.get_ref(), None, &mut mistakes);
    let config =
        root.get("config").map(|item| table::json(item, "", &mut table::Places::default()));
    let clock = root.get("clock").and_then(|item| time(&mut root, "clock", item));
    let limits = root.table("limits", "`limits`", stage::limits).unwrap_or_default();
    let grants = root.table("grants", "`grants`", grants).unwrap_or_default();
    let finishes = root.bool("finish").unwrap_or(true);
    let refused = root.string("refused").map(|text| text.value);
    let mut incomplete = false;
    let steps = root.tables("input", "an input", &mut incomplete, step);
    let output = root.tables("output", "an output", &mut incomplete, expected);
    let rejected = root.tables("rejected", "a rejection", &mut incomplete, rejection);
    let records: usize = (steps.iter())
        .map(|step| if let Step::Records(repeated) = step { repeated.times } else { 0 })
        .fold(0, usize::saturating_add);
    let wanted = output.iter().map(|expected| expected.times).fold(0, usize::saturating_add);
    for (what, records) in [("records", records), ("records of output", wanted)] {
        if records > MOST_RECORDS {
            let message =
                format!("a case has at most {MOST_RECORDS} {what}, and this one {records}");
            root.mistake(Mistake::new(None, message));
        }
    }
    root.finish();
    let case = Case {
        config: config.unwrap_or_else(|| serde_json::json!({})),
        clock: clock.unwrap_or(FIXED_CLOCK),
        limits,
        grants,
        steps,
        finishes,
        output,
        rejected,
        refused,
    };
    (case, mistakes)
}

/// Reads a test case of a pipeline, and collects its mistakes.
pub fn read_pipeline_case(text: &str) -> (PipelineCase, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let document = table::document(text, &mut mistakes);
    let mut root = TableReader::new("a case", document.get_ref(), None, &mut mistakes);
    let clock = root.get("clock").and_then(|item| time(&mut root, "clock", item));
    let nothing = root.strings("nothing").unwrap_or_default();
    let mut incomplete = false;
    let input = root.tables("input", "an input", &mut incomplete, |mut table| {
        let to = table.required("to", "the source, stage or sink that the record is given to");
        let (times, record) = repeated(&mut table);
        table.finish();
        Some(Entering { to: to?, record, times })
    });
    let output = root.tables("output", "an output", &mut incomplete, |mut table| {
        let from =
            table.required("from", "the sink that gets the record, or the NODE.PORT it leaves");
        let (times, record) = repeated(&mut table);
        table.finish();
        Some(Leaving { from: from?, record, times })
    });
    let rejected = root.tables("rejected", "a rejection", &mut incomplete, |mut table| {
        let by = table.required("by", "the source, stage or sink that rejects the record");
        let reason = reason(&mut table);
        if reason.is_none() {
            let message = "a rejection has either `reason` or `reason_contains`";
            table.mistake(Mistake::new(table.span(), message));
        }
        table.finish();
        Some(RejectedBy { by: by?, reason: reason? })
    });
    for (what, times) in [
        ("records", input.iter().map(|entering| entering.times).fold(0, usize::saturating_add)),
        ("records of output", output.iter().map(|l| l.times).fold(0, usize::saturating_add)),
    ] {
        if times > MOST_RECORDS {
            let message = format!("a case has at most {MOST_RECORDS} {what}, and this one {times}");
            root.mistake(Mistake::new(None, message));
        }
    }
    if output.is_empty() && rejected.is_empty() && nothing.is_empty() && !incomplete {
        let message = "the case expects nothing: it has neither `output`, `nothing` nor `rejected`";
        root.mistake(Mistake::new(None, message));
    }
    root.finish();
    let clock = clock.unwrap_or(FIXED_CLOCK);
    (PipelineCase { clock, input, output, nothing, rejected }, mistakes)
}

/// A record, and how often it comes.
fn repeated(table: &mut TableReader<'_>) -> (usize, Record) {
    let times = table.count("repeat", 1).map_or(1, |n| n as usize);
    (times, record(table))
}

/// The reason of a rejection, if it is given in one of two ways.
fn reason(table: &mut TableReader<'_>) -> Option<Reason> {
    let is = table.string("reason").map(|text| Reason::Is(text.value));
    let contains = table.string("reason_contains").map(|text| Reason::Contains(text.value));
    if is.is_some() && contains.is_some() { None } else { is.or(contains) }
}

fn grants(mut table: TableReader<'_>) -> CaseGrants {
    let texts = |list: Vec<(String, crate::At<String>)>| {
        list.into_iter().map(|(name, text)| (name, text.value)).collect::<Vec<_>>()
    };
    let mut incomplete = false;
    let http = table.tables("http", "an answer", &mut incomplete, answer);
    let tcp = table.tables("tcp", "an exchange", &mut incomplete, exchange);
    let grants = CaseGrants {
        http,
        tcp,
        env: texts(table.map("env")),
        files: (texts(table.map("files")).into_iter())
            .map(|(path, text)| (path, text.into_bytes()))
            .collect(),
    };
    for (path, _) in &grants.files {
        let valid = path.starts_with('/') && !path.ends_with('/') && !path.contains("/..");
        if !valid {
            let message =
                format!("`files`: {path:?} is not the path of a file, as in \"/tables/a.csv\"");
            table.mistake(Mistake::new(table.span(), message));
        }
    }
    table.finish();
    grants
}

/// What a server answers to a request.
fn answer(mut table: TableReader<'_>) -> Option<Answer> {
    let url = table.required("url", "the URL of the request, as in \"https://api.example.com/v1\"");
    let method = table.string("method").map_or("GET".to_owned(), |method| method.value);
    let status = table.count("status", 100).unwrap_or(200);
    let headers = table.map("headers").into_iter().map(|(name, value)| (name, value.value));
    let headers = headers.collect();
    let (wants, body) = (bytes(&mut table, "wants"), bytes(&mut table, "body").unwrap_or_default());
    let status = u16::try_from(status).ok().filter(|status| *status < 1000);
    if status.is_none() {
        table.mistake(Mistake::new(table.span(), "`status` is a number from 100 to 999"));
    }
    table.finish();
    let status = status?;
    Some(Answer { method, url: url?.value, wants, status, headers, body })
}

/// What a server says over TCP.
fn exchange(mut table: TableReader<'_>) -> Option<Exchange> {
    let address = table.required("address", "an address and a port, as in \"10.0.0.5:6379\"");
    let address = address.and_then(|text| {
        table.parse("address", &text, |text| {
            text.parse()
                .map_err(|_| anyhow!("write an IP address and a port, as in \"10.0.0.5:6379\""))
        })
    });
    let wants = bytes(&mut table, "wants").unwrap_or_default();
    let answer = bytes(&mut table, "answer").unwrap_or_default();
    let close = table.bool("close").unwrap_or(false);
    table.finish();
    Some(Exchange { address: address?, wants, answer, close })
}

fn step(mut table: TableReader<'_>) -> Option<Step> {
    if let Some(item) = table.get("watermark") {
        let watermark = time(&mut table, "watermark", item);
        table.finish();
        return watermark.map(Step::Watermark);
    }
    if let Some(item) = table.get("restart") {
        let config = match item.get_ref() {
            DeValue::Boolean(true) => None,
            DeValue::Table(_) => Some(table::json(item, "", &mut table::Places::default())),
            _ => {
                let message = "`restart` is true, or the configuration of the stage that goes on";
                table.mistake(Mistake::new(table::span(item), message));
                return None;
            }
        };
        table.finish();
        return Some(Step::Restart(config));
    }
    let from = table.string("from").map(|name| name.value);
    let times = table.count("repeat", 1).map_or(1, |n| n as usize);
    let record = record(&mut table);
    table.finish();
    Some(Step::Records(Repeated { record, from, times }))
}

fn expected(mut table: TableReader<'_>) -> Option<Expected> {
    let span = table.span().unwrap_or_default();
    let port = table.string("port").map(|name| name.value);
    let times = table.count("repeat", 1).map_or(1, |n| n as usize);
    let record = record(&mut table);
    table.finish();
    Some(Expected { port, record, times, span })
}

fn rejection(mut table: TableReader<'_>) -> Option<ExpectedRejection> {
    let input = table.count("input", 1);
    let reason = reason(&mut table);
    let retryable = table.bool("retryable");
    let span = table.span();
    if input.is_none() || reason.is_none() {
        let message = "a rejection has `input`, the number of the record from 1, and either \
                       `reason` or `reason_contains`";
        table.mistake(Mistake::new(span, message));
    }
    table.finish();
    Some(ExpectedRejection { input: input? as usize, reason: reason?, retryable })
}

fn record(table: &mut TableReader<'_>) -> Record {
    let timestamp = table.get("time").and_then(|item| time(table, "time", item));
    let (key, value) = (bytes(table, "key"), bytes(table, "value"));
    let mut attributes = Vec::new();
    if let Some(item) = table.get("attributes") {
        let DeValue::Table(named) = item.get_ref() else {
            let message = "`attributes` is a table of names and texts";
            table.mistake(Mistake::new(table::span(item), message));
            return Record { timestamp, key, value, attributes };
        };
        for (name, item) in named.iter() {
            let name = name.get_ref().to_string();
            match content(item) {
                Ok(bytes) => attributes.push((name, bytes)),
                Err(why) => {
                    let message = format!("the attribute `{name}`: {why:#}");
                    table.mistake(Mistake::new(table::span(item), message));
                }
            }
        }
    }
    attributes.sort();
    Record { timestamp, key, value, attributes }
}

/// Bytes that a case gives under this key.
fn bytes<'a>(table: &mut TableReader<'a>, key: &'a str) -> Option<Vec<u8>> {
    let item = table.get(key)?;
    let bytes = content(item);
    if let Err(why) = &bytes {
        table.mistake(Mistake::new(table::span(item), format!("`{key}`: {why:#}")));
    }
    bytes.ok()
}

/// A text, `{ base64 = "…" }`, or `{ repeat = "x", times = 1000 }`.
fn content(item: Item<'_>) -> Result<Vec<u8>> {
    const FORMS: &str = "write a text, { base64 = \"…\" } or { repeat = \"x\", times = 1000 }";
    const MOST: usize = 64 << 20;
    let table = match item.get_ref() {
        DeValue::String(text) => return Ok(text.as_bytes().to_vec()),
        DeValue::Table(table) => table,
        _ => bail!(FORMS),
    };
    let text = |key: &str| match table.get(key).map(|item| item.get_ref()) {
        Some(DeValue::String(text)) => Some(text.as_ref()),
        _ => None,
    };
    if let (Some(base64), 1) = (text("base64"), table.len()) {
        return BASE64_STANDARD.decode(base64).map_err(|error| anyhow!("not base64: {error}"));
    }
    let times = match table.get("times").map(|item| item.get_ref()) {
        Some(DeValue::Integer(number)) => {
            usize::from_str_radix(number.as_str(), number.radix()).ok()
        }
        _ => None,
    };
    let (Some(repeat), Some(times), 2) = (text("repeat"), times, table.len()) else { bail!(FORMS) };
    let bytes = repeat.len().checked_mul(times).filter(|bytes| *bytes <= MOST);
    bytes.with_context(|| format!("it would have more than {MOST} bytes"))?;
    Ok(repeat.repeat(times).into_bytes())
}

/// A date and time of TOML with its offset, a text of RFC 3339, or nanoseconds since the Unix
/// epoch.
fn time(table: &mut TableReader<'_>, key: &str, item: Item<'_>) -> Option<i64> {
    let text = match item.get_ref() {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    let nanoseconds = match item.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => (text.parse::<jiff::Timestamp>().ok())
            .and_then(|time| i64::try_from(time.as_nanosecond()).ok()),
    };
    if nanoseconds.is_none() {
        let message =
            format!("`{key}` is a time as in 2024-02-29T12:00:00Z, or nanoseconds since 1970");
        table.mistake(Mistake::new(table::span(item), message));
    }
    nanoseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read() {
        let (case, mistakes) = read_case(
            r#"
            clock = 2024-02-29T12:00:00Z
            config = { level = "ERROR", number = 9007199254740993 }
            limits = { memory = "16MiB" }
            grants = { env = { A = "b" }, files = { "/t/a.csv" = "x" } }
            [[input]]
            value = { base64 = "/w==" }
            attributes = { b = "2", a = { repeat = "x", times = 3 } }
            time = 1970-01-01T00:00:01Z
            [[input]]
            value = "line {n}"
            repeat = 3
            [[input]]
            watermark = 5
            [[input]]
            restart = { level = "INFO" }
            [[output]]
            port = "long"
            [[rejected]]
            input = 2
            reason_contains = "boom"
            "#,
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(case.config["number"], 9_007_199_254_740_993_i64);
        assert_eq!(case.clock, 1_709_208_000_000_000_000);
        assert_eq!(case.limits.memory_bytes, 16 << 20);
        let Step::Records(first) = &case.steps[0] else { panic!("{:?}", case.steps) };
        assert_eq!(first.record.value.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(first.record.timestamp, Some(1_000_000_000));
        assert_eq!(first.record.attributes[0], ("a".to_owned(), b"xxx".to_vec()));
        let Step::Records(lines) = &case.steps[1] else { panic!("{:?}", case.steps) };
        let third = crate::case::numbered(&lines.record, lines.times, 3);
        assert_eq!(third.value.as_deref(), Some(&b"line 3"[..]));
        assert_eq!(case.steps[2], Step::Watermark(5));
        assert_eq!(case.output[0].port.as_deref(), Some("long"));
        assert!(case.rejected[0].reason.fits("Error: boom"));
    }

    #[test]
    fn numbers_are_taken_as_they_are_or_not_at_all() {
        let (case, mistakes) =
            read_case("[[input]]\ntime = 0x10\nvalue = { repeat = \"x\", times = 0x1_0 }\n");
        let Step::Records(first) = &case.steps[0] else { panic!("{:?}", case.steps) };
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(first.record.timestamp, Some(16));
        assert_eq!(first.record.value.as_ref().map(Vec::len), Some(16));
        const LONG: &str = "99999999999999999999";
        for text in [
            format!("clock = {LONG}"),
            format!("[[input]]\ntime = {LONG}"),
            format!("[[input]]\nwatermark = {LONG}"),
            "[[grants.http]]\nurl = \"http://a/\"\nstatus = 1500".to_owned(),
            "[[output]]\nrepeat = 1_000_000_000".to_owned(),
        ] {
            let (_, mistakes) = read_case(&text);
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        }
    }

    #[test]
    fn every_mistake_is_told() {
        let (_, mistakes) = read_case(
            "clock = \"noon\"\n[[input]]\nvalue = 5\nnone = 1\n[[rejected]]\ninput = 0\n\
             [[input]]\nrestart = 3\n[grants]\nfiles = { \"a\" = \"\" }\n",
        );
        let told: Vec<_> = mistakes.iter().map(|mistake| &*mistake.message).collect();
        for part in
            ["`clock` is a time", "`value`: write", "`none`", "`input`", "`restart`", "\"a\""]
        {
            assert!(told.iter().any(|message| message.contains(part)), "{part}: {told:?}");
        }
    }
}

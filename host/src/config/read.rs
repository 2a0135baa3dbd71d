//! From TOML to a [`Config`], with every mistake on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::read_connector::{sink, source};
use super::reader::{self, Reader};
use super::{
    At, Batching, Breaker, Config, DEFAULT_QUEUE, DeadLetters, Input, OnError, OnOpen, Partition,
    Retry, Stage, StageConfig, Watermark, WhenFull, WhenLettersFull,
};
use crate::grants::{Folder, Grants};
use crate::limits::{Fuel, Limits};
use crate::mistake::{Mistake, Span};

const ON_ERROR: [(&str, OnError); 3] =
    [("fail", OnError::Fail), ("skip", OnError::Skip), ("dead-letter", OnError::DeadLetter)];

/// Reads a pipeline. Relative paths are relative to `base`, the folder of the file.
/// What is wrong is left out of the result, so that the rest can be checked too.
pub fn read(text: &str, base: &Path) -> (Config, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.push(Mistake::new(error.span(), format!("not valid TOML: {}", error.message())));
    }
    let mut config = Config::default();
    let mut root = Reader::new("a pipeline", document.get_ref(), None, &mut mistakes);
    root.table("pipeline", "`[pipeline]`", |table| pipeline(table, base, &mut config));
    let mut incomplete = !root.is_whole();
    config.sources =
        root.tables("source", "a source", &mut incomplete, |table| source(table, base));
    config.stages = root.tables("stage", "a stage", &mut incomplete, |table| stage(table, base));
    config.sinks = root.tables("sink", "a sink", &mut incomplete, |table| sink(table, base));
    root.finish();
    config.incomplete = incomplete;
    (config, mistakes)
}

fn pipeline(mut table: Reader<'_>, base: &Path, config: &mut Config) {
    if let Some(name) = table.string("name") {
        config.name = name.value;
    }
    config.deadline = table.duration("deadline");
    config.shutdown_grace = table.duration("shutdown_grace").unwrap_or(config.shutdown_grace);
    config.dead_letters = dead_letters(&mut table, base);
    config.state = table.string("state").map(|dir| At::new(base.join(dir.value), dir.span));
    if let Some(interval) = table.duration("checkpoint_interval") {
        config.checkpoint_interval = interval.max(Duration::from_millis(1));
    }
    table.finish();
}

/// `dead_letters = "FILE"`, or `dead_letters = { path = "FILE", … }`.
fn dead_letters(table: &mut Reader<'_>, base: &Path) -> Option<At<DeadLetters>> {
    let item = table.get("dead_letters")?;
    let span = reader::span(item);
    if let DeValue::String(path) = item.get_ref() {
        return Some(At::new(DeadLetters::new(base.join(&**path)), span));
    }
    let letters = table.table("dead_letters", "`dead_letters`", |mut table| {
        let path = table.required("path", "the file that they go to")?;
        let mut letters = DeadLetters::new(base.join(path.value));
        letters.max_bytes = table.bytes("max_size").unwrap_or(letters.max_bytes);
        letters.rotate_bytes = table.bytes("rotate").unwrap_or(letters.rotate_bytes);
        let when_full = [("fail", WhenLettersFull::Fail), ("wait", WhenLettersFull::Wait)];
        letters.when_full = table.choice("when_full", &when_full).unwrap_or(letters.when_full);
        table.finish();
        Some(letters)
    });
    Some(At::new(letters??, span))
}

/// How far ahead of the clock a record may be and still move time, if nothing is said.
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn watermark(table: &mut Reader<'_>) -> Option<Watermark> {
    table.table("watermark", "`watermark`", |mut table| {
        let watermark = Watermark {
            lag: table.duration("lag").unwrap_or_default(),
            idle: table.duration("idle").map(|idle| idle.max(Duration::from_millis(1))),
            max_ahead: table.duration("max_ahead").unwrap_or(DAY),
        };
        table.finish();
        watermark
    })
}

fn breaker(mut table: Reader<'_>) -> Breaker {
    let on_open =
        [("fail", OnOpen::Fail), ("dead-letter", OnOpen::DeadLetter), ("pause", OnOpen::Pause)];
    let breaker = Breaker {
        failures: table.count("failures", 1).map_or(100, |n| n as usize),
        window: table.duration("window").unwrap_or(Duration::from_secs(60)),
        on_open: table.choice("on_open", &on_open).unwrap_or(OnOpen::Fail),
        cool_down: table.duration("cool_down").unwrap_or(Duration::from_secs(30)),
    };
    table.finish();
    breaker
}

/// The head of a table, for messages about the whole of it.
pub(super) fn head(table: &Reader<'_>) -> Span {
    table.span()
}

pub(super) fn name(table: &mut Reader<'_>) -> Option<At<String>> {
    let name = table.required("name", "others read it by this name: `input = \"name\"`")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.value.is_empty() || !name.value.chars().all(valid) {
        let message = format!("{:?} is not a name", name.value);
        let help = "use letters, digits, `-` and `_`; a dot divides a stage from its port";
        table.mistake(Mistake::new(name.span.clone(), message).help(help));
    }
    Some(name)
}

pub(super) fn on_error(table: &mut Reader<'_>) -> At<OnError> {
    let Some(text) = table.string("on_error") else { return At::nowhere(OnError::Fail) };
    let chosen = table.choose("on_error", &text, &ON_ERROR);
    At::new(chosen.unwrap_or(OnError::Fail), text.span)
}

pub(super) fn batching(table: &mut Reader<'_>) -> Option<Batching> {
    table.table("batch", "`batch`", |mut table| {
        let default = Batching::default();
        let batch = Batching {
            records: table.count("records", 1).map_or(default.records, |n| n as usize),
            bytes: table.column_bytes("bytes").unwrap_or(default.bytes),
            linger: table.duration("linger").unwrap_or(default.linger),
        };
        table.finish();
        batch
    })
}

pub(super) fn input(table: &mut Reader<'_>) -> Input {
    let from = table.strings("input");
    if from.as_ref().is_none_or(Vec::is_empty) {
        let mistake = Mistake::new(head(table), "nothing is said about what it reads")
            .help("`input = \"source\"`, `input = [\"a\", \"b\"]`, or `input = \"stage.port\"`");
        table.mistake(mistake);
    }
    let when_full = [("block", WhenFull::Block), ("drop", WhenFull::Drop)];
    Input {
        from: from.unwrap_or_default(),
        queue: table.few("queue").unwrap_or(DEFAULT_QUEUE),
        when_full: table.choice("when_full", &when_full).unwrap_or(WhenFull::Block),
    }
}

fn stage(mut table: Reader<'_>, base: &Path) -> Option<Stage> {
    let name = name(&mut table);
    let help = "a `.wasm`, a `.wat`, or the folder of a crate, which is then built";
    let plugin = table.required("plugin", help).map(|p| At::new(base.join(p.value), p.span));
    let input = input(&mut table);
    let workers = table.few("workers").unwrap_or(1);
    let partition = table.string("partition").map(|by| match by.value.strip_prefix("attribute:") {
        None if by.value == "key" => Partition::Key,
        Some(attribute) if !attribute.is_empty() => Partition::Attribute(attribute.to_owned()),
        _ => {
            let message =
                format!("`partition` is \"key\" or \"attribute:NAME\", not {:?}", by.value);
            table.mistake(Mistake::new(by.span, message));
            Partition::Key
        }
    });
    let stage = Stage {
        ordered: table.bool("ordered").unwrap_or(true),
        batch: batching(&mut table),
        on_error: on_error(&mut table),
        retry: table.table("retry", "`retry`", |table| retry(table, &Retry::default())),
        breaker: table.table("breaker", "`breaker`", breaker),
        watermark: watermark(&mut table),
        limits: table.table("limits", "`limits`", limits).unwrap_or_default(),
        grants: table.table("grants", "`grants`", |t| grants(t, base)).unwrap_or_default(),
        config: stage_config(&mut table),
        name: name.clone().unwrap_or(At::nowhere(String::new())),
        plugin: plugin.clone().unwrap_or(At::nowhere(PathBuf::new())),
        input,
        workers,
        partition,
    };
    table.finish();
    (name.is_some() && plugin.is_some()).then_some(stage)
}

fn stage_config(table: &mut Reader<'_>) -> StageConfig {
    let span = head(table);
    match table.get("config") {
        None => StageConfig { span, ..StageConfig::new(serde_json::json!({})) },
        Some(item) => {
            let mut places = Vec::new();
            let value = reader::json(item, "", &mut places);
            StageConfig { value, span: reader::span(item), places }
        }
    }
}

pub(super) fn retry(mut table: Reader<'_>, default: &Retry) -> Retry {
    let unlimited = matches!(
        table.get("attempts").map(|item| item.get_ref()),
        Some(DeValue::String(text)) if text == "unlimited"
    );
    let attempts = if unlimited { None } else { table.count("attempts", 1) };
    let retry = Retry {
        attempts: match attempts {
            _ if unlimited => None,
            Some(attempts) => Some(attempts.min(1000) as u32),
            None => default.attempts,
        },
        backoff: table.duration("backoff").unwrap_or(default.backoff),
        max_backoff: table.duration("max_backoff").unwrap_or(default.max_backoff),
    };
    table.finish();
    retry
}

fn limits(mut table: Reader<'_>) -> Limits {
    let default = Limits::default();
    let fuel = default.fuel.expect("fuel is limited by default");
    // `fuel = false` counts none.
    let unlimited =
        matches!(table.get("fuel").map(|item| item.get_ref()), Some(DeValue::Boolean(false)));
    let compile = table.table("compile", "`compile`", |mut table| {
        let limits = (table.bytes("memory"), table.duration("time"));
        table.finish();
        limits
    });
    let compile = compile.unwrap_or_default();
    let limits = Limits {
        fuel: if unlimited {
            table.get("fuel_per_record");
            None
        } else {
            Some(Fuel {
                base: table.count("fuel", 0).unwrap_or(fuel.base),
                per_record: table.count("fuel_per_record", 0).unwrap_or(fuel.per_record),
            })
        },
        timeout: table.duration("timeout").unwrap_or(default.timeout),
        memory_bytes: table.bytes("memory").map_or(default.memory_bytes, |n| n as usize),
        output_bytes: table.column_bytes("output").unwrap_or(default.output_bytes),
        output_records: table
            .count("output_records", 0)
            .map_or(default.output_records, |n| n as usize),
        log_bytes: table.bytes("log").map_or(default.log_bytes, |n| n as usize),
        disk_bytes: table.bytes("disk").unwrap_or(default.disk_bytes),
        files: table.count("files", 0).unwrap_or(default.files),
        component_bytes: table.bytes("component").unwrap_or(default.component_bytes),
        compile_memory: compile.0,
        compile_time: compile.1,
    };
    table.finish();
    limits
}

fn grants(mut table: Reader<'_>, base: &Path) -> Grants {
    let mut grants = Grants {
        env: table.map("env").into_iter().map(|(name, value)| (name, value.value)).collect(),
        ..Grants::default()
    };
    for (key, writable) in [("read", false), ("write", true)] {
        for (guest, path) in table.map(key) {
            let host = base.join(&path.value);
            if !host.is_dir() {
                let message = format!("the folder {} does not exist", host.display());
                table.mistake(Mistake::new(path.span, message));
            }
            grants.folders.push(Folder { guest, host, writable });
        }
    }
    for address in table.strings("network").unwrap_or_default() {
        let parsed: Option<std::net::SocketAddr> = table.parse("network", &address, |text| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address and a port, as in \"127.0.0.1:9000\"")
            })
        });
        grants.network.extend(parsed);
    }
    table.finish();
    grants
}

//! From TOML to stages.

use anyhow::anyhow;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::node::{batching, input, name, on_error, retry, watermark};
use super::shape::Type;
use super::table::{self, TableReader};
use crate::grants::{Clock, FIXED_CLOCK, Folder, Grants, HttpGrant, Origin, Random};
use crate::limits::{Fuel, HttpLimits, Limits};
use crate::mistake::Mistake;
use crate::{At, Breaker, OnOpen, Partition, Plugin, Retry, Stage, StageConfig};

pub(super) fn stage(mut table: TableReader<'_>, base: &Path) -> Option<Stage> {
    let name = name(&mut table);
    let help = "a stage that comes with pipehost (`pipehost stages`), a `.wasm`, a `.wat`, or the \
                folder of a crate, which is then built";
    let plugin = table.required("plugin", help);
    let plugin = plugin.map(|p| At::new(Plugin::new(base, Path::new(&p.value)), p.span));
    let input = input(&mut table);
    let nameless = || At::nowhere(String::new());
    let nothing = || At::nowhere(Plugin::new(base, Path::new("")));
    let is_complete = name.is_some() && plugin.is_some();
    let mut stage =
        Stage::new(name.unwrap_or_else(nameless), plugin.unwrap_or_else(nothing), input);
    stage.workers = table.few("workers");
    stage.partition = partition(&mut table);
    stage.ordered = table.bool("ordered").unwrap_or(stage.ordered);
    stage.batch = batching(&mut table);
    stage.on_error = on_error(&mut table);
    stage.retry = table.table("retry", "`retry`", |table| retry(table, &Retry::default()));
    stage.breaker = table.table("breaker", "`breaker`", breaker);
    stage.watermark = watermark(&mut table);
    stage.limits = table.table("limits", "`limits`", limits).unwrap_or_default();
    stage.grants = table.table("grants", "`grants`", |t| grants(t, base)).unwrap_or_default();
    stage.config = stage_config(&mut table);
    table.finish();
    is_complete.then_some(stage)
}

fn partition(table: &mut TableReader<'_>) -> Option<Partition> {
    let by = table.string("partition")?;
    Some(match by.value.strip_prefix("attribute:") {
        None if by.value == "key" => Partition::Key,
        None if by.value == "value" => Partition::Value,
        Some(attribute) if !attribute.is_empty() => Partition::Attribute(attribute.to_owned()),
        _ => {
            let message = format!(
                "`partition` is \"key\", \"value\" or \"attribute:NAME\", not {:?}",
                by.value
            );
            table.mistake(Mistake::new(by.span, message));
            Partition::Key
        }
    })
}

fn stage_config(table: &mut TableReader<'_>) -> StageConfig {
    let span = table.span();
    table.note("config", || Type::Anything);
    match table.get("config") {
        None => StageConfig { span, ..StageConfig::new(serde_json::json!({})) },
        Some(item) => {
            let mut places = table::Places::default();
            let value = table::json(item, "", &mut places);
            let table::Places { spans: places, references } = places;
            StageConfig { value, span: table::span(item), places, references }
        }
    }
}

fn breaker(mut table: TableReader<'_>) -> Breaker {
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

pub(super) fn limits(mut table: TableReader<'_>) -> Limits {
    let default = Limits::default();
    let fuel = default.fuel.expect("fuel is limited by default");
    // `fuel = false`: fuel is not counted.
    table.note("fuel", || Type::Boolean);
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
            table.get("fuel_per_byte");
            None
        } else {
            Some(Fuel {
                base: table.count("fuel", 0).unwrap_or(fuel.base),
                per_record: table.count("fuel_per_record", 0).unwrap_or(fuel.per_record),
                per_byte: table.count("fuel_per_byte", 0).unwrap_or(fuel.per_byte),
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
        http: table.table("http", "`http`", http_limits).unwrap_or_default(),
        component_bytes: table.bytes("component").unwrap_or(default.component_bytes),
        compile_memory: compile.0,
        compile_time: compile.1,
    };
    table.finish();
    limits
}

fn http_limits(mut table: TableReader<'_>) -> HttpLimits {
    let default = HttpLimits::default();
    let limits = HttpLimits {
        requests: table.few("requests").unwrap_or(default.requests),
        body: table.bytes("body").unwrap_or(default.body),
        timeout: table.duration("timeout").unwrap_or(default.timeout),
    };
    table.finish();
    limits
}

/// A server: its URL, and what the host adds to requests to it.
fn http_grant(mut table: TableReader<'_>, base: &Path) -> Option<HttpGrant> {
    let url = table.required("url", "the server, as in \"https://api.example.com\"");
    let origin = url.and_then(|url| table.parse("url", &url, Origin::parse));
    let headers = table.map("headers").into_iter().map(|(name, value)| (name, value.value));
    let headers: Vec<_> = headers.collect();
    for (name, value) in &headers {
        let of_name = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        let is_name = !name.is_empty() && name.bytes().all(of_name);
        if !is_name || value.bytes().any(|b| b < b' ' && b != b'\t') {
            let message = format!("`headers`: `{name}` is not a header, or its value is none");
            table.mistake(Mistake::new(table.span(), message));
        }
    }
    let inside = table.bool("inside").unwrap_or(false);
    let ca = table.string("ca").map(|path| base.join(path.value));
    table.finish();
    Some(HttpGrant { origin: origin?, headers, inside, ca })
}

fn grants(mut table: TableReader<'_>, base: &Path) -> Grants {
    let mut grants = Grants {
        env: table.map("env").into_iter().map(|(name, value)| (name, value.value)).collect(),
        ..Grants::default()
    };
    for (key, writable) in [("read", false), ("write", true)] {
        for (guest, path) in table.map(key) {
            let host = At::new(base.join(path.value), path.span);
            grants.folders.push(Folder { guest, host, writable });
        }
    }
    for address in table.strings("network").unwrap_or_default() {
        let parsed: Option<std::net::SocketAddr> = table.parse("network", &address, |text| {
            text.parse().map_err(|_| {
                anyhow!("{text:?} is not an address and a port, as in \"127.0.0.1:9000\"")
            })
        });
        grants.network.extend(parsed);
    }
    let mut incomplete = false;
    grants.http =
        table.tables("http", "a server", &mut incomplete, |table| http_grant(table, base));
    let clock = [("real", Clock::Real), ("fixed", Clock::Fixed(FIXED_CLOCK))];
    grants.clock = table.choice("clock", &clock).unwrap_or_default();
    let random = [("real", Random::Real), ("fixed", Random::Fixed)];
    grants.random = table.choice("random", &random).unwrap_or_default();
    table.finish();
    grants
}

//! What sources, stages and sinks have in common.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::shape::Type;
use super::table::TableReader;
use crate::mistake::Mistake;
use crate::{At, Batching, DEFAULT_QUEUE, Input, OnError, Retry, Watermark, WhenFull};

const ON_ERROR: [(&str, OnError); 3] =
    [("fail", OnError::Fail), ("skip", OnError::Skip), ("dead-letter", OnError::DeadLetter)];

pub(super) fn name(table: &mut TableReader<'_>) -> Option<At<String>> {
    let name =
        table.required("name", "the name by which other nodes read it: `input = \"name\"`")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.value.is_empty() || !name.value.chars().all(valid) {
        let message = format!("{:?} is not a name", name.value);
        let help = "use letters, digits, `-` and `_`; a dot divides a stage from its port";
        table.mistake(Mistake::new(name.span.clone(), message).help(help));
    }
    Some(name)
}

pub(super) fn on_error(table: &mut TableReader<'_>) -> At<OnError> {
    let Some(text) = table.word("on_error", &ON_ERROR) else { return At::nowhere(OnError::Fail) };
    let chosen = table.choose("on_error", &text, &ON_ERROR);
    At::new(chosen.unwrap_or(OnError::Fail), text.span)
}

pub(super) fn input(table: &mut TableReader<'_>) -> Input {
    let from = table.strings("input");
    if from.as_ref().is_none_or(Vec::is_empty) {
        let mistake = Mistake::new(table.span(), "`input` is missing")
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

pub(super) fn batching(table: &mut TableReader<'_>) -> Option<Batching> {
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

/// The default of `max_ahead`.
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn watermark(table: &mut TableReader<'_>) -> Option<Watermark> {
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

pub(super) fn retry(mut table: TableReader<'_>, default: &Retry) -> Retry {
    table.note("attempts", || Type::OneOf(vec!["unlimited".to_owned()]));
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

/// A path joined with `base`. Empty if it is missing, which is reported already.
pub(super) fn path_of(path: Option<At<String>>, base: &Path) -> At<PathBuf> {
    path.map_or(At::nowhere(PathBuf::new()), |path| At::new(base.join(path.value), path.span))
}

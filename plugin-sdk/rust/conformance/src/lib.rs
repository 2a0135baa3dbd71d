//! Does what `tests/conformance/README.md` says.

use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, InputId, Out, Port, Record, Rejection, Save, Saved, Setup, Stage,
    Time, Timed,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    long_number: Option<i64>,
    #[serde(default)]
    refuse: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Commands,
    Count,
    CountByKey,
    Inputs,
}

pub enum Conformance {
    Commands(Box<Commands>),
    Count(u64),
    CountByKey { key: Field, counts: BTreeMap<Vec<u8>, u64> },
    Inputs { left: InputId },
}

pub struct Commands {
    time: Time,
    key: Field,
    value: Field,
    verb: Field,
    arg: Field,
    extra: Field,
    other: Port,
    long_number: i64,
}

impl Stage for Conformance {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        if let Some(why) = config.refuse {
            return Err(why.into());
        }
        Ok(match config.mode {
            Mode::Commands => {
                setup.keeps_nothing();
                Self::Commands(Box::new(Commands {
                    time: setup.timestamp(),
                    key: setup.key(),
                    value: setup.value(),
                    verb: setup.attribute("do"),
                    arg: setup.attribute("arg"),
                    extra: setup.attribute("extra"),
                    other: setup.port("other"),
                    long_number: config.long_number.unwrap_or(0),
                }))
            }
            Mode::Count => Self::Count(0),
            Mode::CountByKey => {
                let key = setup.key();
                setup.keeps_by_key(key);
                Self::CountByKey { key, counts: BTreeMap::new() }
            }
            Mode::Inputs => {
                setup.keeps_nothing();
                let left = setup.input("left");
                setup.input("right");
                Self::Inputs { left }
            }
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        match self {
            Self::Commands(commands) => return commands.process(record, out),
            Self::Count(count) => {
                *count += 1;
                out.keep().attribute("count", count.to_string());
            }
            Self::CountByKey { key, counts } => {
                let key = record.get(*key).unwrap_or_default();
                let count = counts.entry(key.to_vec()).or_default();
                *count += 1;
                out.keep().attribute("count", count.to_string());
            }
            Self::Inputs { left } => {
                let from = if record.is_from(*left) { "left" } else { "right" };
                out.keep().attribute("from", from);
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        if let Self::Count(count) = self {
            out.create().value(format!("{count} at the end"));
        }
        Ok(())
    }
}

impl Commands {
    fn process(&self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let arg = record.get(self.arg).unwrap_or_default();
        let text = || String::from_utf8_lossy(arg).into_owned();
        match record.get(self.verb).unwrap_or(b"keep") {
            b"keep" => drop(out.keep()),
            b"drop" => {}
            b"twice" => {
                out.keep();
                out.keep().value(arg);
            }
            b"echo" => {
                let mut row = out.keep();
                if let Some(value) = record.get(self.value) {
                    row = row.value(value);
                }
                if let Some(extra) = record.get(self.extra) {
                    row.attribute("extra", extra);
                }
            }
            b"upper" => {
                let value = record.get(self.value).ok_or("it has no value")?;
                out.keep().value(std::str::from_utf8(value)?.to_uppercase());
            }
            b"value" => drop(out.keep().value(arg)),
            b"key" => drop(out.keep().key(arg)),
            b"attribute" => drop(out.keep().attribute("made", arg)),
            b"remove" => drop(out.keep().remove_attribute("extra")),
            b"time" => drop(out.keep().timestamp(text().parse()?)),
            b"later" => {
                let row = out.keep();
                if let Some(time) = record.timestamp(self.time) {
                    row.timestamp(time + 1_000_000_000);
                }
            }
            b"tell-time" => {
                let time = record.timestamp(self.time);
                out.keep().value(time.map_or("none".to_owned(), |time| time.to_string()));
            }
            b"number" => drop(out.keep().value(self.long_number.to_string())),
            b"other" => drop(out.send(self.other)),
            b"both" => {
                out.keep();
                out.send(self.other).value(arg);
            }
            b"create" => drop(out.create().value(arg)),
            b"create-other" => {
                out.keep();
                out.create_on(self.other).key(arg).attribute("made", arg).timestamp(1);
            }
            b"reject" => return Err(Rejection::new(text())),
            b"retry" => return Err(Rejection::retryable(text())),
            b"throw" => return Err(text().into()),
            b"keep-throw" => {
                out.keep().value("lost");
                return Err(text().into());
            }
            _ => return Err("this command is not known".into()),
        }
        // A field that is read must be one that the plan names.
        let _ = record.get(self.key);
        Ok(())
    }
}

impl Checkpoint for Conformance {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        match self {
            Self::Count(count) => state.put(count),
            Self::CountByKey { counts, .. } => {
                state.put_by_key(counts.iter().map(|(key, count)| (&key[..], count)))
            }
            Self::Commands(_) | Self::Inputs { .. } => Ok(()),
        }
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        match self {
            Self::Count(count) => *count = saved.get()?,
            Self::CountByKey { counts, .. } => *counts = saved.by_key()?.into_iter().collect(),
            Self::Commands(_) | Self::Inputs { .. } => {}
        }
        Ok(())
    }
}

impl Timed for Conformance {
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
        if let Self::Count(count) = self {
            out.create().value(format!("{count} until {watermark}"));
            *count = 0;
        }
        Ok(())
    }
}

pipehost_plugin::export!(Conformance, timed);

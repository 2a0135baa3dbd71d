//! Does what its records say, and answers what came of it: what needs WASI, or a
//! language with a runtime, and so cannot be a small text.

use std::time::Duration;
use std::{env, fs, io, thread};

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Record, Rejection, Save, Saved, Setup, Stage,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {}

pub struct WasiGuest {
    value: Field,
    seen: u64,
}

impl Stage for WasiGuest {
    type Config = Config;

    fn open(_: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self { value: setup.value(), seen: 0 })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = String::from_utf8_lossy(record.get(self.value).unwrap_or_default()).into_owned();
        let (verb, object) = line.split_once(' ').unwrap_or((&line, ""));
        self.seen += 1;
        let answer = match verb {
            "count" => self.seen.to_string(),
            "args" => format!("{:?}", env::args().collect::<Vec<_>>()),
            "env" => format!("{:?}", env::var(object).ok()),
            "all-env" => format!("{:?}", env::vars().collect::<Vec<_>>()),
            "read" => said(fs::read_to_string(object)),
            "open" => fs::read_to_string(object).map_err(|why| Rejection::new(why.to_string()))?,
            "write" => said(fs::write(object, "written").map(|()| "done".to_owned())),
            "sleep" => {
                thread::sleep(Duration::from_millis(object.parse().expect("milliseconds")));
                "awake".to_owned()
            }
            "print" => {
                println!("{object}");
                "printed".to_owned()
            }
            "flood" => {
                for _ in 0..1000 {
                    eprintln!("{}", "x".repeat(99));
                }
                "flooded".to_owned()
            }
            "leak" => {
                std::mem::forget(std::hint::black_box(vec![1u8; 1 << 20]));
                "leaked".to_owned()
            }
            "panic" => panic!("on purpose"),
            "shout" => panic!("\u{1b}[2J{}", "x:\n".repeat(10_000)),
            "exit" => std::process::exit(3),
            _ => return Err(Rejection::new(format!("{verb:?} is not known"))),
        };
        out.keep().value(answer);
        Ok(())
    }
}

impl Checkpoint for WasiGuest {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.seen)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.seen = saved.get()?;
        Ok(())
    }
}

fn said(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("refused: {}", error.kind()))
}

pipehost_plugin::export!(WasiGuest, checkpoint);

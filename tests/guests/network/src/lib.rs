//! Connects to the address in each record, and answers what it was told there.

use std::io::Read as _;
use std::net::TcpStream;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {}

pub struct NetworkGuest {
    value: Field,
}

impl Stage for NetworkGuest {
    type Config = Config;

    fn open(_: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self { value: setup.value() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let address = String::from_utf8_lossy(record.get(self.value).unwrap_or_default());
        let told = TcpStream::connect(&*address).and_then(|mut stream| {
            let mut told = String::new();
            stream.read_to_string(&mut told)?;
            Ok(told)
        });
        match told {
            Ok(told) => drop(out.keep().value(told)),
            Err(error) => return Err(Rejection::new(format!("refused: {}", error.kind()))),
        }
        Ok(())
    }
}

pipehost_plugin::export!(NetworkGuest);

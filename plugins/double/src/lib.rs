use std::hint::black_box;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// Rounds of pointless arithmetic for each record, to stand for real work.
    #[serde(default)]
    work: u32,
}

pub struct Double {
    value: Field,
    work: u32,
}

impl Stage for Double {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { value: setup.value(), work: config.work })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let value = record.get(self.value).unwrap_or_default();
        let number: i64 = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| {
                Rejection::new(format!(
                    "{:?} is not a 64-bit integer",
                    String::from_utf8_lossy(value)
                ))
            })?;
        let doubled = number
            .checked_mul(2)
            .ok_or_else(|| Rejection::new(format!("{number} times two is more than 64 bits")))?;
        for round in 0..self.work {
            black_box(round);
        }
        out.keep().value(doubled.to_string());
        Ok(())
    }
}

pipehost_plugin::export!(Double);

#[cfg(test)]
mod tests {
    use super::Double;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn integers_are_doubled_and_the_rest_is_rejected() {
        let values = ["1", "-21", " 5 ", "4.5", "", "9223372036854775807"];
        let out = run::<Double>(json!({ "work": 10 }), values.map(record));
        assert_eq!(out.port("out"), [record("2"), record("-42"), record("10")]);
        let reasons: Vec<_> =
            out.rejected.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (3, "\"4.5\" is not a 64-bit integer"),
                (4, "\"\" is not a 64-bit integer"),
                (5, "9223372036854775807 times two is more than 64 bits"),
            ]
        );
    }
}

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {}

pub struct ToUpper {
    value: Field,
}

impl Stage for ToUpper {
    type Config = Config;

    fn open(_config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        Ok(Self { value: setup.value() })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        match record.get(self.value) {
            None => drop(out.keep()),
            Some(bytes) if bytes.is_ascii() => {
                out.keep().value_with(|value| {
                    let start = value.len();
                    value.extend_from_slice(bytes);
                    value[start..].make_ascii_uppercase();
                });
            }
            Some(bytes) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| Rejection::new(format!("the value is not UTF-8: {error}")))?;
                out.keep().value(text.to_uppercase());
            }
        }
        Ok(())
    }
}

pipehost_plugin::export!(ToUpper);

#[cfg(test)]
mod tests {
    use super::ToUpper;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    #[test]
    fn the_value_and_nothing_else() {
        let out = run::<ToUpper>(json!({}), [record("data-1").key("k"), record("straße")]);
        assert_eq!(out.port("out"), [record("DATA-1").key("k"), record("STRASSE")]);
    }

    #[test]
    fn rejects_what_is_not_text() {
        let out = run::<ToUpper>(json!({}), [record("a"), record(b"\xff"), record("b")]);
        assert_eq!(out.port("out"), [record("A"), record("B")]);
        assert_eq!(out.rejected.len(), 1);
        assert!(out.rejected[0].1.starts_with("the value is not UTF-8"));
    }
}

//! Durations as people write them in a configuration.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A duration in nanoseconds, which a configuration has as text with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Period(pub i64);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is not a duration: {error}"))
        })?;
        let nanoseconds = i64::try_from(duration.as_nanos())
            .map_err(|_| serde::de::Error::custom(format!("{text:?} is more than 292 years")))?;
        Ok(Self(nanoseconds))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["90s", "5m", "1h 30m"] })
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn a_period_needs_a_unit() {
        let parse = |text: &str| serde_json::from_value::<Period>(text.into());
        assert_eq!(parse("1m 30s").unwrap(), Period(90_000_000_000));
        assert!(parse("5").unwrap_err().to_string().contains("\"5\" is not a duration"));
        assert!(parse("400y").unwrap_err().to_string().contains("292 years"));
    }
}

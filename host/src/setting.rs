//! `--set NAME=VALUE`: members of a stage's configuration.

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::error::Error;

/// A JSON object with these members.
pub fn object(settings: &[String]) -> Result<Value, Error> {
    let mut object = json!({});
    for setting in settings {
        let parts = setting.split_once('=').context("write NAME=VALUE");
        parts
            .and_then(|(name, value)| set_member(&mut object, name, value))
            .map_err(|why| Error::Usage(anyhow!("--set {setting}: {why:#}")))?;
    }
    Ok(object)
}

/// Sets a member of a JSON object, or of an object inside it: `a.b`.
pub fn set_member(object: &mut Value, path: &str, value: &str) -> Result<()> {
    // A TOML value (`3`, `true`, `["a"]`), or otherwise a text, so that quotes are not needed.
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let value = match parsed.ok().and_then(|mut table| table.remove("value")) {
        Some(value) => serde_json::to_value(value)?,
        None => Value::from(value),
    };
    let mut place = object;
    for name in path.split('.') {
        place = match place {
            Value::Object(map) => map.entry(name).or_insert_with(|| json!({})),
            _ => return Err(anyhow!("`{name}` is inside something that is not a table")),
        };
    }
    *place = value;
    Ok(())
}

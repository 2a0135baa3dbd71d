//! `pipehost schema`.

use crate::error::{Error, print};

/// Prints the JSON Schema of a pipeline.
pub fn schema() -> Result<u8, Error> {
    let text = serde_json::to_string_pretty(&pipehost_config::schema()).expect("it is JSON");
    print(format!("{text}\n").as_bytes())
}

//! `pipehost stages`.

use std::fmt::Write as _;

use crate::error::{Error, print};
use pipehost_stages::STAGES;

pub fn stages() -> Result<u8, Error> {
    let width = STAGES.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for stage in STAGES {
        let _ = writeln!(text, "{:<width$}  {}", stage.name, stage.summary);
    }
    print(text.as_bytes())
}

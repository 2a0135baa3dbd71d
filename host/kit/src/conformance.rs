//! The conformance of an SDK: the same cases for every language, which a stage that is written with
//! the SDK must pass. `tests/conformance/README.md` says what this stage does.

use anyhow::{Result, anyhow};

use crate::cases::{self, Named, Unreadable};
use crate::templates;

/// The cases.
///
/// # Errors
/// If one has a mistake, which the tests of this program find.
pub fn cases() -> Result<Vec<Named>> {
    let read = |(name, text): (&str, &str)| match cases::read(name, text.to_owned()) {
        Ok(case) => Ok(case),
        Err(Unreadable::Mistakes(told)) => Err(anyhow!("{told}")),
        Err(Unreadable::Other(error)) => Err(error),
    };
    templates::conformance().map(read).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_can_be_read() {
        assert!(super::cases().unwrap().len() > 10);
    }
}

//! The conformance of an SDK: the same cases for every language, which a stage that is written with
//! the SDK must pass. `tests/conformance/README.md` says what this stage does.

use anyhow::Result;

use crate::cases::{self, Named};
use crate::templates;

/// The cases.
///
/// # Errors
/// If one has a mistake, which the tests of this program find.
pub fn cases() -> Result<Vec<Named>> {
    templates::conformance().map(|(name, text)| cases::read(name, text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_can_be_read() {
        assert!(super::cases().unwrap().len() > 10);
    }
}

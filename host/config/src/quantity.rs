//! Quantities as people write them: `"500ms"`, `"16MiB"`.

use anyhow::{Result, anyhow};
use std::time::Duration;

use bytesize::ByteSize;

/// A duration with a unit: `"250ms"`, `"1.5s"`, `"2m"`, `"1h 30m"`.
///
/// # Errors
/// If the text is not a duration; the message says why.
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = |why: &str| {
        anyhow!(
            "{text:?} is not a duration{why}; write a number and a unit: \"250ms\", \"5s\", \"2m\", \"1h\""
        )
    };
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty() {
        return Err(wrong(": the unit is missing"));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong(""))?;
    Duration::try_from(span).map_err(|_| wrong(": it is negative"))
}

/// A size with a unit: `"64KiB"`, `"16MiB"`, `"1.5GB"`.
///
/// # Errors
/// If the text is not a size; the message says why.
pub fn bytes(text: &str) -> Result<u64> {
    let wrong = |why: &str| {
        anyhow!(
            "{text:?} is not a size{why}; write a number and a unit: \"64KiB\", \"16MiB\", \"1GB\""
        )
    };
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty() {
        return Err(wrong(": the unit is missing"));
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5400));
        assert!(duration("5").unwrap_err().to_string().contains("the unit is missing"));
        assert!(duration("-5s").unwrap_err().to_string().contains("negative"));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("").is_err());
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(bytes("64KiB").unwrap(), 65536);
        assert_eq!(bytes("1 MB").unwrap(), 1_000_000);
        assert!(bytes("64").unwrap_err().to_string().contains("the unit is missing"));
        assert!(bytes("64 ms").is_err());
        assert!(bytes("").is_err());
    }
}

//! Points in time: nanoseconds since the Unix epoch.

/// The current time.
pub fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// RFC 3339, in UTC.
pub fn rfc3339(nanoseconds: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanoseconds))
        .expect("64 bits of nanoseconds lie within the years that jiff knows")
        .to_string()
}

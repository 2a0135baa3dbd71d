//! The time of the clock, and timestamps as text in RFC 3339. The host reads and writes the same texts, so that
//! one means the same time everywhere.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeError {
    /// It is not in the format of RFC 3339.
    Format,
    /// It is out of the range of 64 bits of nanoseconds.
    Range,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not an RFC 3339 time",
            Self::Range => "not between the years 1677 and 2262",
        })
    }
}

impl std::error::Error for TimeError {}

/// Nanoseconds since the Unix epoch of an RFC 3339 time: `2024-02-29T23:59:59.5+02:00`.
///
/// Between date and time stands `T` or a space, and the offset is `Z` or `+hh:mm`; letters may be
/// lower case. A fraction is truncated after nine digits. A second 60 counts as the last nanosecond
/// of the second before it, and is valid only at the end of a month in UTC, where leap seconds are.
///
/// # Errors
/// If the text has another format, or is not between the years 1677 and 2262.
pub fn parse_rfc3339(text: &[u8]) -> Result<i64, TimeError> {
    const DATE_AND_TIME: usize = "yyyy-mm-ddThh:mm:ss".len();
    let Some((start, mut rest)) = text.split_first_chunk::<DATE_AND_TIME>() else {
        return Err(TimeError::Format);
    };
    let marks = start[4] == b'-' && start[7] == b'-' && start[13] == b':' && start[16] == b':';
    let [year, month, day] = [number(&start[..4]), number(&start[5..7]), number(&start[8..10])];
    let [hour, minute, second] =
        [number(&start[11..13]), number(&start[14..16]), number(&start[17..])];
    let is_leap = second == 60;
    if !marks
        || !matches!(start[10], b'T' | b't' | b' ')
        || year == NONE
        || !(1..=12).contains(&month)
        || !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return Err(TimeError::Format);
    }
    let mut nanoseconds = 0_i64;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(TimeError::Format);
        }
        let some = &fraction[..digits.min(9)];
        let number = some.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        nanoseconds = i64::from(number * 10_u32.pow(9 - some.len() as u32));
        rest = &fraction[digits..];
    }
    let offset = match *rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[h1, h2]), number(&[m1, m2]));
            if hours > 23 || minutes > 59 {
                return Err(TimeError::Format);
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return Err(TimeError::Format),
    };
    let of_day = i64::from(hour * 3600 + minute * 60 + second.min(59));
    let seconds = days_since_epoch(year, month, day) * DAY + of_day - offset;
    if is_leap {
        if !ends_a_month(seconds) {
            return Err(TimeError::Format);
        }
        nanoseconds = 999_999_999;
    }
    // Checked before multiplying: a checked multiplication needs arithmetic of 128 bits, which is
    // slow in wasm.
    if (-9_223_372_035..=9_223_372_035).contains(&seconds) {
        return Ok(seconds * 1_000_000_000 + nanoseconds);
    }
    at_the_edge(seconds, nanoseconds)
}

const DAY: i64 = 86_400;
/// Stands for something that is not a number: larger than any that is valid.
const NONE: u32 = u32::MAX;

/// The number that some digits make; [`NONE`] if one is not a digit.
#[inline]
fn number(digits: &[u8]) -> u32 {
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return NONE;
        }
        number = number * 10 + u32::from(digit);
    }
    number
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: Howard Hinnant's `days_from_civil`,
/// in which a year begins in March.
fn days_since_epoch(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whether a second is the last of a month in UTC.
#[cold]
fn ends_a_month(seconds: i64) -> bool {
    OffsetDateTime::from_unix_timestamp(seconds + 1)
        .is_ok_and(|next| next.day() == 1 && next.to_hms() == (0, 0, 0))
}

#[cold]
fn at_the_edge(seconds: i64, nanoseconds: i64) -> Result<i64, TimeError> {
    let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    // The smallest value stands for no time.
    i64::try_from(time).ok().filter(|&time| time != crate::NO_TIME).ok_or(TimeError::Range)
}

/// The time of the clock, in nanoseconds since the Unix epoch. A stage whose grants fix the clock sees
/// that one.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds since the Unix epoch as RFC 3339, in UTC.
pub fn rfc3339(nanoseconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .expect("64 bits of nanoseconds lie between the years 1677 and 2262")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, and the expected result of each. The tests of the codecs read the same table.
    const TABLE: &str = include_str!("../../../tests/tables/times.txt");

    #[test]
    fn a_time_is_what_the_table_says() {
        let mut count = 0;
        for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (text, verdict) = line.split_once(" = ").unwrap();
            let expected = match verdict {
                "no" => Err(TimeError::Format),
                "far" => Err(TimeError::Range),
                nanoseconds => Ok(nanoseconds.parse().unwrap()),
            };
            assert_eq!(parse_rfc3339(text.as_bytes()), expected, "{text}");
            count += 1;
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn every_day_is_what_another_calendar_says() {
        let days = |year, month: u8, day| {
            let month = time::Month::try_from(month).unwrap();
            time::Date::from_calendar_date(year, month, day).unwrap().midnight().assume_utc()
        };
        for year in 1678_u32..=2261 {
            for month in 1..=12_u8 {
                for day in [1, 15, days_of(year, month.into()) as u8] {
                    let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                    let expected = days(year as i32, month, day).unix_timestamp_nanos();
                    assert_eq!(
                        parse_rfc3339(text.as_bytes()).map(i128::from),
                        Ok(expected),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for nanoseconds in [0, 1, -1, 1_698_400_800_123_456_789, i64::MAX, i64::MIN + 1] {
            assert_eq!(parse_rfc3339(rfc3339(nanoseconds).as_bytes()), Ok(nanoseconds));
        }
    }
}

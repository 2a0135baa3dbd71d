//! Ways to write a time.

use jiff::civil::Time;
use jiff::fmt::rfc2822;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use pipehost_plugin::{Error, NO_TIME, now, parse_rfc3339};

pub enum Format {
    Rfc3339,
    Rfc2822,
    /// A number of these since 1970, of which a second has so many digits.
    Unix {
        digits: u32,
    },
    Pattern {
        text: String,
        has_year: bool,
    },
}

impl Format {
    pub fn parse(text: String) -> Result<Self, Error> {
        Ok(match &*text {
            "rfc3339" => Self::Rfc3339,
            "rfc2822" => Self::Rfc2822,
            "unix" => Self::Unix { digits: 0 },
            "unix-ms" => Self::Unix { digits: 3 },
            "unix-us" => Self::Unix { digits: 6 },
            "unix-ns" => Self::Unix { digits: 9 },
            other if !other.contains('%') => {
                return Err(format!(
                    "`formats`: {other:?} is neither a pattern of strptime, as in \"%Y-%m-%d\", nor one \
                     of rfc3339, rfc2822, unix, unix-ms, unix-us, unix-ns"
                )
                .into());
            }
            _ => Self::pattern(text)?,
        })
    }

    /// A pattern, checked with a time that is written and read with it.
    fn pattern(text: String) -> Result<Self, Error> {
        let wrong =
            |why: &dyn std::fmt::Display| Error::from(format!("`formats`: {text:?}: {why}"));
        let example: ZonedDateTime =
            "2024-12-31T23:59:58+00:00[UTC]".parse().expect("it is a time");
        let written = strtime::format(&text, &example).map_err(|why| wrong(&why))?;
        let read = BrokenDownTime::parse(&text, &written).map_err(|why| wrong(&why))?;
        let has_day =
            read.day().is_some() && read.month().is_some() || read.day_of_year().is_some();
        if read.timestamp().is_none() && !has_day && read.to_date().is_err() {
            return Err(wrong(&"it has no date"));
        }
        if read.timestamp().is_none() && has_time(&read) && read.to_time().is_err() {
            return Err(wrong(&"it has a part of the time of day, and not the hour"));
        }
        let has_year =
            read.timestamp().is_some() || read.year().is_some() || read.to_date().is_ok();
        Ok(Self::Pattern { has_year, text })
    }

    /// Nanoseconds since 1970, if the text is a time in this format.
    pub fn read(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::Rfc3339 => parse_rfc3339(text.as_bytes()).ok(),
            Self::Rfc2822 => {
                nanoseconds(rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?)
            }
            Self::Unix { digits } => unix(text, 9 - digits),
            Self::Pattern { text: pattern, has_year } => {
                let mut read = BrokenDownTime::parse(pattern, text).ok()?;
                if *has_year {
                    return at(&read, zone);
                }
                let now = now();
                let year = Timestamp::from_nanosecond(now.into())
                    .ok()?
                    .to_zoned_datetime(zone.clone())
                    .year();
                const DAY: i64 = 86_400_000_000_000;
                // A 29th of February may be up to eight years behind.
                (year - 8..=year + 1).rev().find_map(|year| {
                    read.set_year(Some(year)).ok()?;
                    at(&read, zone).filter(|time| *time <= now + DAY)
                })
            }
        }
    }
}

/// The moment of a time, in this zone if it does not say its own.
fn at(read: &BrokenDownTime, zone: &TimeZone) -> Option<i64> {
    if let Ok(timestamp) = read.to_timestamp() {
        let fraction = match read.timestamp() {
            // Of `%s`, which has no fraction itself.
            Some(_) => i64::from(read.subsec_nanosecond().unwrap_or(0)),
            None => 0,
        };
        return nanoseconds(timestamp)?.checked_add(fraction);
    }
    if let Some(name) = read.iana_time_zone() {
        let zoned = read.to_datetime().ok()?.in_tz(name).ok()?;
        return nanoseconds(zoned.timestamp());
    }
    let date = read.to_date().ok()?;
    let time = match has_time(read) {
        true => read.to_time().ok()?,
        false => Time::midnight(),
    };
    nanoseconds(date.to_datetime(time).to_zoned_datetime(zone.clone()).ok()?.timestamp())
}

/// Whether any part of a time of day is there.
fn has_time(read: &BrokenDownTime) -> bool {
    read.hour().is_some() || read.minute().is_some() || read.second().is_some()
}

fn nanoseconds(timestamp: Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond()).ok().filter(|time| *time != NO_TIME)
}

/// A number in units of ten to so many nanoseconds, without rounding up to its last digit.
fn unix(text: &str, digits: u32) -> Option<i64> {
    let decimal = |c: u8| c.is_ascii_digit() || b"+-.eE".contains(&c);
    if !text.bytes().all(decimal) {
        return None;
    }
    let unit = 10_i128.pow(digits);
    if text.contains(['e', 'E']) {
        let number = text.parse::<f64>().ok()? * unit as f64;
        return (number.abs() < i64::MAX as f64).then_some(number as i64);
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let number =
        |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<i128>().ok())?;
    let fraction = &fraction[..fraction.len().min(digits.max(1) as usize)];
    let part = number(fraction)?.checked_mul(unit)? / 10_i128.pow(fraction.len() as u32);
    let all = number(whole)?.checked_mul(unit)?.checked_add(part)?;
    i64::try_from(if negative { -all } else { all }).ok().filter(|time| *time != NO_TIME)
}

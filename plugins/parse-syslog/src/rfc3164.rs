//! Messages of RFC 3164, which only describes what programs did: the library for RFC 5424 guesses
//! where these parts are, and loses some. All of them may be missing but the message.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use pipehost_plugin::parse_rfc3339;

/// Where the parts of a message are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message<'l> {
    /// Nanoseconds since 1970.
    pub time: Option<i64>,
    pub hostname: Option<&'l str>,
    pub appname: Option<&'l str>,
    pub procid: Option<&'l str>,
    pub text: &'l str,
}

/// Reads what is behind the priority. `now` says which year it is, in nanoseconds since 1970.
pub fn parse<'l>(text: &'l str, zone: &TimeZone, now: i64) -> Message<'l> {
    let mut message = Message::default();
    let text = text.strip_prefix(' ').unwrap_or(text);
    // Cisco routers count their messages, and write their own name before the time.
    let rest = without_number(text);
    let mut timed = take_time(rest, zone, now);
    if timed.is_none()
        && let Some((host, behind)) = rest.split_once(": ")
        && !host.contains(' ')
    {
        timed = take_time(behind, zone, now);
        message.hostname = timed.map(|_| host);
    }
    let mut rest = match timed {
        Some((time, behind)) => {
            message.time = Some(time);
            behind
        }
        None => text,
    };
    // A colon behind the time stands where a name of a host would.
    let has_colon = message.time.is_some() && rest.starts_with(':');
    rest = if has_colon { rest[1..].trim_start() } else { rest.trim_start() };
    if message.time.is_some() && !has_colon && message.hostname.is_none() && tag(rest).is_none() {
        let (host, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        message.hostname = Some(host).filter(|host| !host.is_empty());
        rest = behind.trim_start();
        rest = rest.strip_prefix(": ").unwrap_or(rest);
    }
    if let Some((name, procid, behind)) = tag(rest) {
        (message.appname, message.procid) = (Some(name), procid);
        rest = behind;
    }
    message.text = rest;
    message
}

/// `sshd[4711]: ` or `sshd: `: the name, the number, and what is behind.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find([' ', '[', ':'])?;
    let (name, mut rest) = text.split_at(end);
    let mut procid = None;
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (id, behind) = bracketed.split_once(']')?;
        if id.contains(' ') {
            return None;
        }
        (procid, rest) = (Some(id).filter(|id| !id.is_empty()), behind);
    }
    let rest = match rest.strip_prefix(':') {
        Some(rest) => rest,
        // Without a colon, only the number tells a tag from another word.
        None if procid.is_some() => rest,
        None => return None,
    };
    // `CEF:0|…` is a message, and so is `10.0.0.1:80`.
    let is_divided = rest.is_empty() || rest.starts_with(' ');
    (is_divided && !name.is_empty()).then(|| (name, procid, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `123: `
fn without_number(text: &str) -> &str {
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match behind.strip_prefix(": ") {
        Some(rest) if behind.len() < text.len() => rest.trim_start(),
        _ => text,
    }
}

/// A time, and what is behind it.
fn take_time<'l>(text: &'l str, zone: &TimeZone, now: i64) -> Option<(i64, &'l str)> {
    // A Cisco router marks a clock that may be wrong.
    let text = text.strip_prefix(['*', '.']).unwrap_or(text);
    let end = text.find(' ').unwrap_or(text.len());
    if let Ok(time) = parse_rfc3339(&text.as_bytes()[..end]) {
        return Some((time, &text[end..]));
    }
    if let Ok(time) = text[..end].parse::<DateTime>()
        && text[..end].contains('T')
    {
        return Some((moment(time, zone)?, &text[end..]));
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|month| *month == &text[..end])? as i8 + 1;
    let (day, rest) = take_number(text[end..].trim_start(), 2)?;
    let mut rest = rest.strip_prefix(' ')?.trim_start();
    let mut year = None;
    if let Some((number, behind)) = take_number(rest, 4)
        && let Some(behind) = behind.strip_prefix(' ')
    {
        (year, rest) = (Some(number as i16), behind.trim_start());
    }
    let (hour, behind) = take_number(rest, 2)?;
    let (minute, behind) = take_number(behind.strip_prefix(':')?, 2)?;
    let (second, mut rest) = take_number(behind.strip_prefix(':')?, 2)?;
    let mut nanosecond = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let length =
            fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if (1..=9).contains(&length) {
            nanosecond = format!("{:0<9}", &fraction[..length]).parse().ok()?;
            rest = &fraction[length..];
        }
    }
    let mut named = None;
    if let Some((name, behind)) = rest.strip_prefix(' ').and_then(|rest| rest.split_once(':'))
        && (3..=5).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_uppercase())
        && behind.starts_with(' ')
    {
        // One that is not known makes it no time: another zone would make it a wrong one.
        named = Some(TimeZone::get(name).ok()?);
        rest = &rest[1 + name.len()..];
    }
    if !(rest.is_empty() || rest.starts_with([' ', ':'])) {
        return None;
    }
    let zone = named.as_ref().unwrap_or(zone);
    // A leap second is the one before it, as clocks have it.
    let time = Time::new(hour as i8, minute as i8, second.min(59) as i8, nanosecond).ok()?;
    let on = |year: i16| {
        let date = Date::new(year, month, day as i8).ok()?;
        moment(DateTime::from_parts(date, time), zone)
    };
    let time = match year {
        Some(year) => on(year)?,
        None => near(now, on)?,
    };
    Some((time, rest))
}

/// The time in the latest year in which it is at most a day ahead of the clock.
fn near(now: i64, on: impl Fn(i16) -> Option<i64>) -> Option<i64> {
    const DAY: i64 = 86_400_000_000_000;
    let latest = jiff::Timestamp::from_nanosecond(now.saturating_add(DAY).into()).ok()?;
    let latest = latest.to_zoned_datetime(TimeZone::UTC).year() + 1;
    // A 29th of February may be eight years behind.
    (latest - 9..=latest).rev().filter_map(on).find(|time| *time <= now.saturating_add(DAY))
}

/// Where clocks jump over a time, it is as if they had not yet.
fn moment(time: DateTime, zone: &TimeZone) -> Option<i64> {
    let timestamp = time.to_zoned_datetime(zone.clone()).ok()?.timestamp();
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// A number of up to so many digits, and what is behind it.
fn take_number(text: &str, most: usize) -> Option<(u16, &str)> {
    let length = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (digits, rest) = text.split_at(length);
    let number = (1..=most).contains(&length).then(|| digits.parse().ok())??;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn year(text: &str, now: &str) -> i16 {
        let now = parse_rfc3339(now.as_bytes()).unwrap();
        let (time, _) = take_time(text, &TimeZone::UTC, now).unwrap();
        jiff::Timestamp::from_nanosecond(time.into())
            .unwrap()
            .to_zoned_datetime(TimeZone::UTC)
            .year()
    }

    #[test]
    fn a_time_without_a_year_is_near_the_clock() {
        assert_eq!(year("Feb 29 12:00:00", "2024-02-29T12:00:00Z"), 2024);
        assert_eq!(year("Dec 31 12:00:00", "2024-01-01T00:00:00Z"), 2023);
        assert_eq!(year("Jan  1 11:00:00", "2023-12-31T12:00:00Z"), 2024);
        assert_eq!(year("Jan  2 12:00:00", "2023-12-31T12:00:00Z"), 2023);
        assert_eq!(year("Feb 29 12:00:00", "2027-02-28T12:00:00Z"), 2024);
        assert_eq!(year("Feb 29 12:00:00", "2103-02-28T12:00:00Z"), 2096);
    }

    #[test]
    fn a_zone_knows_its_summers_and_where_clocks_jump() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let time = |text: &str| take_time(text, &zone, i64::MAX / 2).unwrap().0;
        let utc = |text: &str| parse_rfc3339(text.as_bytes()).unwrap();
        assert_eq!(time("Jan 15 2024 12:00:00 h"), utc("2024-01-15T11:00:00Z"));
        assert_eq!(time("Jul 15 2024 12:00:00 h"), utc("2024-07-15T10:00:00Z"));
        assert_eq!(time("Mar 31 2024 02:30:00 h"), utc("2024-03-31T01:30:00Z"));
        assert_eq!(time("Jul 15 2024 12:00:00.25 UTC: x"), utc("2024-07-15T12:00:00.25Z"));
        assert_eq!(time("Jan 15 2024 12:00:00 EST: x"), utc("2024-01-15T17:00:00Z"));
        assert_eq!(time("2024-07-15T12:00:00 h"), utc("2024-07-15T10:00:00Z"));
        assert_eq!(take_time("Jan 15 2024 12:00:00 XYZ: x", &zone, 0), None);
    }

    fn check(text: &str, hostname: &str, appname: &str, procid: &str, expected: &str) {
        let found = parse(text, &TimeZone::UTC, 1_709_208_000_000_000_000);
        let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
        assert_eq!(found.hostname, some(hostname), "{text}");
        assert_eq!(found.appname, some(appname), "{text}");
        assert_eq!(found.procid, some(procid), "{text}");
        assert_eq!(found.text, expected, "{text}");
    }

    #[test]
    fn each_part_may_be_missing_and_nothing_is_lost() {
        check("Oct 11 22:14:15 web1 sshd[4711]: a b", "web1", "sshd", "4711", "a b");
        check("Oct  1 03:17:01 web1 CRON[12] x", "web1", "CRON", "12", "x");
        check("Oct 11 22:14:15 root: logger without host", "", "root", "", "logger without host");
        check(
            "Oct 11 22:14:15 web1 last message repeated 2 times",
            "web1",
            "",
            "",
            "last message repeated 2 times",
        );
        check("Oct 11 22:14:15 10.0.0.1 CEF:0|Vendor|x", "10.0.0.1", "", "", "CEF:0|Vendor|x");
        check("Oct 11 22:14:15 web1 kernel: [ 0.1] up", "web1", "kernel", "", "[ 0.1] up");
        check("2024-02-29T12:00:00.5+01:00 web1 app: x", "web1", "app", "", "x");
        check("Oct 11 22:14:15 web1", "web1", "", "", "");
        check("Oct 11 22:14:15 web1 a:  two spaces ", "web1", "a", "", " two spaces ");
        // ASA and IOS of Cisco.
        check("Oct 11 2023 22:14:15: %ASA-6-302013: Built", "", "%ASA-6-302013", "", "Built");
        check(
            "Oct 11 2023 22:14:15 fw1 : %ASA-6-302013: Built",
            "fw1",
            "%ASA-6-302013",
            "",
            "Built",
        );
        check("%ASA-6-302013: Built", "", "%ASA-6-302013", "", "Built");
        check("123: Oct 11 22:14:15.123: %SYS-5-CONFIG_I: by", "", "%SYS-5-CONFIG_I", "", "by");
        check("45: router1: *Mar  1 18:46:11 UTC: %LINK-3: up", "router1", "%LINK-3", "", "up");
        check(" Oct 11 22:14:15 web1 a: x", "web1", "a", "", "x");
        // No header at all.
        check("no header here", "", "", "", "no header here");
        check("", "", "", "", "");
        check("Oct 41 22:14:15 x y", "", "", "", "Oct 41 22:14:15 x y");
    }
}

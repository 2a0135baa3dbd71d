mod format;

use std::borrow::Cow;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Error, Field, Out, Part, Record, Rejection, Row, Setup, Stage, parse_rfc3339,
};

use format::{COMBINED, COMMON, Format, Holds};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// `combined`, `common`, or a format as it is in the configuration of nginx (`log_format`) or
    /// of Apache (`LogFormat`). Without it, a line is in one of these two.
    format: Option<String>,
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default)]
    from: Part,
}

/// The time becomes that of the record, and the rest attributes. A `-` is as if it were not there.
pub struct ParseAccessLog {
    from: Field,
    formats: Vec<Format>,
    /// What a message about a line in another format advises.
    hint: &'static str,
}

impl Stage for ParseAccessLog {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        const HINT: &str = "; if the server writes another format, give it as `format`";
        let (formats, hint) = match config.format.as_deref() {
            None => (vec![COMBINED, COMMON], HINT),
            Some("combined") => (vec![COMBINED], HINT),
            Some("common") => (vec![COMMON], HINT),
            Some(other) => (vec![other], ""),
        };
        let formats = formats.into_iter().map(Format::parse).collect::<Result<_, _>>()?;
        Ok(Self { from: setup.part(&config.from), formats, hint })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = record.get(self.from).unwrap_or_default().trim_ascii_end();
        let mut first = Err(String::new());
        for format in &self.formats {
            match split(line, format) {
                Ok(texts) => return emit(format, &texts, out),
                Err(why) if first == Err(String::new()) => first = Err(why),
                Err(_) => {}
            }
        }
        Ok(first.map_err(|why| why + self.hint)?)
    }
}

fn emit(format: &Format, texts: &[&[u8]], out: &mut Out) -> Result<(), Rejection> {
    let mut row = out.keep();
    for (place, &text) in format.places.iter().zip(texts) {
        if text == b"-" {
            continue;
        }
        // Both servers write what could be misread as \xhh, and a quote as \".
        let text = if place.before.ends_with('"') { unescaped(text) } else { text.into() };
        row = match &place.holds {
            Holds::Attribute(name) => row.attribute(name, text),
            Holds::Request => request(row, &text),
            Holds::ClfTime => row.timestamp(clf_time(&text)?),
            Holds::IsoTime => {
                row.timestamp(parse_rfc3339(&text).map_err(|why| wrong_time(&text, &why))?)
            }
            Holds::UnixTime => row.timestamp(unix_time(&text)?),
        };
    }
    Ok(())
}

/// Bytes of a text that a message shows.
const SHOWN: usize = 40;

/// The text of each place in a line.
fn split<'l>(line: &'l [u8], format: &Format) -> Result<Vec<&'l [u8]>, String> {
    let mut texts = Vec::with_capacity(format.places.len());
    let expected = |text: &str, rest: &[u8]| {
        let at = line.len() - rest.len() + 1;
        match text {
            "" => format!("the line does not end at column {at}, where the format does"),
            text => format!("{text:?} is expected at column {at} or behind it"),
        }
    };
    let mut rest = line;
    let mut places = format.places.iter().peekable();
    if let Some(first) = places.peek() {
        rest = rest
            .strip_prefix(first.before.as_bytes())
            .ok_or_else(|| expected(&first.before, rest))?;
    }
    while let Some(place) = places.next() {
        let behind = places.peek().map_or(&*format.end, |next| &*next.before);
        let is_quoted = place.before.ends_with('"') && behind.starts_with('"');
        let is_last = places.peek().is_none();
        let end = match behind {
            "" => rest.len(),
            behind => {
                find(rest, behind.as_bytes(), is_quoted).ok_or_else(|| expected(behind, rest))?
            }
        };
        let text = &rest[..end];
        if !is_quoted && place.holds.is_wrong_word(text) {
            let name = place.holds.name();
            let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
            return Err(format!("{text:?} cannot be the {name}"));
        }
        texts.push(text);
        rest = &rest[end + behind.len()..];
        if is_last && !rest.is_empty() {
            return Err(expected("", rest));
        }
    }
    Ok(texts)
}

/// Where a text begins first. In a quoted place, a quote behind a backslash does not end it.
fn find(text: &[u8], wanted: &[u8], is_quoted: bool) -> Option<usize> {
    let mut at = 0;
    while at + wanted.len() <= text.len() {
        match text[at] {
            b'\\' if is_quoted => at += 2,
            _ if text[at..].starts_with(wanted) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let escaped = if byte == b'\\' { rest.first() } else { None };
        let hex = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        match escaped {
            Some(b'x') if hex(&rest[1..]).is_some() => {
                out.extend(hex(&rest[1..]));
                rest = &rest[3..];
                continue;
            }
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(&other @ (b'"' | b'\\')) => out.push(other),
            _ => {
                out.push(byte);
                continue;
            }
        }
        rest = &rest[1..];
    }
    out.into()
}

/// Method, path and protocol; what is something else becomes the attribute `request`.
fn request<'r>(row: Row<'r>, text: &[u8]) -> Row<'r> {
    let mut words = text.split(|byte| *byte == b' ');
    let (method, path, protocol) = (words.next(), words.next(), words.next());
    let is_method = |method: &[u8]| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    match (method, path, protocol, words.next()) {
        (Some(method), Some(path), Some(protocol), None)
            if is_method(method) && protocol.starts_with(b"HTTP/") =>
        {
            row.attribute("method", method).attribute("path", path).attribute("protocol", protocol)
        }
        _ => row.attribute("request", text),
    }
}

/// `29/Feb/2024:12:00:00 +0000`
fn clf_time(text: &[u8]) -> Result<i64, Rejection> {
    let none = || wrong_time(text, &"not as in 29/Feb/2024:12:00:00 +0000");
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let [
        d1,
        d2,
        b'/',
        m1,
        m2,
        m3,
        b'/',
        year @ ..,
        b':',
        _,
        _,
        b':',
        _,
        _,
        b':',
        _,
        _,
        b' ',
        sign,
        h1,
        h2,
        n1,
        n2,
    ] = text
    else {
        return Err(none());
    };
    let month = MONTHS.iter().position(|month| **month == [*m1, *m2, *m3]).ok_or_else(none)? + 1;
    let mut iso = Vec::with_capacity(25);
    iso.extend_from_slice(year);
    iso.extend_from_slice(&[
        b'-',
        b'0' + month as u8 / 10,
        b'0' + month as u8 % 10,
        b'-',
        *d1,
        *d2,
        b'T',
    ]);
    iso.extend_from_slice(&text[text.len() - 14..text.len() - 6]);
    iso.extend_from_slice(&[*sign, *h1, *h2, b':', *n1, *n2]);
    parse_rfc3339(&iso).map_err(|_| none())
}

/// Seconds since 1970, with a fraction if need be.
fn unix_time(text: &[u8]) -> Result<i64, Rejection> {
    let none = || wrong_time(text, &"not a number of seconds");
    let text = std::str::from_utf8(text).map_err(|_| none())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| none())?;
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(none());
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().map_err(|_| none())?;
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|time| time.checked_add(nanoseconds))
        .ok_or_else(none)
}

#[cold]
fn wrong_time(text: &[u8], why: &dyn std::fmt::Display) -> Rejection {
    Rejection::new(format!("the time {:?} is {why}", String::from_utf8_lossy(text)))
}

pipehost_plugin::export!(ParseAccessLog);

#[cfg(test)]
mod tests {
    use super::ParseAccessLog;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[track_caller]
    fn becomes(config: Value, line: &str, seconds: i64, attributes: &[(&str, &str)]) {
        let out = run::<ParseAccessLog>(config, [record(line)]);
        assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let mut expected = record(line).timestamp(seconds);
        for (name, text) in attributes {
            expected = expected.attribute(name, text);
        }
        assert_eq!(out.port("out"), [expected]);
    }

    const NOON: i64 = 1_709_208_000_000_000_000;

    /// Lines of nginx 1.24 and of Apache 2.4, as they write them.
    #[test]
    fn lines_of_real_servers_in_the_usual_formats() {
        becomes(
            json!({}),
            r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "GET /search?q=a%20b HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64)""#,
            NOON,
            &[
                ("remote_addr", "192.0.2.7"),
                ("method", "GET"),
                ("path", "/search?q=a%20b"),
                ("protocol", "HTTP/1.1"),
                ("status", "200"),
                ("bytes", "612"),
                ("user_agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ],
        );
        becomes(
            json!({}),
            r#"2001:db8::1 - jo doe [29/Feb/2024:13:00:00 +0100] "POST /a HTTP/2.0" 302 - "https://example.com/?a=\"b\"" "curl/8.5.0""#,
            NOON,
            &[
                ("remote_addr", "2001:db8::1"),
                ("user", "jo doe"),
                ("method", "POST"),
                ("path", "/a"),
                ("protocol", "HTTP/2.0"),
                ("status", "302"),
                ("referer", "https://example.com/?a=\"b\""),
                ("user_agent", "curl/8.5.0"),
            ],
        );
        becomes(
            json!({ "format": "common" }),
            r#"127.0.0.1 - frank [29/Feb/2024:12:00:00 +0000] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
            NOON,
            &[
                ("remote_addr", "127.0.0.1"),
                ("user", "frank"),
                ("method", "GET"),
                ("path", "/apache_pb.gif"),
                ("protocol", "HTTP/1.0"),
                ("status", "200"),
                ("bytes", "2326"),
            ],
        );
        // What a client sends that speaks TLS to a plain port, and one that sends nothing.
        becomes(
            json!({}),
            r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "\x16\x03\x01\x02" 400 157 "-" "-""#,
            NOON,
            &[
                ("remote_addr", "192.0.2.7"),
                ("request", "\u{16}\u{3}\u{1}\u{2}"),
                ("status", "400"),
                ("bytes", "157"),
            ],
        );
        becomes(
            json!({}),
            r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "-" 408 -"#,
            NOON,
            &[("remote_addr", "192.0.2.7"), ("status", "408")],
        );
    }

    #[test]
    fn other_formats_by_their_own_strings() {
        becomes(
            json!({ "format": r#"$time_iso8601 $host $request_method $request_uri $status rt=$request_time ua="$http_user_agent""# }),
            r#"2024-02-29T12:00:00+00:00 example.com GET /a 499 rt=0.005 ua="a \x22b\x22""#,
            NOON,
            &[
                ("host", "example.com"),
                ("method", "GET"),
                ("path", "/a"),
                ("status", "499"),
                ("request_time", "0.005"),
                ("user_agent", "a \"b\""),
            ],
        );
        becomes(
            json!({ "format": r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i" %D"# }),
            r#"www.example.com:443 192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 3380 "-" "x" 1523"#,
            NOON,
            &[
                ("host", "www.example.com"),
                ("port", "443"),
                ("remote_addr", "192.0.2.7"),
                ("method", "GET"),
                ("path", "/"),
                ("protocol", "HTTP/1.1"),
                ("status", "200"),
                ("bytes_sent", "3380"),
                ("user_agent", "x"),
                ("duration_us", "1523"),
            ],
        );
        becomes(
            json!({ "format": "$msec $status" }),
            "1709208000.125 200",
            NOON + 125_000_000,
            &[("status", "200")],
        );
    }

    #[test]
    fn a_line_in_another_format_says_where_it_departs() {
        let lines = [
            "",
            "nonsense",
            r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 612 "-""#,
            r#"192.0.2.7 - - [30/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 612 "-" "x""#,
            r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 612 "-" "x" extra"#,
        ];
        let out = run::<ParseAccessLog>(json!({ "format": "combined" }), lines.map(record));
        const HINT: &str = "; if the server writes another format, give it as `format`";
        let reasons: Vec<_> = (out.rejected.iter())
            .map(|(_, reason)| reason.strip_suffix(HINT).unwrap_or(reason))
            .collect();
        assert_eq!(
            reasons,
            [
                "\" \" is expected at column 1 or behind it",
                "\" \" is expected at column 1 or behind it",
                "\"\\\" \\\"\" is expected at column 70 or behind it",
                "the time \"30/Feb/2024:12:00:00 +0000\" is not as in 29/Feb/2024:12:00:00 +0000",
                "the line does not end at column 76, where the format does",
            ]
        );
        // The format that nginx comes with, one with a time at the end, and one of Debian's Apache:
        // none of them is common.
        let line = r#"192.0.2.7 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 612 "-" "x""#;
        let main = format!("{line} \"9.9.9.9\"");
        let lines = [&main, &format!("{line} 0.1"), &format!("example.com:80 {line}")];
        let out = run::<ParseAccessLog>(json!({}), lines.map(record));
        assert_eq!(out.rejected.len(), 3);
        assert!(out.rejected.iter().all(|(_, reason)| reason.ends_with(HINT)));
        let lines = lines.map(record);
        assert_eq!(run::<ParseAccessLog>(json!({ "format": "common" }), lines).rejected.len(), 3);
        // A list of times, as nginx writes it, with another place behind it.
        let config = json!({ "format": "$upstream_response_time $status" });
        let out = run::<ParseAccessLog>(config, [record("0.001, 0.002 : 0.1 200")]);
        assert_eq!(out.rejected[0].1, "\"0.002 : 0.1 200\" cannot be the status");
    }
}

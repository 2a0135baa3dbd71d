//! Messages of RFC 5424.

use std::collections::BTreeMap;

use pipehost_plugin::parse_rfc3339;

/// Parts of a message; those that are `-` are absent.
#[derive(Debug, Default)]
pub struct Message<'l> {
    /// Nanoseconds since 1970.
    pub time: Option<i64>,
    hostname: Option<&'l str>,
    appname: Option<&'l str>,
    procid: Option<&'l str>,
    msgid: Option<&'l str>,
    /// Structured data: `ID.NAME` and the value. Values of a name that is there again follow behind a
    /// comma; an element without values has its `ID` and an empty text.
    pub data: BTreeMap<String, String>,
    pub text: &'l str,
}

impl<'l> Message<'l> {
    /// The parts of the header that are there, by their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &'l str)> {
        let parts = [
            ("hostname", self.hostname),
            ("appname", self.appname),
            ("procid", self.procid),
            ("msgid", self.msgid),
        ];
        parts.into_iter().filter_map(|(name, text)| Some((name, text?)))
    }
}

/// Reads what is behind the priority: `1 TIME HOSTNAME APPNAME PROCID MSGID DATA MESSAGE`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Message<'_>, String> {
    const PARTS: [&str; 7] =
        ["version", "time", "hostname", "appname", "procid", "msgid", "structured data"];
    let words: Vec<&str> = text.splitn(PARTS.len(), ' ').collect();
    let time =
        match words.get(1).copied().unwrap_or_default() {
            "-" => None,
            time => Some(parse_rfc3339(time.as_bytes()).map_err(|_| {
                format!("its time, {time:?}, is not as in 2003-10-11T22:14:15.003Z")
            })?),
        };
    let [_, _, hostname, appname, procid, msgid, rest] = words[..] else {
        return Err(format!("it ends before the {}", PARTS[words.len()]));
    };
    let some = |text| Some(text).filter(|text: &&str| !matches!(*text, "-" | ""));
    let mut message = Message {
        time,
        hostname: some(hostname),
        appname: some(appname),
        procid: some(procid),
        msgid: some(msgid),
        ..Message::default()
    };
    let text = match rest.strip_prefix('-') {
        Some("") => "",
        Some(behind) if behind.starts_with(' ') => &behind[1..],
        // Heroku leaves structured data out.
        _ => match structured_data(rest) {
            Some((data, text)) => {
                message.data = data;
                text
            }
            None if rest.starts_with('[') && rest.contains("=\"") => {
                return Err(
                    "its structured data is neither `-` nor as in [id name=\"value\"]".into()
                );
            }
            None => rest,
        },
    };
    // The byte order mark only says that the message is UTF-8: section 6.4.
    message.text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(message)
}

/// Elements as in `[id name="value"]`, of which the first one has a value, and the message behind
/// them.
fn structured_data(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut data: BTreeMap<String, String> = BTreeMap::new();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let (id, mut behind) = element.split_at(end);
        if id.is_empty() || (data.is_empty() && behind.starts_with(']')) {
            return None;
        }
        if behind.starts_with(']') {
            data.entry(id.to_owned()).or_default();
        }
        while let Some(parameter) = behind.strip_prefix(' ') {
            let (name, quoted) = parameter.split_once("=\"")?;
            if name.is_empty() || name.contains([' ', ']', '"']) {
                return None;
            }
            let (value, after) = unquoted(quoted)?;
            let values = data.entry(format!("{id}.{name}"));
            values.and_modify(|all| *all += &format!(",{value}")).or_insert(value);
            behind = after;
        }
        rest = behind.strip_prefix(']')?;
    }
    match rest.strip_prefix(' ') {
        _ if data.is_empty() => None,
        Some(text) => Some((data, text)),
        None => rest.is_empty().then_some((data, rest)),
    }
}

/// A value up to its closing quote, and what is behind that. `\"`, `\\` and `\]` are escapes.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\' | ']') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

//! Formats of access logs: those of nginx's `log_format` and of Apache's `LogFormat`.

use pipehost_plugin::Error;

/// What a place in a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// An attribute. A `-` stands for none.
    Attribute(String),
    /// Method, path and protocol.
    Request,
    /// `29/Feb/2024:12:00:00 +0000`
    ClfTime,
    /// RFC 3339.
    IsoTime,
    /// Seconds since 1970, with a fraction if need be.
    UnixTime,
}

impl Holds {
    /// What it is called in a message.
    pub fn name(&self) -> &str {
        match self {
            Self::Attribute(name) => name,
            Self::Request => "request",
            Self::ClfTime | Self::IsoTime | Self::UnixTime => "time",
        }
    }

    /// Whether it is never this text: of the last place in a line, the rest of another format; of
    /// the first ones, the words of a format with more of them.
    pub fn is_wrong_word(&self, text: &[u8]) -> bool {
        const WORDS: [&str; 14] = [
            "remote_addr",
            "ident",
            "status",
            "bytes",
            "bytes_sent",
            "bytes_received",
            "method",
            "protocol",
            "port",
            "pid",
            "duration_us",
            "duration_ms",
            "duration_s",
            "request_time",
        ];
        match self {
            Self::Attribute(name) if name == "status" => {
                text != b"-" && !(text.len() == 3 && text.iter().all(u8::is_ascii_digit))
            }
            // Who a user is may hold a space, and is no more than that.
            Self::Attribute(name) if name == "user" => text.starts_with(b"- "),
            Self::Attribute(name) => WORDS.contains(&&**name) && text.contains(&b' '),
            Self::Request | Self::ClfTime | Self::IsoTime | Self::UnixTime => false,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub holds: Holds,
    /// What stands in front of it.
    pub before: String,
}

/// A line: places, each behind a text, and a text at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    pub places: Vec<Place>,
    pub end: String,
}

pub const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
pub const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i""#;

impl Format {
    /// Reads a format, in which variables are nginx's (`$status`) or Apache's (`%>s`).
    ///
    /// # Errors
    /// If it names what is not known, or cannot be told apart in a line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut format = Self { places: Vec::new(), end: String::new() };
        let is_nginx = text.contains('$');
        if !is_nginx && !text.contains('%') {
            return Err(format!(
                "`format`: {text:?} is neither common nor combined, nor does it have a variable such \
                 as $status (nginx) or %>s (Apache)"
            )
            .into());
        }
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match c {
                '$' if is_nginx => rest = format.nginx(&rest[1..])?,
                '%' if !is_nginx => rest = format.apache(&rest[1..])?,
                // In Apache's configuration, a quote in a format is written with a backslash.
                '\\' if rest[1..].starts_with('"') => rest = &rest[1..],
                // Apache writes tabs and line ends for these.
                '\\' if !is_nginx && rest[1..].starts_with(['t', 'n', '\\']) => {
                    format.end.push(match rest.as_bytes()[1] {
                        b't' => '\t',
                        b'n' => '\n',
                        _ => '\\',
                    });
                    rest = &rest[2..];
                }
                c => {
                    format.end.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        let mut places = format.places.iter().skip(1);
        if places.any(|place| place.before.is_empty()) {
            return Err(
                "`format`: two variables have nothing between them, so a line does not say \
                        where one ends"
                    .into(),
            );
        }
        let names = format.places.iter().filter_map(|place| match &place.holds {
            Holds::Attribute(name) => Some(name),
            _ => None,
        });
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
            return Err(format!("`format`: two variables become the attribute `{twice}`").into());
        }
        Ok(format)
    }

    fn place(&mut self, holds: Holds) {
        self.places.push(Place { holds, before: std::mem::take(&mut self.end) });
    }

    /// A variable of nginx, and what is behind it.
    fn nginx<'t>(&mut self, text: &'t str) -> Result<&'t str, Error> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match text.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or(("", "")),
            None => text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len())),
        };
        self.place(match name {
            "" => return Err("`format`: a `$` needs the name of a variable".into()),
            "time_local" => Holds::ClfTime,
            "time_iso8601" => Holds::IsoTime,
            "msec" => Holds::UnixTime,
            "request" => Holds::Request,
            "remote_user" => Holds::Attribute("user".into()),
            "request_method" => Holds::Attribute("method".into()),
            "request_uri" => Holds::Attribute("path".into()),
            "server_protocol" => Holds::Attribute("protocol".into()),
            "body_bytes_sent" => Holds::Attribute("bytes".into()),
            "http_referer" => Holds::Attribute("referer".into()),
            "http_user_agent" => Holds::Attribute("user_agent".into()),
            other => Holds::Attribute(other.into()),
        });
        Ok(rest)
    }

    /// A directive of Apache, and what is behind it.
    fn apache<'t>(&mut self, text: &'t str) -> Result<&'t str, Error> {
        // Conditions on the status, and which request of an internal redirect is meant.
        let text = text.trim_start_matches(|c: char| c.is_ascii_digit() || "!,<>".contains(c));
        let (argument, text) = match text.strip_prefix('{') {
            Some(braced) => {
                let (argument, rest) =
                    braced.split_once('}').ok_or("`format`: a `{` without a `}`")?;
                let rest = rest.trim_start_matches(['<', '>']);
                (Some(argument), rest)
            }
            None => (None, text),
        };
        let mut chars = text.chars();
        let directive =
            chars.next().ok_or("`format`: a `%` needs a letter; `%%` is a percent sign")?;
        let rest = chars.as_str();
        let name = |name: &str| Holds::Attribute(name.to_owned());
        let of_argument = |argument: &str| argument.to_ascii_lowercase().replace('-', "_");
        let holds = match (directive, argument) {
            ('%', None) => {
                self.end.push('%');
                return Ok(rest);
            }
            ('h' | 'a', None) => name("remote_addr"),
            ('a', Some("c")) => name("peer_addr"),
            ('l', None) => name("ident"),
            ('u', None) => name("user"),
            ('t', None) => {
                self.end.push('[');
                self.place(Holds::ClfTime);
                self.end.push(']');
                return Ok(rest);
            }
            ('t', Some("sec")) => Holds::UnixTime,
            ('r', None) => Holds::Request,
            ('s', None) => name("status"),
            ('b' | 'B', None) => name("bytes"),
            ('O', None) => name("bytes_sent"),
            ('I', None) => name("bytes_received"),
            ('m', None) => name("method"),
            ('U', None) => name("path"),
            ('q', None) => name("query"),
            ('H', None) => name("protocol"),
            ('v' | 'V', None) => name("host"),
            ('p', _) => name("port"),
            ('P', _) => name("pid"),
            ('D', None) => name("duration_us"),
            ('T', None | Some("s")) => name("duration_s"),
            ('T', Some("ms")) => name("duration_ms"),
            ('T', Some("us")) => name("duration_us"),
            ('f', None) => name("file"),
            ('k', None) => name("keepalives"),
            ('X', None) => name("connection"),
            ('L', None) => name("log_id"),
            ('i', Some("Referer" | "referer")) => name("referer"),
            ('i' | 'o' | 'e' | 'n' | 'C', Some(argument)) => name(&of_argument(argument)),
            _ => {
                let given = argument.map(|argument| format!("{{{argument}}}")).unwrap_or_default();
                return Err(format!("`format`: %{given}{directive} is not known").into());
            }
        };
        self.place(holds);
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        Format::parse(text).unwrap_err().message
    }

    #[test]
    fn formats_of_both_servers_are_read() {
        let nginx = Format::parse(
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" rt=${request_time}"#,
        )
        .unwrap();
        let names: Vec<_> =
            nginx.places.iter().map(|place| (&*place.before, &place.holds)).collect();
        let attribute = |name: &str| Holds::Attribute(name.to_owned());
        assert_eq!(names[0], ("", &attribute("remote_addr")));
        assert_eq!(names[1], (" - ", &attribute("user")));
        assert_eq!(names[2], (" [", &Holds::ClfTime));
        assert_eq!(names[3], ("] \"", &Holds::Request));
        assert_eq!(names[8], ("\" rt=", &attribute("request_time")));
        let apache =
            Format::parse(r#"%v:%p %400,501{X-Request-Id}i %{c}a 100%% \"%r\" %D"#).unwrap();
        let names: Vec<_> =
            apache.places.iter().map(|place| (&*place.before, &place.holds)).collect();
        assert_eq!(names[2], (" ", &attribute("x_request_id")));
        assert_eq!(names[3], (" ", &attribute("peer_addr")));
        assert_eq!(names[4], (" 100% \"", &Holds::Request));
        assert_eq!(names[5], ("\" ", &attribute("duration_us")));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(mistake("combine").contains("neither common nor combined"));
        assert!(mistake("%h%u").contains("nothing between"));
        assert!(mistake("%h %Z").contains("%Z is not known"));
        assert!(mistake("%h %{x").contains("without a `}`"));
        assert!(mistake("$a $").contains("needs the name"));
        assert!(mistake("%h %").contains("needs a letter"));
        assert!(mistake("$http_referer $referer").contains("two variables become"));
    }
}

mod card;
mod email;
mod find;
mod ip;

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};
use regex::bytes::Regex;
use sha2::Sha256;

use find::{Finder, Found, Kind};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// What is looked for; without it, all of them.
    #[serde(default = "all")]
    kinds: Vec<Kind>,
    /// Regular expressions (the syntax of Rust's `regex` crate) of what else is looked for, by
    /// a name.
    #[serde(default)]
    patterns: BTreeMap<String, String>,
    /// Where: `value`, `key`, or attributes by their names.
    #[serde(default = "value")]
    fields: Vec<Part>,
    /// What stands in the place of what was found; `{kind}` in it is its kind, such as `email`.
    mask: Option<String>,
    /// Instead of a mask, a hash with a secret key: this environment variable holds it, and
    /// `grants.env` gives it to the stage. The same text has the same hash.
    hash_key_env: Option<String>,
}

fn all() -> Vec<Kind> {
    vec![Kind::Email, Kind::Card, Kind::Ip]
}

fn value() -> Vec<Part> {
    vec![Part::Value]
}

/// A card number is 12 to 19 digits, which may stand in groups, with a check digit that is right.
pub struct Redact {
    finders: Vec<(String, Finder)>,
    fields: Vec<(Part, Field)>,
    by: By,
    found: Vec<Found>,
}

enum By {
    /// The text before and behind each `{kind}`.
    Mask(Vec<String>),
    Hash(Hmac<Sha256>),
}

impl Stage for Redact {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let Config { kinds, patterns, fields, mask, hash_key_env } = config;
        let mut finders = Vec::new();
        for (name, pattern) in patterns {
            let regex = Regex::new(&pattern).map_err(|why| format!("`patterns.{name}`: {why}"))?;
            if may_be_empty(&pattern) {
                return Err(format!(
                    "`patterns.{name}` finds nothing, everywhere: {pattern:?} fits an empty text"
                )
                .into());
            }
            finders.push((name, Finder::Pattern(regex)));
        }
        for kind in kinds {
            let name = kind.name();
            if finders.iter().any(|(other, _)| other == name) {
                return Err(format!("`{name}` is named twice").into());
            }
            finders.push((name.to_owned(), Finder::of(kind)));
        }
        if finders.is_empty() || fields.is_empty() {
            return Err(
                "nothing is looked for: `kinds` and `patterns`, or `fields`, are empty".into()
            );
        }
        let by = match (mask, hash_key_env) {
            (Some(_), Some(_)) => return Err("give either `mask` or `hash_key_env`".into()),
            (mask, None) => {
                let mask = mask.unwrap_or_else(|| "[{kind}]".to_owned());
                By::Mask(mask.split("{kind}").map(str::to_owned).collect())
            }
            (None, Some(name)) => {
                let key = std::env::var(&name).ok().filter(|key| !key.is_empty()).ok_or_else(|| {
                    format!(
                        "the environment variable `{name}` of `hash_key_env` is not there: grant \
                         it with grants = {{ env = {{ {name} = \"…\" }} }}"
                    )
                })?;
                By::Hash(Hmac::new_from_slice(key.as_bytes()).map_err(|why| why.to_string())?)
            }
        };
        let fields = fields.into_iter().map(|part| {
            let field = setup.part(&part);
            (part, field)
        });
        Ok(Self { finders, fields: fields.collect(), by, found: Vec::new() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut row = out.keep();
        for (part, field) in &self.fields {
            let Some(text) = record.get(*field) else { continue };
            find::all(&self.finders, text, &mut self.found);
            if self.found.is_empty() {
                continue;
            }
            let mut redacted = Vec::with_capacity(text.len());
            let mut at = 0;
            let mut json = Json::of(text);
            for found in &self.found {
                redacted.extend_from_slice(&text[at..found.start]);
                at = found.end;
                let (name, finder) = &self.finders[found.by];
                // A number of JSON becomes a text; for an own pattern, the mask says what it becomes.
                let is_number =
                    matches!(finder, Finder::Card) && json.is_outside_texts(found.start);
                if is_number {
                    if redacted.ends_with(b"-") {
                        redacted.pop();
                    }
                    redacted.push(b'"');
                }
                let same = finder.same(&text[found.start..found.end]);
                self.by.write(name, &same, &mut redacted);
                if is_number {
                    redacted.push(b'"');
                }
            }
            redacted.extend_from_slice(&text[at..]);
            row = row.part(part, redacted);
        }
        Ok(())
    }
}

/// Where in a text of JSON its texts are.
struct Json<'t> {
    /// What is not looked at yet; `None` if the record is no JSON.
    rest: Option<&'t [u8]>,
    at: usize,
    is_in_text: bool,
}

impl<'t> Json<'t> {
    fn of(text: &'t [u8]) -> Self {
        let is_json = matches!(text.trim_ascii().first(), Some(b'{' | b'['))
            && matches!(text.trim_ascii().last(), Some(b'}' | b']'))
            && text.contains(&b'"');
        Self { rest: is_json.then_some(text), at: 0, is_in_text: false }
    }

    /// Whether a byte is in none of the texts. Each place lies behind the one before.
    fn is_outside_texts(&mut self, place: usize) -> bool {
        let Some(text) = self.rest else { return false };
        while self.at < place {
            match text[self.at] {
                b'"' => self.is_in_text = !self.is_in_text,
                b'\\' if self.is_in_text => self.at += 1,
                _ => {}
            }
            self.at += 1;
        }
        !self.is_in_text
    }
}

/// Whether a pattern fits where there is no text, as `x*` and `\b` do.
fn may_be_empty(pattern: &str) -> bool {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
    parsed.is_ok_and(|parsed| parsed.properties().minimum_len() == Some(0))
}

impl By {
    fn write(&self, kind: &str, found: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Mask(pieces) => out.extend_from_slice(pieces.join(kind).as_bytes()),
            Self::Hash(mac) => {
                // 64 bits: two of a billion texts have the same with a chance of 3 per cent.
                const BYTES: usize = 8;
                let mut mac = mac.clone();
                mac.update(found);
                let hash = mac.finalize().into_bytes();
                let digits: String =
                    hash[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
                out.extend_from_slice(format!("[{kind}:{digits}]").as_bytes());
            }
        }
    }
}

pipehost_plugin::export!(Redact);

#[cfg(test)]
mod tests {
    use super::{By, Redact};
    use hmac::{Hmac, KeyInit as _};
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[track_caller]
    fn becomes(config: Value, text: &str, expected: &str) {
        let out = run::<Redact>(config, [record(text)]);
        assert_eq!(out.port("out"), [record(expected)]);
    }

    #[test]
    fn addresses_are_found() {
        for (text, expected) in [
            ("from jo.smith+x@mail.example.com, to", "from [email], to"),
            ("<a@b.c>", "<[email]>"),
            ("jürgen@bücher.example", "[email]"),
            ("user@localhost is none, @home neither", "user@localhost is none, @home neither"),
            (
                "a@b@c.d, x@y..z @ a@.b a@b.c-, “jo@x.org”",
                "a@[email], x@y..z @ a@.b [email]-, “[email]”",
            ),
            ("client 192.0.2.17:8080 and 10.0.0.1.", "client [ip]:8080 and [ip]."),
            ("oid 1.2.3.4.5.6, 999.1.1.1, 1.2.3", "oid 1.2.3.4.5.6, 999.1.1.1, 1.2.3"),
            // A port as tcpdump writes it.
            ("10.0.0.1.443 > 10.0.0.2.443", "[ip].443 > [ip].443"),
            ("1.10.0.0.1 ip_2001:db8::1", "[ip] ip_[ip]"),
            ("[2001:db8::1]:443 fe80::1%eth0 ::1", "[[ip]]:443 [ip]%eth0 [ip]"),
            ("at 12:30:45 std::fmt a:b ::", "at 12:30:45 std::fmt a:b ::"),
            ("::ffff:192.0.2.1 ::ffff:10.0.0.1:80", "[ip] [ip]:80"),
            ("src:10.0.0.1 host:192.168.1.7:443 ip_10.0.0.1", "src:[ip] host:[ip]:443 ip_[ip]"),
            ("src:2001:db8::1 :::1 dst=fe80::1.", "src:[ip] :[ip] dst=[ip]."),
            ("客户端10.0.0.1连接 “10.0.0.1”", "客户端[ip]连接 “[ip]”"),
            (" :10.0.0.1 .10.0.0.1 10.0.0.1..10.0.0.9", " :[ip] .[ip] [ip]..[ip]"),
            ("10.0.0.1:80:90 1:2:3:4:5:6:7:8:9", "[ip]:80:90 [ip]:9"),
            // What stands before an address stays.
            ("/reset?id=5&email=jo@example.com&x", "/reset?id=5&email=[email]&x"),
            ("level=info email=jo@example.com", "level=info email=[email]"),
            ("{'mail':'o'neil@x.org'}", "{'mail':'[email]'}"),
            ("?m=jo%40example.com&m=jo%2Bx%40example.com", "?m=[email]&m=[email]"),
            ("q=a%3Djo%40example.com 50%", "q=a%3D[email] 50%"),
            ("to \"john doe\"@example.com, \"\"@x.org", "to [email], \"\"@x.org"),
            ("..jo@x.org", "..[email]"),
        ] {
            becomes(json!({}), text, expected);
        }
    }

    /// Lines are redacted before JSON is parsed, too: what was JSON stays JSON.
    #[test]
    fn escapes_are_no_part_of_what_is_found() {
        for (text, expected) in [
            (r#"{"m":"hi\njo@example.com"}"#, r#"{"m":"hi\n[email]"}"#),
            (r#""\u003cjo@example.com\u003e""#, r#""\u003c[email]\u003e""#),
            (r#""line\n10.0.0.1 failed\t10.0.0.2""#, r#""line\n[ip] failed\t[ip]""#),
            (r#""\u002610.0.0.1 \u00264111111111111111""#, r#""\u0026[ip] \u0026[card]""#),
            (r#""{\"m\":\"a\\njo@x.org\"}""#, r#""{\"m\":\"a\\n[email]\"}""#),
            (r"\x22jo@x.org\x22 C:\2001:db8::1", r"\x22[email]\x22 C:\[ip]"),
        ] {
            becomes(json!({}), text, expected);
        }
    }

    /// A number stands for itself in JSON, and fractions and hexadecimal digits are no cards.
    #[test]
    fn numbers_of_json_become_texts_and_others_stay() {
        for (text, expected) in [
            (
                r#"{"card":4111111111111111,"n":[4111111111111111]}"#,
                r#"{"card":"[card]","n":["[card]"]}"#,
            ),
            (
                r#"{"m":"is, 4111111111111111, so","c":-4111111111111111}"#,
                r#"{"m":"is, [card], so","c":"[card]"}"#,
            ),
            (
                r#"{"a":0.4111111111111111,"b":4111111111111111.5,"c":4111111111111111e5}"#,
                r#"{"a":0.4111111111111111,"b":4111111111111111.5,"c":4111111111111111e5}"#,
            ),
            (
                "96c9b5e6-8b3c-4d75-86c7-411111111111 8142b6d4111111111111111",
                "96c9b5e6-8b3c-4d75-86c7-411111111111 8142b6d4111111111111111",
            ),
            ("[4111111111111111]", "[[card]]"),
            ("card4111111111111111", "card[card]"),
        ] {
            becomes(json!({}), text, expected);
        }
    }

    #[test]
    fn escapes_around_and_letters_of_other_languages() {
        for (text, expected) in [
            ("?q=client%2010.0.0.1&c=%224111111111111111%22", "?q=client%20[ip]&c=%22[card]%22"),
            (
                "msg#01110.0.0.1 #0124111111111111111 \\01110.0.0.1",
                "msg#011[ip] #012[card] \\011[ip]",
            ),
            (
                r#"{"to":"m\u00fc@example.com","b":"jo@b\u00fccher.de"}"#,
                r#"{"to":"[email]","b":"[email]"}"#,
            ),
            (r#"O\u0027Neil@x.org a\u003cb@x.org"#, r#"[email] a\u003c[email]"#),
            ("m%C3%BC%40example.com jo%40b%C3%BCcher.de", "[email] [email]"),
            ("संपर्क@डाटामेल.भारत, jo@my_host.example.com", "[email], [email]"),
        ] {
            becomes(json!({}), text, expected);
        }
        let out = run::<Redact>(json!({}), [record(b"to m\xfc@example.com")]);
        assert_eq!(out.port("out"), [record("to [email]")]);
    }

    #[test]
    fn what_is_written_in_several_ways_has_one_hash() {
        use super::find::{Finder, Kind};
        let same = |kind, text: &str| Finder::of(kind).same(text.as_bytes()).into_owned();
        assert_eq!(same(Kind::Email, "Jo%2BX%40Example.com"), b"jo+x@example.com");
        assert_eq!(same(Kind::Ip, "0:0:0:0:0:0:0:1"), b"::1");
        assert_eq!(same(Kind::Ip, "::ffff:10.0.0.1"), b"10.0.0.1");
        assert_eq!(same(Kind::Ip, "010.0.0.01"), b"10.0.0.1");
    }

    #[test]
    fn card_numbers_have_a_check_digit_that_is_right() {
        for (text, expected) in [
            ("4111111111111111", "[card]"),
            ("card 4111 1111 1111 1111, next", "card [card], next"),
            ("3782-822463-10005", "[card]"),
            ("6011000990139424 5555555555554444", "[card] [card]"),
            ("4111111111111112", "4111111111111112"),
            // Of 20 digits, and the time in milliseconds.
            ("41111111111111111111", "41111111111111111111"),
            ("1700000000004", "1700000000004"),
            ("order 17 4111 1111 1111 1111", "order 17 [card]"),
            ("id-4111111111111111x", "id-[card]x"),
            ("4111  1111  1111  1111", "4111  1111  1111  1111"),
            (" 4111-1111-1111-1111- ", " [card]- "),
            // With the date before it, the first twelve digits have a right check digit, too.
            ("2024-01-01 4111 1111 1111 1111", "2024-01-01 [card]"),
            ("2024-01-05 4111 1111 1111 1111", "[card]"),
        ] {
            becomes(json!({ "kinds": ["card"] }), text, expected);
        }
    }

    #[test]
    fn own_patterns_and_another_mask() {
        let config =
            json!({ "patterns": { "token": "tok_[a-z0-9]+" }, "kinds": [], "mask": "***" });
        becomes(config, "use tok_abc1 or a@b.c", "use *** or a@b.c");
        let config = json!({ "patterns": { "user": "user=[^ ]+" }, "mask": "<{kind}|{kind}>" });
        // Where two overlap, all of both goes.
        becomes(config, "user=a@b.c x", "<user|user> x");
        becomes(json!({ "patterns": { "x": "1111 .*" } }), "4111 1111 1111 1111 y", "[card]");
    }

    #[test]
    fn fields_that_are_named_are_redacted_and_no_others() {
        let config = json!({ "fields": ["client", "key"] });
        let given =
            record("a@b.c").key("a@b.c").attribute("client", "10.0.0.1").attribute("x", "10.0.0.1");
        let expected =
            record("a@b.c").key("[email]").attribute("client", "[ip]").attribute("x", "10.0.0.1");
        assert_eq!(run::<Redact>(config, [given, record("")]).port("out"), [expected, record("")]);
    }

    /// The expected hashes are those of `openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_hash_has_a_key_and_cards_are_hashed_by_their_digits() {
        let by = By::Hash(Hmac::new_from_slice(b"secret").unwrap());
        let mut out = Vec::new();
        by.write("email", b"a@b.c", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "[email:0ce3629b4ac1ef13]");
        let card = super::Finder::of(super::Kind::Card);
        assert_eq!(&*card.same(b"4111 1111-11"), b"4111111111");
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told = |config: Value, part: &str| {
            let refused = Opened::<Redact>::open(&config.to_string()).err().unwrap();
            assert!(refused.message.contains(part), "{}", refused.message);
        };
        told(json!({ "patterns": { "a": "(" } }), "`patterns.a`");
        told(json!({ "patterns": { "a": "x*" } }), "an empty text");
        told(json!({ "patterns": { "a": r"\b" } }), "an empty text");
        told(json!({ "patterns": { "email": "x" } }), "twice");
        told(json!({ "kinds": [] }), "nothing is looked for");
        told(json!({ "mask": "", "hash_key_env": "A" }), "either");
        told(json!({ "hash_key_env": "NO_SUCH_KEY" }), "NO_SUCH_KEY");
    }
}

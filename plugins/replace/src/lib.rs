use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};
use regex::bytes::Regex;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = []))]
pub struct Config {
    /// The regular expression (the syntax of Rust's `regex` crate) of what is replaced.
    pattern: String,
    /// What stands in its place. `$1` and `${name}` are groups of the pattern, `$$` is a dollar.
    with: String,
    /// Where: `value`, `key`, or attributes by their names.
    #[serde(default = "value")]
    fields: Vec<Part>,
    /// How often at most in each of them; without it, everywhere.
    most: Option<usize>,
}

fn value() -> Vec<Part> {
    vec![Part::Value]
}

/// What has nothing to replace stays as it is.
pub struct Replace {
    pattern: Regex,
    with: Vec<u8>,
    fields: Vec<(Part, Field)>,
    most: Option<usize>,
}

impl Stage for Replace {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let Config { pattern, with, fields, most } = config;
        let pattern = Regex::new(&pattern).map_err(|error| format!("`pattern`: {error}"))?;
        check_groups(&with, &pattern)?;
        if fields.is_empty() {
            return Err("`fields` is empty: say where to replace".into());
        }
        let most = match most {
            Some(0) => {
                return Err("`most` is at least 1; leave it out to replace everything".into());
            }
            most => most,
        };
        let fields = fields.into_iter().map(|part| {
            let field = setup.part(&part);
            (part, field)
        });
        Ok(Self { pattern, with: with.into_bytes(), fields: fields.collect(), most })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let mut row = out.keep();
        for (part, field) in &self.fields {
            let Some(text) = record.get(*field) else { continue };
            if let Some(text) = self.replaced(text) {
                row = row.part(part, text);
            }
        }
        Ok(())
    }
}

impl Replace {
    /// The text with what is replaced; `None` if nothing is.
    fn replaced(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut found = self.pattern.captures_iter(text);
        let mut replaced: Option<Vec<u8>> = None;
        let (mut at, mut count) = (0, 0);
        while self.most.is_none_or(|most| count < most)
            && let Some(groups) = found.next()
        {
            let whole = groups.get_match();
            // An empty text would be found between the bytes of a character.
            if whole.is_empty() && is_inside_a_character(text, whole.start()) {
                continue;
            }
            let replaced = replaced.get_or_insert_with(|| Vec::with_capacity(text.len()));
            replaced.extend_from_slice(&text[at..whole.start()]);
            groups.expand(&self.with, replaced);
            at = whole.end();
            count += 1;
        }
        let mut replaced = replaced?;
        replaced.extend_from_slice(&text[at..]);
        Some(replaced)
    }
}

/// Whether a character of UTF-8 begins before a byte and ends behind it.
fn is_inside_a_character(text: &[u8], at: usize) -> bool {
    let is_continuation = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    if !is_continuation(at) {
        return false;
    }
    let start = (at.saturating_sub(3)..at).rev().find(|at| !is_continuation(*at));
    start.is_some_and(|start| {
        let character = text[start..].utf8_chunks().next();
        let character = character.and_then(|chunk| chunk.valid().chars().next());
        character.is_some_and(|character| start + character.len_utf8() > at)
    })
}

/// Refuses a reference to a group that there is not: the library would put nothing there.
fn check_groups(with: &str, pattern: &Regex) -> Result<(), Error> {
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let name = match rest.strip_prefix('{') {
            Some(name) => name.split_once('}').map(|(name, _)| name),
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                Some(&rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())])
            }
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err("`with`: a `$` names no group; write `$$` for a dollar".into());
        };
        let is_there = match name.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|other| other == name),
        };
        if !is_there {
            return Err(format!(
                "`with` names the group `{name}`, which `pattern` does not have; write `${{1}}a` \
                 for a group with a letter behind it"
            )
            .into());
        }
    }
    Ok(())
}

pipehost_plugin::export!(Replace);

#[cfg(test)]
mod tests {
    use super::Replace;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::{Value, json};
    use pipehost_plugin::testing::{record, run};

    #[track_caller]
    fn becomes(config: Value, text: &str, expected: &str) {
        assert_eq!(run::<Replace>(config, [record(text)]).port("out"), [record(expected)]);
    }

    #[test]
    fn what_is_found_is_replaced_with_its_groups() {
        becomes(json!({ "pattern": "a", "with": "b" }), "banana", "bbnbnb");
        becomes(json!({ "pattern": "a", "with": "b", "most": 2 }), "banana", "bbnbna");
        let swap = json!({ "pattern": r"(\w+)@(?<host>\w+)", "with": "${host}_x at $1 $$" });
        becomes(swap, "to me@home", "to home_x at me $");
        becomes(json!({ "pattern": "x", "with": "" }), "no such", "no such");
        becomes(json!({ "pattern": "(?i)É", "with": "e" }), "éÉ", "ee");
        becomes(json!({ "pattern": "x*", "with": "-" }), "é日x", "-é-日-");
        let out = run::<Replace>(json!({ "pattern": "", "with": "-" }), [record(b"\x80\xc3")]);
        assert_eq!(out.port("out"), [record(b"-\x80-\xc3-")]);
    }

    #[test]
    fn parts_that_are_named_and_there_are_changed_and_no_others() {
        let config =
            json!({ "pattern": "a", "with": "b", "fields": ["key", "x", "attribute:value"] });
        let given = record("a").key("a").attribute("x", "aa").attribute("y", "a");
        let expected = record("a").key("b").attribute("x", "bb").attribute("y", "a");
        assert_eq!(
            run::<Replace>(config.clone(), [given, record("a")]).port("out"),
            [expected, record("a")]
        );
        let bytes = record("").key(b"\xffa\xfe").attribute("value", "a");
        let out = run::<Replace>(config, [bytes]);
        assert_eq!(out.port("out"), [record("").key(b"\xffb\xfe").attribute("value", "b")]);
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told = |config: Value, part: &str| {
            let refused = Opened::<Replace>::open(&config.to_string()).err().unwrap();
            assert!(refused.message.contains(part), "{}", refused.message);
        };
        told(json!({ "pattern": "(", "with": "" }), "`pattern`: regex parse error");
        told(json!({ "pattern": "(a)", "with": "$2" }), "group `2`");
        told(json!({ "pattern": "(a)", "with": "$1b" }), "group `1b`");
        told(json!({ "pattern": "a", "with": "5 $" }), "`$$` for a dollar");
        told(json!({ "pattern": "a", "with": "", "fields": [] }), "`fields` is empty");
        told(json!({ "pattern": "a", "with": "", "most": 0 }), "at least 1");
    }
}

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Part, Record, Rejection, Setup, Stage};
use regex::bytes::Regex;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("examples" = [{ "pattern": "^(?<level>[A-Z]+): (?<message>.*)$" }]))]
pub struct Config {
    /// A regular expression (the syntax of Rust's `regex` crate) with named groups, such as
    /// `(?<level>[A-Z]+)`.
    pattern: String,
    /// What is parsed: `value`, `key`, or an attribute by its name.
    #[serde(default)]
    from: Part,
    /// What happens to a record that the pattern does not match.
    #[serde(default)]
    unmatched: Unmatched,
}

#[derive(Deserialize, JsonSchema, Default, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
enum Unmatched {
    /// It is rejected.
    #[default]
    Reject,
    /// It goes on as it is.
    Keep,
}

/// Each named group that took part in the match becomes an attribute of its name.
pub struct ParseRegex {
    from: Field,
    pattern: Regex,
    /// The groups with a name, by their number.
    groups: Vec<(usize, String)>,
    keeps_unmatched: bool,
}

impl Stage for ParseRegex {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        setup.keeps_nothing();
        let pattern = Regex::new(&config.pattern).map_err(|error| format!("`pattern`: {error}"))?;
        let groups: Vec<_> = (pattern.capture_names().enumerate())
            .filter_map(|(number, name)| Some((number, name?.to_owned())))
            .collect();
        if groups.is_empty() {
            return Err(
                "`pattern` names no group: write (?<name>…) for what becomes an attribute".into()
            );
        }
        let from = setup.part(&config.from);
        Ok(Self { from, pattern, groups, keeps_unmatched: config.unmatched == Unmatched::Keep })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let text = record.get(self.from);
        let Some(captures) = text.and_then(|text| self.pattern.captures(text)) else {
            if !self.keeps_unmatched {
                return Err("the pattern does not match".into());
            }
            out.keep();
            return Ok(());
        };
        let mut row = out.keep();
        for (number, name) in &self.groups {
            if let Some(found) = captures.get(*number) {
                row = row.attribute(name, found.as_bytes());
            }
        }
        Ok(())
    }
}

pipehost_plugin::export!(ParseRegex);

#[cfg(test)]
mod tests {
    use super::ParseRegex;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{record, run};

    /// Of PostgreSQL's log, with `log_line_prefix = '%m [%p] %q%u@%d '`.
    const POSTGRES: &str = r"^(?<time>\S+ \S+ \S+) \[(?<pid>\d+)\] (?:(?<user>\S+)@(?<database>\S+) )?(?<level>[A-Z]+): +(?<message>.*)$";

    #[test]
    fn named_groups_become_attributes() {
        let lines = [
            "2024-02-29 12:00:00.123 UTC [41] app@shop ERROR:  relation \"x\" does not exist",
            "2024-02-29 12:00:01.000 UTC [1] LOG:  checkpoint starting: time",
            "not of postgres",
        ];
        let out = run::<ParseRegex>(json!({ "pattern": POSTGRES }), lines.map(record));
        let first = record(lines[0])
            .attribute("time", "2024-02-29 12:00:00.123 UTC")
            .attribute("pid", "41")
            .attribute("user", "app")
            .attribute("database", "shop")
            .attribute("level", "ERROR")
            .attribute("message", "relation \"x\" does not exist");
        let second = record(lines[1])
            .attribute("time", "2024-02-29 12:00:01.000 UTC")
            .attribute("pid", "1")
            .attribute("level", "LOG")
            .attribute("message", "checkpoint starting: time");
        assert_eq!(out.port("out"), [first, second]);
        assert_eq!(out.rejected, [(2, "the pattern does not match".to_owned())]);
    }

    #[test]
    fn another_part_is_parsed_and_what_does_not_match_may_go_on() {
        let config = json!({ "pattern": "(?<n>[0-9]+)", "from": "id", "unmatched": "keep" });
        let records =
            [record("7"), record("7").attribute("id", b"\xff8"), record("7").attribute("id", "x")];
        let out = run::<ParseRegex>(config, records.clone());
        let [none, one, other] = records;
        assert_eq!(out.port("out"), [none, one.attribute("n", "8"), other]);
    }

    #[test]
    fn mistakes_in_the_configuration_are_told() {
        let told = |pattern: &str| {
            let config = json!({ "pattern": pattern }).to_string();
            Opened::<ParseRegex>::open(&config).err().unwrap().message
        };
        assert!(told("(").contains("unclosed group"));
        assert!(told("(a)").contains("names no group"));
    }
}

//! What differs between two components.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::facts::{self, Facts};
use pipehost_record::foreign::Foreign;

/// What differs: a line for what is gone (`-`) and one for what is new (`+`).
pub(super) fn difference(old: &Facts, new: &Facts) -> String {
    if old.hash == new.hash {
        return "they are the same component\n".to_owned();
    }
    let (mut out, mut unknown) = (String::new(), String::new());
    let mut part = |name: &str, old: Vec<String>, new: Vec<String>| {
        let (before, after) = (BTreeSet::from_iter(&old), BTreeSet::from_iter(&new));
        if before == after {
            return;
        }
        let _ = writeln!(out, "{name}");
        for gone in old.iter().filter(|line| !after.contains(line)) {
            let _ = writeln!(out, "  - {}", Foreign::new(gone).whole());
        }
        for come in new.iter().filter(|line| !before.contains(line)) {
            let _ = writeln!(out, "  + {}", Foreign::new(come).whole());
        }
    };
    let one = |text: &str| vec![text.to_owned()];
    part(
        "name",
        one(&format!("{} {}", old.name, old.version)),
        one(&format!("{} {}", new.name, new.version)),
    );
    part("summary", one(&old.summary), one(&new.summary));
    part("exports", one(old.exports()), one(new.exports()));
    part("state", one(old.state()), one(new.state()));
    match (&old.plan, &new.plan) {
        (Ok(before), Ok(after)) => {
            // Their order counts: the first port is the default.
            part("ports", one(&before.ports.join(", ")), one(&after.ports.join(", ")));
            part("inputs", one(&before.inputs.join(", ")), one(&after.inputs.join(", ")));
            let columns = |plan| facts::reads(plan).split(", ").map(str::to_owned).collect();
            part("reads", columns(before), columns(after));
            part("keeps", one(&facts::keeps(before)), one(&facts::keeps(after)));
        }
        (Err(_), Err(why)) => {
            let why = Foreign::new(why);
            unknown = format!(
                "ports and columns read are not compared: they depend on the configuration; give it \
                 with --set NAME=VALUE\n  ({why})\n"
            );
        }
        (before, after) => {
            let told = |plan: &Result<_, String>| match plan {
                Ok(_) => "it opens with this configuration".to_owned(),
                Err(why) => why.clone(),
            };
            part("plan", vec![told(before)], vec![told(after)]);
        }
    }
    part("grants", one(&old.grants()), one(&new.grants()));
    part("imports", old.imports.clone(), new.imports.clone());
    part("configuration", leaves(&old.schema), leaves(&new.schema));
    if out.is_empty() && unknown.is_empty() {
        out.push_str("only their code differs\n");
    }
    out + &unknown
}

/// Each member of a schema that is no object, with the path to it.
fn leaves(schema: &Value) -> Vec<String> {
    fn add(path: &str, value: &Value, to: &mut Vec<String>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let path = if path.is_empty() { name } else { &format!("{path}.{name}") };
                    add(path, value, to);
                }
            }
            value => to.push(format!("{path}: {value}")),
        }
    }
    let mut all = Vec::new();
    add("", schema, &mut all);
    // A setting is not told by where the schema keeps it.
    for leaf in &mut all {
        if let Some(setting) = leaf.strip_prefix("properties.") {
            *leaf = setting.to_owned();
        }
    }
    all
}

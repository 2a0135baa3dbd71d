//! References in texts of a configuration: `${NAME}`, `${NAME:-default}`, `${file:PATH}`.
//!
//! They are replaced after the text is parsed as TOML: what they stand for can neither end a text
//! nor add a setting, and a mistake shows the reference.

use std::borrow::Cow;

use anyhow::Result;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table;
use crate::mistake::Mistake;

/// What a text refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'t> {
    /// An environment variable.
    Variable(&'t str),
    /// The content of a file.
    File(&'t str),
}

/// Gives what a reference stands for; `None` if that is not there.
///
/// # Errors
/// If it cannot be read; the message says why.
pub type Resolve<'r> = &'r mut dyn FnMut(&Reference<'_>) -> Result<Option<String>>;

/// Replaces all references in a table.
pub(super) fn expand(table: &mut DeTable<'_>, resolve: Resolve<'_>, mistakes: &mut Vec<Mistake>) {
    for (_, item) in table.iter_mut() {
        expand_item(item, resolve, mistakes);
    }
}

fn expand_item(item: &mut Spanned<DeValue<'_>>, resolve: Resolve<'_>, mistakes: &mut Vec<Mistake>) {
    let span = table::span(item);
    match item.get_mut() {
        DeValue::String(text) if text.contains("${") => match expanded(text, resolve) {
            Ok(Some(expanded)) => *text = Cow::Owned(expanded),
            Ok(None) => {}
            Err((message, help)) => mistakes.push(Mistake::new(span, message).help(help)),
        },
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                expand_item(item, resolve, mistakes);
            }
        }
        DeValue::Table(inner) => expand(inner, resolve, mistakes),
        _ => {}
    }
}

const ESCAPE: &str = "write $${ for a ${ that stays";

/// The text with what its references stand for; `None` if it has none. The error is a message and
/// what to do.
fn expanded(text: &str, resolve: Resolve<'_>) -> Result<Option<String>, (String, String)> {
    let mut out = String::new();
    let mut has_one = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            has_one = true;
            continue;
        }
        out.push_str(before);
        let Some((reference, default, behind)) = reference(&from[2..]) else {
            // Such as a group of a regular expression: `${1}`.
            out.push_str("${");
            rest = &from[2..];
            continue;
        };
        rest = behind;
        has_one = true;
        let shown = &from[..from.len() - behind.len()];
        match (resolve(&reference), default) {
            // As in a shell: what is empty is as if it were not there.
            (Ok(Some(value)), default) if !value.is_empty() || default.is_none() => {
                out.push_str(&value);
            }
            (Ok(_), Some(default)) => out.push_str(default),
            (Ok(_), None) => {
                let (Reference::Variable(name) | Reference::File(name)) = reference;
                let message = format!("{shown}: the environment variable `{name}` is not set");
                return Err((message, format!("set it, or write ${{{name}:-default}}; {ESCAPE}")));
            }
            (Err(why), _) => return Err((format!("{shown}: {why:#}"), ESCAPE.to_owned())),
        }
    }
    out.push_str(rest);
    Ok(has_one.then_some(out))
}

/// The reference that begins behind a `${`, its default, and what is behind it.
fn reference(text: &str) -> Option<(Reference<'_>, Option<&str>, &str)> {
    let (inner, behind) = text.split_once('}')?;
    if let Some(path) = inner.strip_prefix("file:") {
        return (!path.is_empty()).then_some((Reference::File(path), None, behind));
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let valid = name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(is_name);
    valid.then_some((Reference::Variable(name), default, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn resolve(reference: &Reference<'_>) -> Result<Option<String>> {
        match reference {
            Reference::Variable("HOST") => Ok(Some("db".to_owned())),
            Reference::Variable("EMPTY") => Ok(Some(String::new())),
            Reference::Variable(_) => Ok(None),
            Reference::File("key") => Ok(Some("s3cret\"\n".to_owned())),
            Reference::File(_) => bail!("it is not there"),
        }
    }

    #[test]
    fn references_are_replaced() {
        let text = |text| expanded(text, &mut resolve).unwrap();
        assert_eq!(text("http://${HOST}:${PORT:-80}/").unwrap(), "http://db:80/");
        assert_eq!(text("${file:key}").unwrap(), "s3cret\"\n");
        assert_eq!(text("${EMPTY:-none}${EMPTY}").unwrap(), "none");
        assert_eq!(text("${NONE:-}").unwrap(), "");
        assert_eq!(text("$${HOST} ${HOST}").unwrap(), "${HOST} db");
        for plain in ["$HOST", "{HOST}", "${1}x", "${a b}", "${", "${file:}"] {
            assert_eq!(text(plain), None, "{plain}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let told = |text| expanded(text, &mut resolve).unwrap_err();
        let (message, help) = told("x ${NONE}");
        assert_eq!(message, "${NONE}: the environment variable `NONE` is not set");
        assert!(help.contains("${NONE:-default}") && help.contains("$${"), "{help}");
        assert_eq!(told("${file:none}").0, "${file:none}: it is not there");
    }
}

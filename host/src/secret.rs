//! What of a configuration must not be shown beside a mistake in it: the values of
//! `grants.env`, and names and passwords in URLs. They are replaced byte by byte, so that
//! places stay where they are.

/// The quotes of texts of several lines.
const LONG: [&str; 2] = ["\"\"\"", "'''"];

/// The text of a configuration, fit to be shown.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut table_has_env = false;
    let mut rest = text;
    while !rest.is_empty() {
        let (statement, after) = rest.split_at(statement(rest));
        rest = after;
        let trimmed = statement.trim_start();
        if trimmed.starts_with('[') {
            table_has_env = has_env(trimmed);
            out.push_str(statement);
        } else {
            mask_values(statement, table_has_env, &mut out);
        }
    }
    in_urls(&out)
}

/// Whether `env` is one of the names in a key.
fn has_env(text: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(|name| name == "env")
}

/// The length of a statement: to the end of its line, or of the last line of its value. A
/// text that does not end is taken to end with its line.
fn statement(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let here = &text[at..];
        let long = LONG.into_iter().find(|quotes| here.starts_with(quotes));
        let c = here.chars().next().expect("there is more");
        if let Some(quotes) = long {
            at += quotes.len();
            at += text[at..].find(quotes).map_or(text.len() - at, |end| end + quotes.len());
            continue;
        }
        match c {
            '"' | '\'' => {
                at += 1 + text_length(&here[1..], c);
                continue;
            }
            '#' => {
                at += here.find('\n').unwrap_or(here.len());
                continue;
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            '\n' if depth == 0 => return at + 1,
            _ => {}
        }
        at += c.len_utf8();
    }
    text.len()
}

/// The length of a text and its closing quote; to the end of the line, if there is none.
fn text_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Masks what is behind each `=` once `env` was named.
fn mask_values(statement: &str, mut is_env: bool, out: &mut String) {
    let mut in_value = false;
    let mut at = 0;
    while at < statement.len() {
        let here = &statement[at..];
        let c = here.chars().next().expect("there is more");
        if c == '"' || c == '\'' {
            let long = LONG.into_iter().find(|quotes| here.starts_with(quotes));
            let length = match long {
                Some(quotes) => here[3..].find(quotes).map_or(here.len(), |end| end + 6),
                None => 1 + text_length(&here[1..], c),
            };
            let text = &here[..length];
            // A name in quotes may be `env`, too.
            is_env |= !in_value && text.trim_matches(['"', '\'']) == "env";
            if in_value && is_env {
                mask(text, out)
            } else {
                out.push_str(text)
            }
            at += length;
            continue;
        }
        match c {
            '=' => {
                is_env |= has_env(&statement[..at]);
                in_value = true;
                out.push(c);
            }
            '{' | '[' | ',' | '}' | ']' => {
                in_value &= c == '[' || c == ']';
                out.push(c);
            }
            c if in_value && is_env && !c.is_whitespace() => {
                mask(&here[..c.len_utf8()], out);
            }
            c => out.push(c),
        }
        at += c.len_utf8();
    }
}

fn mask(text: &str, out: &mut String) {
    out.extend(text.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }));
}

/// Masks what stands before the `@` of a URL.
pub fn in_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || ['/', '"', '\'', '`', '?', '#'].contains(&c);
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let user = authority.rfind('@').unwrap_or(0);
        mask(&authority[..user], &mut out);
        rest = &after[user..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let shown = masked(text);
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown.lines().count(), text.lines().count());
        assert!(shown.contains("plain"), "{shown}");
    }

    #[test]
    fn values_of_env_and_passwords_are_not_shown() {
        check("a = \"plain\"\ngrants = { env = { T = \"s3cret\" }, x = 1 }\n");
        check("a = \"plain\"\n[stage.grants]\nenv = { T = \"s3cret\", U = 's3cret' }\n");
        check(
            "[stage.grants.env]\nT = \"s3cret\"\nU = \"\"\"s3cret\n s3cret\"\"\"\n[x]\na = \"plain\"",
        );
        check("grants.env.T = \"s3cret\"\nb = \"plain\"");
        check("grants.\"env\" = { T = \"s3cret\" }\nb = \"plain\"");
        // Where a text does not end, what follows may belong to it.
        check("a = \"plain\"\n[stage.grants]\nenv = { T = \"s3cret\nb = \"c\"");
        check("[stage.grants]\nenv = { T = s3cret }\nb = \"plain\"");
        check("[stage.grants]\nenv = { T = [\"s3cret\"] }\nb = \"plain\"");
        check("url = \"ftp://s3cret:s3cret@plain/x\"");
        check("url = \"https://a@b:s3cret@plain\"");
    }

    #[test]
    fn all_else_is_shown() {
        let text = "[[stage]]\nname = \"a\" # it's\nplugin = 'b.wasm'\nenvironment = \"c\"\n\
                    [sink]\nurl = \"https://example.com/@x\"\nlist = [1, \"two\"]\n";
        assert_eq!(masked(text), text);
    }
}

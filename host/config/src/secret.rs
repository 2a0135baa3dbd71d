//! Hides secrets where a configuration is shown beside a mistake: the values of `grants.env` and of
//! `headers`, and user names and passwords in URLs. Each byte is replaced by one other, so that spans stay valid.

/// The quotes of multi-line strings.
const LONG: [&str; 2] = ["\"\"\"", "'''"];

/// The text of a configuration, without its secrets.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut table_has_env = false;
    let mut rest = text;
    while !rest.is_empty() {
        let is_head = rest.trim_start_matches([' ', '\t']).starts_with('[');
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let (statement, after) = rest.split_at(if is_head { line } else { statement(rest) });
        rest = after;
        let trimmed = statement.trim_start();
        if is_head {
            table_has_env = has_env(trimmed);
            out.push_str(statement);
        } else {
            mask_values(statement, table_has_env, &mut out);
        }
    }
    in_urls(&out)
}

/// Whether `env` or `headers` is one of the names in a key, or may be: with escapes, it can be written in many
/// ways.
fn has_env(text: &str) -> bool {
    text.contains('\\')
        || text
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .any(|name| ["env", "headers"].contains(&name))
}

/// The length of a statement: to the end of its line, or of the last line of its value. A string
/// that is not closed ends with its line.
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

/// The length of a string with its closing quote; to the end of the line, if there is none.
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

/// From the name `env` on, masks everything except names, which stand before a `=`.
fn mask_values(statement: &str, mut is_env: bool, out: &mut String) {
    let (mut at, mut in_value) = (0, false);
    while at < statement.len() {
        let here = &statement[at..];
        let length = token(here);
        let (token, after) = here.split_at(length);
        at += length;
        match token {
            "=" => in_value = true,
            "," | "{" | "}" => in_value = false,
            _ => {}
        }
        let is_name = !in_value && after.trim_start().starts_with(['=', '.']);
        let is_mark = token.chars().all(|c| "=,{}[].".contains(c) || c.is_whitespace());
        is_env |= is_name && has_env(token);
        if is_env && !is_name && !is_mark { mask(token, out) } else { out.push_str(token) }
    }
}

/// The length of the string, word or punctuation mark at the beginning.
fn token(text: &str) -> usize {
    let first = text.chars().next().expect("there is more");
    if let Some(quotes) = LONG.into_iter().find(|quotes| text.starts_with(quotes)) {
        return text[3..].find(quotes).map_or(text.len(), |end| end + 6);
    }
    let is_word = |c: char| !c.is_whitespace() && !"=,{}[].\"'".contains(c);
    match first {
        '"' | '\'' => 1 + text_length(&text[1..], first),
        c if is_word(c) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        c => c.len_utf8(),
    }
}

fn mask(text: &str, out: &mut String) {
    out.extend(text.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }));
}

/// Masks what is before the last `@` of a URL: a user name or password may contain a `/`, although
/// it should not.
pub fn in_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || ['"', '\'', '`'].contains(&c);
        let url = &after[..after.find(ends).unwrap_or(after.len())];
        // The digest of a component in a registry is no address.
        let before_digest = match url.rsplit_once("@sha256:") {
            Some((component, _)) if before.ends_with("oci://") => component,
            _ => url,
        };
        let user = before_digest.rfind('@').unwrap_or(0);
        mask(&url[..user], &mut out);
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
    fn a_digest_in_a_reference_is_no_password() {
        let reference = "oci://registry.example.com:5000/team/stage:1@sha256:0123";
        assert_eq!(in_urls(reference), reference);
        assert!(!in_urls("oci://u:s3cret@host/stage@sha256:0123").contains("s3cret"));
        assert!(!in_urls("http://u:s3cret@sha256:0123@host").contains("s3cret"));
    }

    #[test]
    fn values_of_env_and_passwords_are_not_shown() {
        check("a = \"plain\"\ngrants = { env = { T = \"s3cret\" }, x = 1 }\n");
        check("a = \"plain\"\n[stage.grants]\nenv = { T = \"s3cret\", U = 's3cret' }\n");
        check(
            "[stage.grants.env]\nT = \"s3cret\"\nU = \"\"\"s3cret\n s3cret\"\"\"\n[x]\na = \"plain\"",
        );
        check("[[stage.grants.http]]\nurl = \"plain\"\nheaders = { authorization = \"s3cret\" }\n");
        check("[stage.grants.http.headers]\nauthorization = \"s3cret\"\n[x]\na = \"plain\"");
        check("grants.env.T = \"s3cret\"\nb = \"plain\"");
        check("grants.\"env\" = { T = \"s3cret\" }\nb = \"plain\"");
        // After a string that is not closed, the rest may belong to it.
        check("a = \"plain\"\n[stage.grants]\nenv = { T = \"s3cret\nb = \"c\"");
        check("[stage.grants]\nenv = { T = s3cret }\nb = \"plain\"");
        check("[stage.grants]\nenv = { T = [\"s3cret\"] }\nb = \"plain\"");
        check("url = \"ftp://s3cret:s3cret@plain/x\"");
        check("url = \"https://a@b:s3cret@plain\"");
        check("url = \"http://user:s3cret/x@plain:99999/\"");
        check("url = \"http://user:s3cret?x@plain/\"");
        for line in ["T : \"s3cret\"", "T \"s3cret\"", "\"s3cret\"", "T = s3cret.s3cret"] {
            check(&format!("a = \"plain\"\n[stage.grants.env]\n{line}\nU = 1"));
        }
        check("a = \"plain\"\n[stage.grants.env\nT = \"s3cret\"");
        check("a = \"plain\"\n[stage.grants]\nenv = { T = \"ok\", \"s3cret\" }");
        check("a = \"plain\"\n[stage.grants]\n\"\\u0065nv\" = { T = \"s3cret\", U = 1 }");
    }

    #[test]
    fn all_else_is_shown() {
        let text = "[[stage]]\nname = \"a\" # it's\nplugin = 'b.wasm'\nenvironment = \"c\"\n\
                    [sink]\nurl = \"https://example.com/x\"\nlist = [1, \"two\"]\n";
        assert_eq!(masked(text), text);
    }
}

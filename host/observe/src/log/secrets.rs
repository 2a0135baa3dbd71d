//! Texts that nobody may see: messages show what they are called instead.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::RwLock;

use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use pipehost_record::foreign::Foreign;

/// Shorter texts are shown: they are everywhere.
const SHORTEST: usize = 4;

/// Secrets in each form in which a message may have them, the longest first: one may be a part of
/// another. Each with what is shown in its place.
static HIDDEN: RwLock<Vec<(String, String)>> = RwLock::new(Vec::new());

/// Never shows a text or one of its lines from now on, but `shown` in its place. Texts of less than
/// four bytes are shown.
pub fn hide(text: &str, shown: &str) {
    let mut hidden = HIDDEN.write().expect("nobody panics here");
    let mut all: BTreeMap<String, String> = hidden.drain(..).collect();
    for text in std::iter::once(text).chain(text.lines().map(str::trim)) {
        for form in forms(text) {
            all.entry(form).or_insert_with(|| shown.to_owned());
        }
    }
    *hidden = all.into_iter().collect();
    hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
}

/// A text as it is, in Rust's `Debug` form, in JSON, in JSON within JSON (such as what a stage says of
/// its input), in a URL, and as what strangers write.
fn forms(text: &str) -> Vec<String> {
    if text.len() < SHORTEST {
        return Vec::new();
    }
    let unquoted = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
    let in_json = |text: &str| unquoted(Value::from(text).to_string());
    let in_form: String = byte_serialize(text.as_bytes()).collect();
    let in_url = in_form.replace('+', "%20");
    vec![
        text.to_owned(),
        unquoted(format!("{text:?}")),
        in_json(text),
        in_json(&in_json(text)),
        // RFC 3986, section 2.3.
        in_url.replace("%7E", "~").replace('*', "%2A"),
        in_url,
        in_form,
        Foreign::new(text).whole().to_string(),
    ]
}

/// A text with names in place of secrets.
pub fn masked(text: &str) -> Cow<'_, str> {
    let hidden = HIDDEN.read().expect("nobody panics here");
    let mut text = Cow::Borrowed(text);
    for (secret, shown) in &*hidden {
        if text.contains(secret) {
            text = text.replace(secret, shown).into();
        }
    }
    text
}

/// A line of the log in JSON with names in place of secrets. What a field is called stays: it does
/// not come from a secret, and a secret may have the same text.
pub(super) fn masked_json(line: &str) -> Cow<'_, str> {
    if HIDDEN.read().expect("nobody panics here").is_empty() {
        return line.into();
    }
    let Ok(mut event) = serde_json::from_str::<Value>(line) else { return masked(line) };
    const OWN: [&str; 3] = ["timestamp", "level", "target"];
    if let Value::Object(fields) = &mut event {
        let fields = fields.iter_mut().filter(|(name, _)| !OWN.contains(&&***name));
        fields.for_each(|(_, value)| mask_texts(value));
    }
    (event.to_string() + "\n").into()
}

fn mask_texts(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = masked(text) {
                *text = masked;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_texts),
        Value::Object(members) => members.values_mut().for_each(mask_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_every_form_and_no_name_of_a_field_is() {
        hide("pass \"word\"\u{7}", "${A}");
        hide("-----BEGIN-----\nline-of-key\n", "${file:key}");
        hide("message", "${B}");
        hide("abc", "${C}");
        for text in [
            "pass \"word\"\u{7}",
            r#"pass \"word\"\u{7}"#,
            r#"pass \"word\"\u0007"#,
            "pass+%22word%22%07",
            "pass%20%22word%22%07",
            r#"pass \\\"word\\\"\\u0007"#,
        ] {
            assert_eq!(masked(text), "${A}", "{text}");
        }
        assert_eq!(masked("at line-of-key, abc"), "at ${file:key}, abc");
        let line = "{\"level\":\"message\",\"fields\":{\"message\":\"a message\",\"n\":1}}\n";
        let shown = "{\"level\":\"message\",\"fields\":{\"message\":\"a ${B}\",\"n\":1}}\n";
        assert_eq!(masked_json(line), shown);
    }
}

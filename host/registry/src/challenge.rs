//! What a registry asks for: the header `WWW-Authenticate`.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a client must say who it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// With a user and a password.
    Basic,
    /// With a token that another address gives out.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The first challenge that can be met; a token comes before a password.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|text| text.to_str().ok());
        let challenges = texts.filter_map(parse).collect::<Vec<_>>();
        let bearer = challenges.iter().position(|challenge| *challenge != Self::Basic);
        challenges.into_iter().nth(bearer.unwrap_or(0))
    }
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest.trim_start_matches([' ', ',']);
    while let Some((name, behind)) = rest.split_once('=') {
        let (value, behind) = value(behind)?;
        match name.trim() {
            name if name.eq_ignore_ascii_case("realm") => realm = Some(value),
            name if name.eq_ignore_ascii_case("service") => service = Some(value),
            _ => {}
        }
        rest = behind.trim_start_matches([' ', ',']);
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// A value, in quotes or not, and what comes behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            let (realm, service) = (realm.to_owned(), service.map(str::to_owned));
            Some(Challenge::Bearer { realm, service })
        };
        for (text, expected) in [
            (
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a:pull""#,
                bearer("https://ghcr.io/token", Some("ghcr.io")),
            ),
            (r#"bearer scope="a,b=c" , REALM="x\"y""#, bearer("x\"y", None)),
            ("Bearer realm=x, service=y", bearer("x", Some("y"))),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            ("Bearer", None),
            (r#"Bearer realm="x"#, None),
            (r#"Bearer realm="x\"#, None),
            ("Bearer =,=,=", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_comes_before_a_password() {
        let mut headers = HeaderMap::new();
        for text in ["Negotiate", "Basic", "Bearer realm=x"] {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        assert!(matches!(Challenge::of(&headers), Some(Challenge::Bearer { .. })));
    }
}

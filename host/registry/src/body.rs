//! What a registry answers, up to a limit.

use reqwest::Response;
use serde::Deserialize;

use crate::error::{Error, What};

/// The most bytes that are read of an error, and that are shown.
const ERROR: u64 = 16 << 10;
const SHOWN: usize = 300;

/// Reads a body up to a limit. What the answer says about its length only makes a refusal quicker.
///
/// There is no compression: the client does not offer it, so that bytes are bytes.
///
/// # Errors
/// If it is larger, or the connection ends first.
pub(crate) async fn read(
    mut response: Response,
    limit: u64,
    what: What,
    host: &str,
) -> Result<Vec<u8>, Error> {
    let too_large = || Error::TooLarge { what, from: host.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| connection(host, &error))? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The error of an answer that is none of the expected ones.
pub(crate) async fn refusal(response: Response, host: &str) -> Error {
    let status = response.status().as_u16();
    let mut url = response.url().clone();
    // It may have a signature that lets its reader in.
    url.set_query(None);
    let body = read(response, ERROR, What::Manifest, host).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) if !errors.is_empty() => {
            let Described { code, message } = &errors[0];
            message.as_ref().map_or(code.clone(), |message| format!("{code}: {message}"))
        }
        _ => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Error::Status { url: url.into(), status, text: text.chars().take(SHOWN).collect() }
}

/// The error of a connection, with all its causes.
pub(crate) fn connection(host: &str, error: &reqwest::Error) -> Error {
    let silent = error.is_timeout().then(|| "it was silent for too long".to_owned());
    let mut why = silent.unwrap_or_default();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !why.is_empty() {
            why.push_str(": ");
        }
        why.push_str(&error.to_string());
        cause = error.source();
    }
    Error::Connection { host: host.to_owned(), why }
}

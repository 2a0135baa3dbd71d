//! Answers of a test case, instead of those of servers.

use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Exchanged, whole};
use pipehost_config::grants::Answer;

/// The answer to a request: the first that fits.
pub(super) async fn answer(
    answers: &[Answer],
    request: http::Request<WasiBody>,
) -> Result<Exchanged, Error> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let fits = |answer: &&Answer| answer.url == url && answer.method == parts.method.as_str();
    let Some(answer) = answers.iter().find(fits) else {
        let text = format!("the case has no answer to {} {url}", parts.method);
        return Err(Error::InternalError(Some(text)));
    };
    let sent = body.collect().await?.to_bytes();
    if answer.wants.as_deref().is_some_and(|wants| wants != sent) {
        let text = format!("{} {url} does not have the body that the case wants", parts.method);
        return Err(Error::InternalError(Some(text)));
    }
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let response = response.body(whole(answer.body.clone()));
    let response = response.map_err(|error| Error::InternalError(Some(error.to_string())))?;
    Ok((response, Box::new(async { Ok(()) })))
}

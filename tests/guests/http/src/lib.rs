//! Sends the request that each record names, such as `GET http://127.0.0.1:80/path BODY`, and answers
//! the status and the body of the response.

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{Error, Field, Out, Record, Rejection, Setup, Stage};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {}

pub struct HttpGuest {
    value: Field,
    /// Responses that are held open.
    held: Vec<IncomingResponse>,
}

impl Stage for HttpGuest {
    type Config = Config;

    fn open(_: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self { value: setup.value(), held: Vec::new() })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let line = String::from_utf8_lossy(record.get(self.value).unwrap_or_default()).into_owned();
        let mut words = line.splitn(3, ' ');
        let (verb, url) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let response = send(verb, url, words.next().unwrap_or("").as_bytes())?;
        if verb == "HOLD" {
            self.held.push(response);
            out.keep().value(format!("held {}", self.held.len()));
            return Ok(());
        }
        let status = response.status();
        let body = read(&response)?;
        out.keep().value([status.to_string().as_bytes(), b" ", &body].concat());
        Ok(())
    }
}

fn send(verb: &str, url: &str, body: &[u8]) -> Result<IncomingResponse, Rejection> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let headers = Fields::new();
    headers.append("authorization", b"of the guest").map_err(said)?;
    let request = OutgoingRequest::new(headers);
    let method = match verb {
        "POST" => Method::Post,
        "GET" | "HOLD" => Method::Get,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "set_method")?;
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "set_scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "set_authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "set_path")?;
    let outgoing = request.body().map_err(|()| "body")?;
    let response = handle(request, None).map_err(said)?;
    {
        let stream = outgoing.write().map_err(|()| "write")?;
        for chunk in body.chunks(4096) {
            stream.blocking_write_and_flush(chunk).map_err(said)?;
        }
    }
    OutgoingBody::finish(outgoing, None).map_err(said)?;
    response.subscribe().block();
    let response = response.get().ok_or("it is ready")?.map_err(|()| "once")?;
    response.map_err(said)
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, Rejection> {
    let body: IncomingBody = response.consume().map_err(|()| "consume")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(match code {
                    Some(code) => said(code),
                    None => error.to_debug_string().into(),
                });
            }
        }
    }
}

fn said(error: impl std::fmt::Debug) -> Rejection {
    Rejection::new(format!("{error:?}"))
}

pipehost_plugin::export!(HttpGuest);

//! Batches that are posted.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode};

use crate::codec;
use crate::config::{Encoding, HttpSink as Config};
use crate::engine::content_hash;
use crate::record::Batch;

/// What is told of an answer that is no success.
const EXCERPT: usize = 200;
/// A server that says to come back later than this is not obeyed so long.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub struct HttpSink {
    name: Arc<str>,
    /// Different in each run.
    run: u64,
    /// Batches so far.
    batches: u64,
    config: Config,
    client: Client,
    token: Option<String>,
}

/// Why a request did not go through.
enum Refused {
    /// It may the next time, after so long if the server says so.
    ForNow(String, Option<Duration>),
    ForGood(String),
}

impl HttpSink {
    pub(super) fn open(name: Arc<str>, config: &Config) -> Result<Self, String> {
        super::use_ring();
        let mut client = Client::builder()
            .timeout(config.timeout)
            // A redirect may turn the request into one without a body.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pipehost/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.ca {
            let pem = std::fs::read(path)
                .map_err(|error| super::file_source::cannot_read(path, &error))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("{} has no certificates: {error}", path.display()))?;
            client = client.tls_certs_merge(certificates);
        }
        let token = config.token_env.as_deref().map(super::token).transpose()?;
        let client =
            client.build().map_err(|error| format!("cannot make a client: {}", whole(&error)))?;
        Ok(Self { name, run: fastrand::u64(..), batches: 0, config: config.clone(), client, token })
    }

    /// Posts a batch until it is taken.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let mut body = Vec::new();
        codec::encode(&self.config.encoding, batch, &mut body);
        self.batches += 1;
        let key = self.idempotency_key();
        let body = bytes::Bytes::from(body);
        let attempts = self.config.retry.attempts;
        for attempt in 1.. {
            let (why, after) = match self.post(body.clone(), &key).await {
                Ok(()) => return Ok(()),
                Err(Refused::ForGood(why)) => return Err(why),
                Err(Refused::ForNow(why, _)) if attempt >= attempts => {
                    return Err(format!("{why}, after {attempts} attempts"));
                }
                Err(Refused::ForNow(why, after)) => (why, after),
            };
            let wait = after.unwrap_or_else(|| self.config.retry.delay(attempt + 1));
            tracing::warn!("sink `{}`: {why}; again in {wait:?}", self.name);
            tokio::time::sleep(wait).await;
        }
        unreachable!("the last attempt returns")
    }

    async fn post(&self, body: bytes::Bytes, key: &str) -> Result<(), Refused> {
        let (url, shown) = (self.config.url.value.clone(), self.config.shown());
        let content = match self.config.encoding {
            Encoding::Lines(_) => "text/plain; charset=utf-8",
            Encoding::Json => "application/x-ndjson",
            Encoding::Frames => "application/octet-stream",
        };
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, content)
            .header("idempotency-key", key)
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            Refused::ForNow(
                format!("cannot post to {shown}: {}", whole(&error.without_url())),
                None,
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let for_now = status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        let after = retry_after(&response);
        let why = format!("{shown} answers {status}{}", excerpt(response).await);
        Err(if for_now { Refused::ForNow(why, after) } else { Refused::ForGood(why) })
    }

    /// The same whenever this batch is posted again, and that of no other batch.
    fn idempotency_key(&self) -> String {
        let key = format!("{} {:016x} {}", self.name, self.run, self.batches);
        content_hash(key.as_bytes())[..32].to_owned()
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(date - jiff::Timestamp::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

async fn excerpt(response: Response) -> String {
    let body = response.text().await.unwrap_or_default();
    let line = body.lines().next().unwrap_or_default();
    let text: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// An error with its causes: the first says little.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

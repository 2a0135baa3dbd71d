//! Posts batches.

use anyhow::{Context as _, Result, anyhow};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode};

use crate::compressed::compress;
use crate::connector::{SinkConnector, SinkError};
use pipehost_config::{Compression, Encoding, HttpSink as Config};
use pipehost_files::content_hash;
use pipehost_observe::metrics::{Activity, NodeMetrics};
use pipehost_record::foreign::Foreign;
use pipehost_record::{Batch, Rejected};

/// The most characters of an error response that are reported.
const EXCERPT: usize = 200;
/// The longest `Retry-After` that is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub struct HttpSink {
    name: Arc<str>,
    /// Random, different in each run.
    run: u64,
    /// Batches so far.
    batches: u64,
    /// Of the last request.
    attempts: u32,
    metrics: Arc<NodeMetrics>,
    config: Config,
    client: Client,
    token: Option<String>,
}

/// Why a request failed.
enum PostError {
    /// A retry may succeed, after this time if the server names one.
    ForNow(String, Option<Duration>),
    /// A retry cannot succeed. The flag: the content is refused, so that a part of it may succeed.
    ForGood(String, bool),
}

impl HttpSink {
    pub(crate) fn open(name: Arc<str>, config: &Config, metrics: Arc<NodeMetrics>) -> Result<Self> {
        super::use_ring();
        let mut client = Client::builder()
            .timeout(config.timeout)
            // A redirect may turn the request into one without a body.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pipehost/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.ca {
            let pem = std::fs::read(path)
                .map_err(|error| pipehost_files::paths::cannot_read(path, &error))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} has no certificates", path.display()))?;
            client = client.tls_certs_merge(certificates);
        }
        let token = config.token_env.as_deref().map(super::token).transpose()?;
        let client =
            client.build().map_err(|error| anyhow!("cannot make a client: {}", whole(&error)))?;
        let (run, config) = (fastrand::u64(..), config.clone());
        Ok(Self { name, run, batches: 0, attempts: 0, metrics, config, client, token })
    }

    /// Posts a batch until it is accepted. With `refusals`, a batch whose content is refused is
    /// split until the faulty records stand alone.
    async fn post_batch(&mut self, batch: &Batch, refusals: bool) -> Result<Vec<Rejected>> {
        self.batches += 1;
        let mut rejected = Vec::new();
        // Row ranges still to post, as start and exclusive end; the last one comes next.
        let mut pending = vec![(0, batch.len)];
        while let Some((start, end)) = pending.pop() {
            let is_whole = end - start == batch.len;
            let part = if is_whole { batch.clone() } else { batch.slice(start..end) };
            let (why, attempts, of_records) =
                match self.deliver(&part, &self.idempotency_key(start, end, is_whole)).await {
                    Ok(()) => continue,
                    Err(PostError::ForNow(why, _)) if refusals => (why, self.attempts, false),
                    Err(PostError::ForNow(why, _)) => return Err(anyhow!(why)),
                    Err(PostError::ForGood(why, of_records)) if refusals => (why, 1, of_records),
                    Err(PostError::ForGood(why, _)) => return Err(anyhow!(why)),
                };
            if of_records && end - start > 1 {
                let middle = start + (end - start) / 2;
                pending.extend([(middle, end), (start, middle)]);
                continue;
            }
            let why: Arc<str> = why.into();
            let row = |row| Rejected { row, reason: why.clone(), retryable: false, attempts };
            rejected.extend((start..end).map(row));
        }
        Ok(rejected)
    }

    /// Posts a part of a batch, and retries as long as that may help.
    async fn deliver(&mut self, part: &Batch, key: &str) -> Result<(), PostError> {
        let (encoding, part) = (self.config.encoding.clone(), part.clone());
        let compression = self.config.compression;
        // On a blocking thread: a batch can become much text.
        let body = tokio::task::spawn_blocking(move || {
            let mut body = Vec::new();
            pipehost_codec::begin(&encoding, &mut body);
            pipehost_codec::encode(&encoding, &part, &mut body);
            match compression {
                None => body,
                Some(compression) => compress(compression, &body).expect("a vector takes all"),
            }
        });
        let body = bytes::Bytes::from(body.await.expect("encoding does not panic"));
        for attempt in 1.. {
            self.attempts = attempt;
            let (why, after) = match self.post(body.clone(), key).await {
                Err(PostError::ForNow(why, after)) => (why, after),
                ended => return ended,
            };
            if self.config.retry.is_over(attempt) {
                return Err(PostError::ForNow(format!("{why}, after {attempt} attempts"), None));
            }
            self.metrics.retries.inc_by(1);
            // The server may lengthen our delay, but not shorten it.
            let wait = self.config.retry.delay(attempt + 1).max(after.unwrap_or_default());
            tracing::warn!("sink `{}`: {why}; retrying in {wait:?}", self.name);
            // Its caller counts all of a write as work.
            let _waits = self.metrics.interrupt(Activity::Working, Activity::WaitingToRetry);
            tokio::time::sleep(wait).await;
        }
        unreachable!("attempts do not end by themselves")
    }

    async fn post(&self, body: bytes::Bytes, key: &str) -> Result<(), PostError> {
        let (url, shown) = (self.config.url.value.clone(), self.config.shown());
        let content = match self.config.encoding {
            Encoding::Lines(_) => "text/plain; charset=utf-8",
            Encoding::Json(_) => "application/x-ndjson",
            Encoding::Csv(_) => "text/csv; charset=utf-8",
            Encoding::Frames => "application/octet-stream",
        };
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, content)
            .header("idempotency-key", key)
            .body(body);
        if let Some(compression) = self.config.compression {
            let name = match compression {
                Compression::Gzip => "gzip",
                Compression::Zstd => "zstd",
            };
            request = request.header(CONTENT_ENCODING, name);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            PostError::ForNow(
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
        let of_records = [
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]
        .contains(&status);
        let why = format!("{shown} answers {status}{}", excerpt(response).await);
        Err(if for_now {
            PostError::ForNow(why, after)
        } else {
            PostError::ForGood(why, of_records)
        })
    }

    /// The same whenever these rows are posted again, and different for all others.
    fn idempotency_key(&self, start: usize, end: usize, is_whole: bool) -> String {
        let mut key = format!("{} {:016x} {}", self.name, self.run, self.batches);
        if !is_whole {
            key.push_str(&format!(" {start} {end}"));
        }
        content_hash(key.as_bytes())[..32].to_owned()
    }
}

impl SinkConnector for HttpSink {
    async fn write(&mut self, batch: &Batch, refusals: bool) -> Result<Vec<Rejected>, SinkError> {
        self.post_batch(batch, refusals).await.map_err(SinkError::Failed)
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date in any of its three forms.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The first line of a response, of which it reads little more than that.
async fn excerpt(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < 4 * EXCERPT && !body.contains(&b'\n') {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(4 * EXCERPT)]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    let line: String = text.lines().next().unwrap_or_default().chars().take(EXCERPT).collect();
    if line.is_empty() { line } else { format!(": {}", Foreign::new(&line)) }
}

/// An error with all its causes: the outermost message says little.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

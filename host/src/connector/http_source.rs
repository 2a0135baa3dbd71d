//! Records that are posted.
//!
//! The answer says what happened: 200 once the records are durable (202 once they are in
//! the pipeline, if the configuration asks for no more), 400 with what is wrong with each
//! record that does not decode (none is taken then), 401, 413, 429 with `Retry-After`
//! while the pipeline does not keep up, 503 if it ended before anything was known of the
//! records: they may be sent again, and may then be there twice.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use http_body_util::LengthLimitError;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::codec::{Decoded, Decoder, Undecodable};
use crate::config::{Ack, DecodeFormat, Decoding, HttpSource as Config};
use crate::pipeline::Acknowledgements;
use crate::record::{Batch, BatchBuilder, MAX_ATTRIBUTES};

/// How long requests that are under way may take once the source has ended.
const GRACE: Duration = Duration::from_secs(5);
/// How long a body may take: meanwhile it has the place of another.
const SLOWEST: Duration = Duration::from_secs(30);
/// Records that do not decode and are told of.
const TOLD: usize = 10;

/// A body that was decoded.
struct Delivery {
    batch: Batch,
    /// Told once the records are what the configuration asks for.
    done: oneshot::Sender<()>,
}

pub struct HttpSource {
    deliveries: mpsc::Receiver<Delivery>,
    ack: Ack,
    current: Option<Delivery>,
    /// Rows of the current batch that were given.
    given: usize,
    number: u64,
    place: Arc<str>,
    /// Those whose records were given since the last cut.
    waiting: Vec<oneshot::Sender<()>>,
    acknowledgements: Acknowledgements,
    server: JoinHandle<std::io::Result<()>>,
    handle: axum_server::Handle<std::net::SocketAddr>,
}

struct Shared {
    decoding: Decoding,
    max_body: usize,
    deliveries: mpsc::Sender<Delivery>,
    /// SHA-256 of the token: comparing digests takes the same time whatever is wrong.
    token: Option<[u8; 32]>,
    ack: Ack,
}

impl HttpSource {
    /// Listens. Must be called within a runtime.
    pub(super) fn open(
        config: &Config,
        acknowledgements: Acknowledgements,
    ) -> Result<Self, String> {
        let token = match &config.token_env {
            None => None,
            Some(name) => Some(Sha256::digest(super::token(name)?).into()),
        };
        let tls = config.tls.as_ref().map(load_tls).transpose()?;
        let cannot = |error: std::io::Error| format!("cannot listen at {}: {error}", config.listen);
        let listener = TcpListener::bind(config.listen).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("taking records at {scheme}://{bound}{}", config.path);
        let (send, deliveries) = mpsc::channel(config.queue);
        let shared = Arc::new(Shared {
            decoding: config.codec.clone(),
            max_body: config.max_body_bytes,
            deliveries: send,
            token,
            ack: config.ack,
        });
        let service =
            Router::new().route(&config.path, post(take)).with_state(shared).into_make_service();
        let handle = axum_server::Handle::new();
        let server = match tls {
            None => {
                let server = axum_server::from_tcp(listener).map_err(cannot)?;
                tokio::spawn(server.handle(handle.clone()).serve(service))
            }
            Some(tls) => {
                let server = axum_server::from_tcp_rustls(listener, tls).map_err(cannot)?;
                tokio::spawn(server.handle(handle.clone()).serve(service))
            }
        };
        Ok(Self {
            deliveries,
            ack: config.ack,
            current: None,
            given: 0,
            number: 0,
            place: "http".into(),
            waiting: Vec::new(),
            acknowledgements,
            server,
            handle,
        })
    }

    pub(super) async fn ready(&mut self) -> bool {
        if self.current.is_none() {
            self.current = self.deliveries.recv().await;
        }
        self.current.is_some()
    }

    pub(super) fn fill(&mut self, out: &mut Decoded, full: impl Fn(&BatchBuilder) -> bool) {
        let Some(Delivery { batch, .. }) = &self.current else { return };
        while self.given < batch.len && !full(&out.batch) {
            let row = self.given;
            self.given += 1;
            self.number += 1;
            out.batch.push_row(&self.place, self.number, batch, row);
        }
        if self.given < batch.len {
            return;
        }
        self.given = 0;
        let Some(Delivery { done, .. }) = self.current.take() else { return };
        match self.ack {
            Ack::Queued => drop(done.send(())), // Who has hung up does not want to know.
            Ack::Durable => {
                self.waiting.push(done);
                self.acknowledgements.demand();
            }
        }
    }

    /// Answers, once the cut is written, those whose records are in it.
    pub(super) fn cut(&mut self, number: u64) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let mut acknowledgements = self.acknowledgements.clone();
        tokio::spawn(async move {
            if acknowledgements.durable(number).await.is_ok() {
                for done in waiting {
                    let _ = done.send(());
                }
            }
        });
    }

    /// Takes nothing more, and waits until all that was taken is answered.
    pub(super) async fn close(self) {
        drop(self.deliveries); // Who waits for a place learns that there is none.
        self.handle.graceful_shutdown(Some(GRACE));
        let _ = self.server.await;
    }
}

fn load_tls(tls: &crate::config::Tls) -> Result<RustlsConfig, String> {
    super::use_ring();
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| super::file_source::cannot_read(path, &error))
    };
    let (cert, key) = (read(&tls.cert)?, read(&tls.key)?);
    // It only parses: there is nothing to wait for.
    let parsed = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(RustlsConfig::from_pem(cert, key))
    });
    parsed.map_err(|error| {
        format!("cannot use {} and {}: {error}", tls.cert.display(), tls.key.display())
    })
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    if let Some(token) = &shared.token {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        if given.map(|given| Sha256::digest(given).into()) != Some(*token) {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n")
                .into_response();
        }
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let text = "a body is taken as it is: send it without Content-Encoding\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    // A place first: bodies that nobody can take are not read.
    let place = match shared.deliveries.try_reserve() {
        Ok(place) => place,
        Err(mpsc::error::TrySendError::Full(())) => {
            let later = [(header::RETRY_AFTER, "1")];
            let text = "the pipeline does not keep up; send it again\n";
            return (StatusCode::TOO_MANY_REQUESTS, later, text).into_response();
        }
        Err(mpsc::error::TrySendError::Closed(())) => return ended(),
    };
    let body = axum::body::to_bytes(body, shared.max_body);
    let bytes = match tokio::time::timeout(SLOWEST, body).await {
        Ok(Ok(bytes)) => bytes,
        Err(_) => {
            let text = format!("the body took longer than {SLOWEST:?}\n");
            return (StatusCode::REQUEST_TIMEOUT, text).into_response();
        }
        Ok(Err(error)) => {
            let error = error.into_inner();
            if error.is::<LengthLimitError>() {
                let text = format!("the body has more than {} bytes (max_body)\n", shared.max_body);
                return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
            }
            let text = format!("the body cannot be read: {error}\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let batch = match decode(&shared.decoding, &bytes) {
        Ok(batch) => batch,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let records = batch.len;
    let answer = format!("{{\"records\":{records}}}\n");
    let json = [(header::CONTENT_TYPE, "application/json")];
    if records == 0 {
        return (StatusCode::OK, json, answer).into_response();
    }
    let (done, told) = oneshot::channel();
    place.send(Delivery { batch, done });
    match (told.await, shared.ack) {
        (Ok(()), Ack::Durable) => (StatusCode::OK, json, answer).into_response(),
        (Ok(()), Ack::Queued) => (StatusCode::ACCEPTED, json, answer).into_response(),
        (Err(_), _) => ended(),
    }
}

fn ended() -> Response {
    let text = "the pipeline has ended, and does not know what became of the records\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Decodes a whole body, or says what is wrong with it. With the JSON codec, it may be an
/// array of objects too.
fn decode(decoding: &Decoding, bytes: &[u8]) -> Result<Batch, String> {
    let lines;
    let is_array = matches!(decoding.format, DecodeFormat::Json(_))
        && bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let bytes = if is_array {
        lines = array_to_lines(bytes)?;
        &lines
    } else {
        bytes
    };
    let mut decoder = Decoder::new(decoding, "http".into(), 0);
    let mut out = Decoded::default();
    let too_many = |batch: &BatchBuilder| batch.attributes() > MAX_ATTRIBUTES;
    let taken = decoder.decode(bytes, &mut out, too_many).map_err(|why| format!("{why}\n"))?;
    if taken < bytes.len() || too_many(&out.batch) {
        return Err(format!("the records have more than {MAX_ATTRIBUTES} different attributes\n"));
    }
    decoder.end(&mut out);
    if out.undecodable.is_empty() {
        return Ok(out.batch.take());
    }
    let mut text = "none of the records was taken:\n".to_owned();
    for Undecodable { number, reason, .. } in out.undecodable.iter().take(TOLD) {
        let _ = writeln!(text, "record {number}: {reason}");
    }
    if out.undecodable.len() > TOLD {
        let _ = writeln!(text, "and {} more", out.undecodable.len() - TOLD);
    }
    Err(text)
}

fn array_to_lines(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let elements: Vec<&serde_json::value::RawValue> =
        serde_json::from_slice(bytes).map_err(|error| format!("not a JSON array: {error}\n"))?;
    let mut lines = Vec::with_capacity(bytes.len());
    for element in elements {
        // A line break within an element is white space: in a text it is escaped.
        lines.extend(element.get().bytes().filter(|&byte| byte != b'\n' && byte != b'\r'));
        lines.push(b'\n');
    }
    Ok(lines)
}

//! Takes posted records.
//!
//! The response: 200 once the records are durable (202 once they are in the pipeline, if the
//! configuration asks for no more), 400 with the error of each undecodable record (none is taken
//! then), 401, 413, 429 with `Retry-After` while the pipeline cannot keep up, 503 if it ended and
//! the fate of the records is unknown: they may be sent again, and may then be there twice.
//!
//! A body takes only the memory of its bytes: it is decoded twice, first to check all of it, then
//! as the pipeline takes it; only one that fits into a batch is kept as a batch.

use anyhow::{Result, anyhow};
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use crate::compressed::decompress;
use crate::connector::SourceConnector;
use crate::http::body::{self, Checked};
use pipehost_codec::{Decoded, Decoder, Start};
use pipehost_config::{Ack, Compression, Decoding, HttpSource as Config};
use pipehost_http::{ConnectionSlot, Server};

/// How long requests in progress may take once the source has ended.
const GRACE: Duration = Duration::from_secs(5);
/// In each such time, a body must end or grow by so many bytes. Bytes that came faster before do
/// not count.
const WINDOW: Duration = Duration::from_secs(10);
const LEAST_BYTES_A_WINDOW: usize = 160 << 10;
/// The limit for all bodies being read or waiting, in bytes; at least twice `max_body`.
const BODIES: usize = 64 << 20;
/// The unit, in bytes, in which bodies count against the limit.
const UNIT: usize = 1024;
/// The most connections at a time.
const CONNECTIONS: usize = 1024;

/// A body that was checked.
struct Delivery {
    body: Checked,
    /// Signalled once the records are queued or durable, as configured.
    done: oneshot::Sender<()>,
    /// Its share of the limit for all bodies.
    _bytes: OwnedSemaphorePermit,
}

/// The delivery that is being given out.
struct Current {
    delivery: Delivery,
    decoder: Decoder,
    /// Bytes or rows of it that were given out.
    given: usize,
}

pub struct HttpSource {
    deliveries: mpsc::Receiver<Delivery>,
    decoding: Decoding,
    ack: Ack,
    current: Option<Current>,
    number: u64,
    place: Arc<str>,
    /// Requests whose records were given out since the last checkpoint.
    waiting: Vec<oneshot::Sender<()>>,
    acknowledgements: Acknowledgements,
    server: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

struct Shared {
    decoding: Decoding,
    max_body: usize,
    deliveries: mpsc::Sender<Delivery>,
    /// Bytes of bodies that may still be read, in units.
    bytes: Arc<Semaphore>,
    /// Limits the bodies decoded at a time to the number of cores.
    decoders: Arc<Semaphore>,
    /// SHA-256 of the token: the time to compare digests reveals nothing about it.
    token: Option<[u8; 32]>,
    ack: Ack,
}

impl HttpSource {
    /// Starts to listen. Must be called within a Tokio runtime.
    pub(crate) fn open(config: &Config, acknowledgements: Acknowledgements) -> Result<Self> {
        let token = match &config.token_env {
            None => None,
            Some(name) => Some(Sha256::digest(super::token(name)?).into()),
        };
        let tls = config.tls.as_ref().map(load_tls).transpose()?;
        let cannot = |error: std::io::Error| anyhow!("cannot listen at {}: {error}", config.listen);
        let listener = TcpListener::bind(config.listen).map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("taking records at {scheme}://{bound}{}", config.path);
        let (send, deliveries) = mpsc::channel(config.queue);
        let bytes = BODIES.max(2 * config.max_body_bytes) / UNIT;
        let shared = Arc::new(Shared {
            decoding: config.codec.clone(),
            max_body: config.max_body_bytes,
            deliveries: send,
            bytes: Arc::new(Semaphore::new(bytes)),
            decoders: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, Into::into),
            )),
            token,
            ack: config.ack,
        });
        let stop = CancellationToken::new();
        let server = Server {
            listener: listener.into(),
            router: Router::new().route(&config.path, post(take)).with_state(shared),
            tls,
            connections: pipehost_http::connections(CONNECTIONS),
            stop: stop.clone(),
        };
        Ok(Self {
            deliveries,
            decoding: config.codec.clone(),
            ack: config.ack,
            current: None,
            number: 0,
            place: "http".into(),
            waiting: Vec::new(),
            acknowledgements,
            server: tokio::spawn(server.run()),
            stop,
        })
    }
}

impl SourceConnector for HttpSource {
    async fn ready(&mut self) -> Result<bool> {
        if self.current.is_none() {
            let delivery = self.deliveries.recv().await;
            self.current = delivery.map(|delivery| Current {
                delivery,
                decoder: Decoder::new(
                    &self.decoding,
                    self.place.clone(),
                    &Start { number: self.number, ..Start::default() },
                ),
                given: 0,
            });
        }
        Ok(self.current.is_some())
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        let Some(Current { delivery, decoder, given }) = &mut self.current else { return Ok(()) };
        match &delivery.body {
            Checked::Batch(batch) => {
                while *given < batch.len && !full(out) {
                    let row = *given;
                    *given += 1;
                    self.number += 1;
                    out.batch.push_row(&self.place, self.number, batch, row);
                }
                if *given < batch.len {
                    return Ok(());
                }
            }
            Checked::Bytes(bytes) => {
                *given += decoder.decode(&bytes[*given..], out, full)?;
                if *given < bytes.len() {
                    return Ok(());
                }
                decoder.end(out)?;
                self.number = decoder.number();
            }
        }
        let Some(Current { delivery: Delivery { done, .. }, .. }) = self.current.take() else {
            return Ok(());
        };
        match self.ack {
            Ack::Queued => drop(done.send(())), // Fails if the client has hung up.
            Ack::Durable => {
                self.waiting.push(done);
                self.acknowledgements.demand();
            }
        }
        Ok(())
    }

    fn place(&self) -> Arc<str> {
        self.place.clone()
    }

    /// Takes no more requests; those that are taken are still delivered.
    fn stop(&mut self) -> bool {
        self.deliveries.close();
        true
    }

    fn checkpoint(&mut self, number: u64) {
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

    async fn close(self) {
        drop(self.deliveries); // Requests that were not taken get 503.
        self.stop.cancel();
        let _ = tokio::time::timeout(GRACE, self.server).await;
    }
}

fn load_tls(tls: &pipehost_config::Tls) -> Result<TlsAcceptor> {
    super::use_ring();
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| pipehost_files::paths::cannot_read(path, &error))
    };
    let (cert, key) = (read(&tls.cert)?, read(&tls.key)?);
    let cannot = |error: String| {
        anyhow!("cannot use {} and {}: {error}", tls.cert.display(), tls.key.display())
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
    let certificates = certificates.map_err(|error| cannot(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| cannot(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| cannot(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Extension(place): Extension<Arc<ConnectionSlot>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match deliver(&shared, &place, &headers, body).await {
        Ok(response) | Err(response) => response,
    }
}

/// The error is a response too, to a request that failed.
async fn deliver(
    shared: &Arc<Shared>,
    place: &ConnectionSlot,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    if let Some(token) = &shared.token {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        if given.map(|given| Sha256::digest(given).into()) != Some(*token) {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return Err(
                (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n").into_response()
            );
        }
    }
    let compression = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => None,
        Some(b"gzip" | b"x-gzip") => Some(Compression::Gzip),
        Some(b"zstd") => Some(Compression::Zstd),
        Some(_) => {
            let accepted = [(header::ACCEPT_ENCODING, "gzip, zstd")];
            let text = "this Content-Encoding is not known: send gzip, zstd, or none\n";
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted, text).into_response());
        }
    };
    // Do not read a body that cannot be taken.
    if shared.deliveries.is_closed() {
        return Err(ended());
    }
    if shared.deliveries.capacity() == 0 {
        return Err(later());
    }
    let (bytes, permit) = read(shared, body).await?;
    // From now on the connection does not wait for its client, and must not be evicted.
    let _busy = place.busy();
    let decoder = shared.decoders.clone().acquire_owned().await;
    let decoder = decoder.expect("the semaphore is never closed");
    let (decoding, shared_by) = (shared.decoding.clone(), shared.clone());
    // Decoding may take long, and must not block a thread of the runtime. It goes on if the client
    // hangs up, and holds its permits until it is done.
    let checked = tokio::task::spawn_blocking(move || {
        let _decoder = decoder;
        let (bytes, permit) = match compression {
            None => (bytes, permit),
            Some(compression) => inflate(&shared_by, compression, &bytes, permit)?,
        };
        match body::check(&decoding, bytes) {
            Ok(checked) => Ok((checked, permit)),
            Err(why) => {
                Err(Box::new((StatusCode::BAD_REQUEST, format!("{why:#}")).into_response()))
            }
        }
    });
    let checked = checked.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
    let ((body, records), permit) = checked.map_err(|response| *response)?;
    let answer = format!("{{\"records\":{records}}}\n");
    let json = [(header::CONTENT_TYPE, "application/json")];
    if records == 0 {
        return Ok((StatusCode::OK, json, answer).into_response());
    }
    // Only a complete body takes a place in the queue: one that never ends takes none.
    let slot = shared.deliveries.try_reserve().map_err(|error| match error {
        mpsc::error::TrySendError::Full(()) => later(),
        mpsc::error::TrySendError::Closed(()) => ended(),
    })?;
    let (done, told) = oneshot::channel();
    slot.send(Delivery { body, done, _bytes: permit });
    match (told.await, shared.ack) {
        (Ok(()), Ack::Durable) => Ok((StatusCode::OK, json, answer).into_response()),
        (Ok(()), Ack::Queued) => Ok((StatusCode::ACCEPTED, json, answer).into_response()),
        (Err(_), _) => Err(ended()),
    }
}

/// Reads a body, within its limits of size and time, and the limit for all bodies.
async fn read(
    shared: &Shared,
    mut body: Body,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Response> {
    let too_slow = |received: usize| {
        let text = format!(
            "the body took too long: {received} bytes came, and in {WINDOW:?} it must end or come \
             by {LEAST_BYTES_A_WINDOW} bytes further\n"
        );
        (StatusCode::REQUEST_TIMEOUT, text).into_response()
    };
    let hint = axum::body::HttpBody::size_hint(&body);
    if hint.lower() > shared.max_body as u64 {
        return Err(too_large(shared));
    }
    let (mut window, mut before) = (Instant::now(), 0);
    let mut bytes = Vec::new();
    let mut permit = units(shared, 1).ok_or_else(later)?;
    let mut room = UNIT;
    loop {
        if bytes.len() - before >= LEAST_BYTES_A_WINDOW {
            (window, before) = (Instant::now(), bytes.len());
        }
        let left = WINDOW.saturating_sub(window.elapsed());
        let frame = match tokio::time::timeout(left, body.frame()).await {
            Err(_) => return Err(too_slow(bytes.len())),
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let text = format!("the body cannot be read: {error}\n");
                return Err((StatusCode::BAD_REQUEST, text).into_response());
            }
        };
        let Some(data) = frame.data_ref() else { continue };
        let length = bytes.len() + data.len();
        if length > shared.max_body {
            return Err(too_large(shared));
        }
        if length > room {
            let more = (length - room).div_ceil(UNIT);
            permit.merge(units(shared, more).ok_or_else(later)?);
            room += more * UNIT;
        }
        bytes.extend_from_slice(data);
    }
    Ok((bytes, permit))
}

/// Decompresses a body, within the same limits of size.
fn inflate(
    shared: &Shared,
    compression: Compression,
    body: &[u8],
    mut permit: OwnedSemaphorePermit,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Box<Response>> {
    const PIECE: usize = 64 << 10;
    /// The window that every decoder of Zstandard supports: RFC 8878, section 3.1.1.1.2.
    const WINDOW_LOG: u32 = 23;
    let wrong = |error: std::io::Error| {
        let text = format!("the body cannot be decompressed: {error}\n");
        Box::new((StatusCode::BAD_REQUEST, text).into_response())
    };
    let mut reader = decompress(compression, body, Some(WINDOW_LOG)).map_err(wrong)?;
    let (mut bytes, mut piece, mut room) = (Vec::new(), vec![0; PIECE], 0);
    loop {
        let read = reader.read(&mut piece).map_err(wrong)?;
        if read == 0 {
            return Ok((bytes, permit));
        }
        if bytes.len() + read > shared.max_body {
            return Err(Box::new(too_large(shared)));
        }
        let length = bytes.len() + read;
        if length > room {
            let more = (length - room).div_ceil(UNIT);
            permit.merge(units(shared, more).ok_or_else(|| Box::new(later()))?);
            room += more * UNIT;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn too_large(shared: &Shared) -> Response {
    let text = format!("the body has more than {} bytes (max_body)\n", shared.max_body);
    (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
}

/// A share of the limit for all bodies; `None` if too little is left.
fn units(shared: &Shared, count: usize) -> Option<OwnedSemaphorePermit> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    shared.bytes.clone().try_acquire_many_owned(count).ok()
}

fn later() -> Response {
    let later = [(header::RETRY_AFTER, "1")];
    let text = "the pipeline does not keep up; send it again\n";
    (StatusCode::TOO_MANY_REQUESTS, later, text).into_response()
}

fn ended() -> Response {
    let text = "the pipeline has ended, and does not know what became of the records\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

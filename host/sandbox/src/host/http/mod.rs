//! Requests of a guest over HTTP: to the servers that it is granted, within limits of time, size and
//! number. Where no server is granted, every request is denied.
//!
//! A name is looked up when it is dialled, and the address that is dialled is the one that was checked:
//! so a name that begins to stand for an address inside leads nowhere.

mod address;
mod body;
mod connect;
mod fake;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use body::Limited;
use pipehost_config::grants::{Answer, HttpGrant};
use pipehost_config::limits::HttpLimits;
pub(super) use requests::add_to_linker;

/// A header section that a guest makes, or that a server answers, in bytes.
const HEADERS: usize = 16 << 10;
/// Bytes of a body that a guest writes at a time.
const CHUNK: usize = 16 << 10;

type Exchanged = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// A server that is granted, and how it is trusted.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) grant: HttpGrant,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// # Errors
    /// If the certificates cannot be read; the message is for the operator.
    pub(crate) fn new(grant: &HttpGrant) -> anyhow::Result<Self> {
        let tls =
            if grant.origin.https { Some(connect::trust(grant.ca.as_deref())?) } else { None };
        Ok(Self { grant: grant.clone(), tls })
    }

    fn is(&self, uri: &http::Uri) -> bool {
        let origin = &self.grant.origin;
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        https == origin.https && host.eq_ignore_ascii_case(&origin.host) && port == origin.port
    }
}

/// What an instance does with the requests of its guest.
pub(crate) struct Hooks {
    servers: Arc<[Server]>,
    /// Instead of servers, in tests: what is answered.
    answers: Option<Arc<[Answer]>>,
    limits: HttpLimits,
    /// As many as there may be requests at a time.
    places: Arc<Semaphore>,
}

impl Hooks {
    pub(crate) fn new(
        servers: Arc<[Server]>,
        answers: Option<Arc<[Answer]>>,
        limits: HttpLimits,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.requests));
        Self { servers, answers, limits, places }
    }
}

/// What the host keeps for the headers of a guest.
pub(crate) fn context() -> wasmtime_wasi_http::WasiHttpCtx {
    let mut context = wasmtime_wasi_http::WasiHttpCtx::new();
    context.set_field_size_limit(HEADERS);
    context
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchanged, Error>> + Send> {
        let limits = self.limits.clone();
        if let Some(answers) = self.answers.clone() {
            let request = request.map(|body| limited_request(body, limits.body));
            return Box::new(async move { fake::answer(&answers, request).await });
        }
        // A name in the authority would be sent to the server.
        let has_user = request.uri().authority().is_some_and(|a| a.as_str().contains('@'));
        let server = self.servers.iter().find(|server| server.is(request.uri()));
        let Some(server) = server.filter(|_| !has_user).cloned() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        };
        Box::new(async move {
            let (response, connection) = exchange(&server, request, options, &limits).await?;
            let end = async move {
                let _place = place;
                connection.await
            };
            Ok((response, Box::new(end) as Box<dyn Future<Output = _> + Send>))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// Sends a request, and receives the head of the response. Its body, and the connection, end at the
/// deadline too.
async fn exchange(
    server: &Server,
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    limits: &HttpLimits,
) -> Result<(http::Response<WasiBody>, impl Future<Output = Result<(), Error>> + Send + use<>), Error>
{
    let deadline = Instant::now() + limits.timeout;
    let until =
        |wanted: Option<Duration>| wanted.map_or(deadline, |w| deadline.min(Instant::now() + w));
    let connecting = until(options.and_then(|options| options.connect_timeout));
    let stream = timeout_at(connecting, connect::connect(server)).await;
    let stream = stream.map_err(|_| Error::ConnectionTimeout)??;
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEADERS)
        .max_headers(100)
        .handshake(wasmtime_wasi_http::io::TokioIo::new(stream));
    let (mut sender, connection) =
        timeout_at(connecting, handshake).await.map_err(|_| Error::ConnectionTimeout)??;
    for (name, value) in &server.grant.headers {
        let name = http::HeaderName::try_from(name).map_err(|_| Error::ConfigurationError)?;
        let value = http::HeaderValue::try_from(value).map_err(|_| Error::ConfigurationError)?;
        request.headers_mut().insert(name, value);
    }
    // The server that is dialled needs no more than the path.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = http::Uri::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?;
    let most = limits.body;
    let request = request.map(|body| limited_request(body, most));
    let first_byte = until(options.and_then(|options| options.first_byte_timeout));
    // Nothing moves unless the connection is polled.
    let mut connection = Box::pin(connection);
    let sending = timeout_at(first_byte, sender.send_request(request));
    tokio::pin!(sending);
    let mut open = true;
    let response = loop {
        tokio::select! {
            response = &mut sending => break response,
            ended = &mut connection, if open => {
                open = false;
                ended.map_err(Error::from)?;
            }
        }
    };
    let response = response.map_err(|_| Error::ConnectionReadTimeout)?.map_err(Error::from)?;
    let response = response.map(|body| {
        let body = body.map_err(Error::from);
        let body = Limited::new(body, most, Error::HttpResponseBodySize(Some(most)));
        body.until(deadline, Error::HttpResponseTimeout).boxed_unsync()
    });
    let end = async move {
        // The body needs the sender's half until it has ended.
        let _sender = sender;
        match open {
            true => timeout_at(deadline, connection)
                .await
                .map_or(Ok(()), |ended| ended.map_err(Error::from)),
            false => Ok(()),
        }
    };
    Ok((response, end))
}

/// What a guest sends, which fails beyond its limit.
fn limited_request(body: WasiBody, most: u64) -> WasiBody {
    Limited::new(body, most, Error::HttpRequestBodySize(Some(most))).boxed_unsync()
}

/// A body that is there already.
fn whole(bytes: Vec<u8>) -> WasiBody {
    http_body_util::Full::new(Bytes::from(bytes)).map_err(Error::from).boxed_unsync()
}

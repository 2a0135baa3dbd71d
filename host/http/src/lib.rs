//! An HTTP/1.1 server for untrusted clients: limits each connection, and how many there are.
//!
//! A client that sends no head, goes silent or reads no response occupies its connection, and
//! nothing else. At the limit of connections, the one that has been idle for longest is closed to
//! make room for the next.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Body as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// How long a request head may take, from the start of the connection or the last response on.
const HEAD: Duration = Duration::from_secs(10);
/// The largest request head, in bytes and in headers.
const HEAD_BYTES: usize = 32 << 10;
const HEADERS: usize = 100;
/// How long to wait when no connection can be accepted, as without file descriptors.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);
/// File descriptors that connections leave to the rest of the program.
const RESERVE: u64 = 256;

/// How many connections a server may have: `most`, or half of the file descriptors that the system
/// allows, less a reserve; at least 16.
pub fn connections(most: usize) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = usize::try_from(descriptors.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX);
    most.min(spare).max(16)
}

/// Where clients connect.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

/// The same, for tokio.
enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    /// The next connection. Cancel-safe.
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A server, until it is stopped.
pub struct Server {
    pub listener: Listener,
    pub router: Router,
    pub tls: Option<TlsAcceptor>,
    pub connections: usize,
    /// Stops taking requests; the server ends once those in progress are answered.
    pub stop: CancellationToken,
}

impl Server {
    /// Serves until a stop. Returns once all connections are closed.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub async fn run(self) -> io::Result<()> {
        let listener = Accepting::new(self.listener)?;
        let places = Arc::new(Places { most: self.connections, ..Places::default() });
        let mut tasks = JoinSet::new();
        loop {
            let place = tokio::select! {
                place = Places::take(&places) => place,
                () = self.stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // This one failed, or no file descriptor is free: wait, and go on.
                    tracing::debug!("a connection was not accepted: {error}");
                    tokio::time::sleep(NO_DESCRIPTOR).await;
                    continue;
                }
            };
            let (router, tls, stop) = (self.router.clone(), self.tls.clone(), self.stop.clone());
            tasks.spawn(connection(stream, tls, router, place, stop));
            while tasks.try_join_next().is_some() {}
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

async fn connection(
    stream: Box<dyn Stream>,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: ConnectionSlot,
    stop: CancellationToken,
) {
    let evicted = place.evicted.clone();
    let serve = async {
        match tls {
            None => http(stream, router, Arc::new(place), stop).await,
            Some(tls) => match tokio::time::timeout(HEAD, tls.accept(stream)).await {
                Ok(Ok(stream)) => http(stream, router, Arc::new(place), stop).await,
                Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
                Err(_) => {}
            },
        }
    };
    tokio::select! {
        () = serve => {}
        () = evicted.cancelled() => {}
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: Arc<ConnectionSlot>,
    stop: CancellationToken,
) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let (mut router, place) = (router.clone(), place.clone());
        request.extensions_mut().insert(place.clone());
        async move {
            // A handler that reads a body calls `busy` once it is complete; until then, the server
            // waits for the client, and may evict the connection.
            let is_whole = request.body().is_end_stream();
            let _busy = is_whole.then(|| place.busy());
            router.call(request.map(Body::new)).await
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

/// The open connections, and their limit.
#[derive(Debug, Default)]
struct Places {
    most: usize,
    open: Mutex<Open>,
    /// Notified when a connection ends or becomes idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    /// Connections without a request, the one that has been idle for longest first.
    idle: BTreeMap<u64, CancellationToken>,
    next: u64,
}

impl Places {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nobody panics here")
    }

    /// A place for another connection: evicts an idle one if there is none, and waits.
    async fn take(places: &Arc<Self>) -> ConnectionSlot {
        loop {
            let changed = places.changed.notified();
            {
                let mut open = places.open();
                if open.count < places.most {
                    open.count += 1;
                    let evicted = CancellationToken::new();
                    let number = open.wait(&evicted);
                    let (places, idle) = (places.clone(), Mutex::new(Some(number)));
                    return ConnectionSlot { places, idle, evicted };
                }
                if let Some((_, longest)) = open.idle.pop_first() {
                    longest.cancel();
                }
            }
            changed.await;
        }
    }
}

impl Open {
    fn wait(&mut self, evicted: &CancellationToken) -> u64 {
        self.next += 1;
        self.idle.insert(self.next, evicted.clone());
        self.next
    }
}

/// The place of one connection; an extension of each of its requests.
#[derive(Debug)]
pub struct ConnectionSlot {
    places: Arc<Places>,
    /// Its key in `Open::idle`, while it has no request.
    idle: Mutex<Option<u64>>,
    /// Cancelled when the connection must make room for another.
    evicted: CancellationToken,
}

impl ConnectionSlot {
    /// Marks a request as in progress and not waiting for its client: the connection is not evicted
    /// until the guard is dropped.
    pub fn busy(&self) -> Busy<'_> {
        let mut open = self.places.open();
        let mut idle = self.idle.lock().expect("nobody panics here");
        if let Some(number) = idle.take() {
            open.idle.remove(&number);
        }
        Busy(self)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.places.open();
        open.count -= 1;
        if let Some(number) = self.idle.lock().expect("nobody panics here").take() {
            open.idle.remove(&number);
        }
        drop(open);
        self.places.changed.notify_one();
    }
}

/// See [`ConnectionSlot::busy`].
#[derive(Debug)]
pub struct Busy<'a>(&'a ConnectionSlot);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut open = self.0.places.open();
        let number = open.wait(&self.0.evicted);
        *self.0.idle.lock().expect("nobody panics here") = Some(number);
        drop(open);
        self.0.places.changed.notify_one();
    }
}

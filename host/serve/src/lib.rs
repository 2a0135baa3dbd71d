//! The control interface: HTTP/JSON that looks into a run and steers it.
//!
//! Everything is below `/v1`, and described by one OpenAPI document, which is made from this code:
//! `/v1/openapi.json`. The interface is for whoever may also stop the process: a Unix socket that
//! only its user can open, or an address that the operator names. It has no other access control.
//!
//! # Layout
//!
//! * [`address`]: where an interface is, and which ones there are on this machine.
//! * [`status`]: how the run and its nodes are; [`change`]: what has happened between two looks.
//! * [`record`]: a record as JSON.
//! * `tap`: the records that pass a node; `letters`: dead letters of a pipeline that runs.
//! * `refusal`: why a request is not done.

pub mod address;
pub mod change;
mod letters;
pub mod record;
mod refusal;
pub mod status;
pub mod tap;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

use pipehost_http::{Listener, Server};
use pipehost_observe::metrics::Metrics;
use pipehost_pipeline::{Request, View};
use refusal::Refusal;
use status::Status;

pub use letters::{Replayed, Rotated};

/// The run that the interface belongs to.
#[derive(Clone)]
pub struct Control {
    /// The name of the pipeline.
    pub pipeline: String,
    pub view: View,
    pub metrics: Arc<Metrics>,
    /// Takes requests to the run.
    pub requests: mpsc::Sender<Request>,
    /// When the run began.
    pub since: Instant,
    pub limits: Limits,
}

/// What clients may do at a time, so that what they hold has a bound.
#[derive(Debug, Clone)]
pub struct Limits {
    taps: Arc<Semaphore>,
    replays: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { taps: Arc::new(Semaphore::new(TAPS)), replays: Arc::new(Semaphore::new(1)) }
    }
}

/// Maximum taps at a time: each holds some memory.
const TAPS: usize = 8;

/// Maximum connections at a time.
const CONNECTIONS: usize = 64;

/// Serves until the runtime ends.
pub fn serve(listener: Listener, control: Control) {
    let server = Server {
        listener,
        router: router(control),
        tls: None,
        connections: CONNECTIONS,
        stop: CancellationToken::new(),
    };
    tokio::spawn(async move {
        if let Err(error) = server.run().await {
            tracing::error!("the control interface has ended: {error}");
        }
    });
}

fn router(control: Control) -> Router {
    let v1 = Router::new()
        .route("/openapi.json", get(openapi))
        .route("/status", get(status))
        .route("/state", get(state))
        .route("/tap", get(tap::tap))
        .route("/dead-letters/rotate", post(letters::rotate))
        .route("/dead-letters/replay", post(letters::replay))
        .layer(DefaultBodyLimit::disable()) // `replay` reads its body itself.
        .method_not_allowed_fallback(|| async { Refusal::not_allowed() });
    Router::new()
        .nest("/v1", v1)
        .fallback(|| async { Refusal::not_found("there is nothing here: see /v1/openapi.json") })
        .with_state(control)
        .layer(from_fn(not_from_a_browser))
}

/// Refuses what a web page that somebody has open may send: it comes from this machine, too.
async fn not_from_a_browser(request: HttpRequest, next: Next) -> Result<Response, Refusal> {
    let headers = request.headers();
    let is_of_a_page =
        headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if is_of_a_page || !names_an_address(headers) {
        return Err(Refusal::forbidden(
            "this interface is not for browsers: the header `host` must be an address or `localhost`, \
             and there must be no `origin`",
        ));
    }
    Ok(next.run(request).await)
}

/// Whether the client has connected to an address, not to a name that may lead anywhere.
fn names_an_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let parsed = url::Url::parse(&format!("http://{host}/"));
    match parsed.as_ref().ok().and_then(url::Url::host) {
        Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The description of the interface.
#[derive(OpenApi)]
#[openapi(
    info(title = "pipehost control", description = "Looks into a run of pipehost and steers it.",),
    paths(openapi, status, state, tap::tap, letters::rotate, letters::replay),
    components(schemas(tap::Line))
)]
struct Description;

/// The OpenAPI document of this interface.
pub fn description() -> Value {
    serde_json::to_value(Description::openapi()).expect("its keys are texts")
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    responses((status = 200, description = "An OpenAPI document.", body = Object))
)]
async fn openapi() -> Json<Value> {
    Json(description())
}

/// How the run and its nodes are.
///
/// Counts are those since the start of the process: what happens now is the difference between two
/// answers.
#[utoipa::path(
    get,
    path = "/v1/status",
    responses((status = 200, description = "How the run is.", body = Status))
)]
async fn status(State(control): State<Control>) -> Json<Status> {
    Json(Status::now(&control))
}

/// The last checkpoint: positions of sources and sinks, and sizes of the states of stages.
#[utoipa::path(
    get,
    path = "/v1/state",
    responses(
        (status = 200, description = "The checkpoint; `null` before the first one.", body = Object),
        (status = 404, description = "The pipeline keeps no state."),
    )
)]
async fn state(State(control): State<Control>) -> Result<Json<Value>, Refusal> {
    match control.view.checkpoint() {
        Some(checkpoint) => {
            Ok(Json(serde_json::to_value(&*checkpoint).expect("its keys are texts")))
        }
        None if control.view.files().state.is_some() => Ok(Json(Value::Null)),
        None => Err(Refusal::not_found("the pipeline keeps no state: its file has no `state`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_no_names_of_web_pages() {
        let names = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            names_an_address(&headers)
        };
        for host in ["localhost", "localhost:99", "127.0.0.1:8080", "[::1]:80", "192.168.0.1"] {
            assert!(names(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io", ""] {
            assert!(!names(host), "{host}");
        }
        assert!(names_an_address(&HeaderMap::new()), "a Unix socket has no host");
    }
}

//! What a run serves over HTTP: `/metrics`, `/healthz`, `/readyz`, `/debug/pprof/profile`.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::profile::{self, Sampling};
use pipehost_http::Server;

/// Whether the pipeline runs: until then, `/readyz` answers 503.
#[derive(Clone, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The longest and the default length of a profile, in seconds.
const LONGEST: u64 = 300;
const USUAL: u64 = 30;

#[derive(Deserialize)]
struct Seconds {
    seconds: Option<u64>,
}

async fn host_profile(Query(Seconds { seconds }): Query<Seconds>) -> Response {
    let seconds = seconds.unwrap_or(USUAL).clamp(1, LONGEST);
    let length = Duration::from_secs(seconds);
    // Dropped with this future when the client disconnects, which ends the profile: the next one
    // can start.
    let (_wanted, receiver) = mpsc::channel();
    match tokio::task::spawn_blocking(move || profile::sample(length, &receiver)).await {
        Ok(Ok(bytes)) => {
            let named = "attachment; filename=\"profile.pb.gz\"";
            let kind = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, named),
            ];
            (kind, bytes).into_response()
        }
        Ok(Err(Sampling::Busy)) => {
            (StatusCode::CONFLICT, "another profile is being taken\n").into_response()
        }
        Ok(Err(Sampling::Failed(why))) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("no profile: {why}\n")).into_response()
        }
        Ok(Err(Sampling::Unwanted)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Maximum connections at a time.
const CONNECTIONS: usize = 64;

/// Serves until the runtime ends.
pub fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> Ready {
    let ready = Ready::default();
    let is_ready = ready.clone();
    let text =
        move || async move { ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.text()) };
    let readyz = move || async move {
        match is_ready.0.load(Ordering::Relaxed) {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        }
    };
    let router = Router::new()
        .route("/metrics", get(text))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/debug/pprof/profile", get(host_profile));
    let server = Server {
        listener: listener.into(),
        router,
        tls: None,
        connections: CONNECTIONS,
        stop: CancellationToken::new(),
    };
    tokio::spawn(async move {
        if let Err(error) = server.run().await {
            tracing::error!("metrics are no longer served: {error}");
        }
    });
    ready
}

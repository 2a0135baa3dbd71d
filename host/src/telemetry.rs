//! What a run says of itself over HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Whether the pipeline runs: until then `/readyz` says 503.
#[derive(Clone, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

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
        .route("/readyz", get(readyz));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("metrics are no longer served: {error}");
        }
    });
    ready
}

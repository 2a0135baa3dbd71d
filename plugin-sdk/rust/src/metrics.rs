//! Metrics of the stage's own: the host shows them with those of the pipeline, as `stage_NAME`, with
//! the stage as a label. What a call tells counts once, with the answer that the host accepts.
//!
//! ```
//! # use pipehost_plugin::metrics;
//! metrics::add("cache_misses", &[("table", "countries")], 1.0);
//! ```
//!
//! Names are of a-z, 0-9 and `_`. A stage has at most 256 series. In a native test, nothing is told.

/// Adds to a counter: a positive number.
pub fn add(name: &str, labels: &[(&str, &str)], by: f64) {
    tell(name, labels, by, Kind::Add);
}

/// Sets a gauge.
pub fn set(name: &str, labels: &[(&str, &str)], to: f64) {
    tell(name, labels, to, Kind::Set);
}

/// Adds a value to a histogram, whose buckets end at 0.001, 0.01, 0.1, 1, 10, 100 and 1000.
pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) {
    tell(name, labels, value, Kind::Observe);
}

enum Kind {
    Add,
    Set,
    Observe,
}

#[cfg(target_family = "wasm")]
fn tell(name: &str, labels: &[(&str, &str)], value: f64, kind: Kind) {
    use crate::export::bindings::measured::pipehost::stage::metrics::{self, Label};
    let labels: Vec<Label> = (labels.iter())
        .map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() })
        .collect();
    match kind {
        Kind::Add => metrics::add(name, &labels, value),
        Kind::Set => metrics::set(name, &labels, value),
        Kind::Observe => metrics::observe(name, &labels, value),
    }
}

#[cfg(not(target_family = "wasm"))]
fn tell(_: &str, _: &[(&str, &str)], _: f64, kind: Kind) {
    match kind {
        Kind::Add | Kind::Set | Kind::Observe => {}
    }
}

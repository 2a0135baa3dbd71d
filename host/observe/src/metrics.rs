//! Every metric: its name, its help, and what counts it.
//!
//! Metrics belong to a run, not to the process: two pipelines in one process do not
//! mix. The summary at the end of a run reads the same numbers that `/metrics` serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The metrics of one run.
pub struct Metrics {
    registry: Registry,
    /// Records that reached a sink and were written.
    pub processed: IntCounter,
    records_in: IntCounterVec,
    records_out: IntCounterVec,
    rejected: IntCounterVec,
    dead_letters: IntCounterVec,
    skipped: IntCounterVec,
    dropped: IntCounterVec,
    retries: IntCounterVec,
    failures: IntCounterVec,
    fuel: IntCounterVec,
    memory: IntGaugeVec,
    queue: IntGaugeVec,
    log_dropped: IntCounterVec,
    breaker: IntGaugeVec,
    breaker_opened: IntCounterVec,
    checkpoints: IntCounter,
    checkpoint_duration: Histogram,
    checkpoint_time: IntGauge,
    duration: HistogramVec,
    batch: HistogramVec,
    seconds: CounterVec,
}

/// The metrics of one source, stage or sink.
pub struct NodeMetrics {
    pub records_in: IntCounter,
    pub records_out: IntCounter,
    pub rejected: IntCounter,
    pub dead_letters: IntCounter,
    pub skipped: IntCounter,
    /// Records that were dropped because the queue in front of this node was full.
    pub dropped: IntCounter,
    pub retries: IntCounter,
    pub fuel: IntCounter,
    pub memory: IntGauge,
    /// Batches waiting in front of this node.
    pub queue: IntGauge,
    pub log_dropped: IntCounter,
    breaker: IntGauge,
    pub breaker_opened: IntCounter,
    pub duration: Histogram,
    pub batch: Histogram,
    seconds: [Counter; Activity::ALL.len()],
    failures: [IntCounter; Cause::ALL.len()],
    /// The most batches that one queue in front of this node held.
    queue_peak: AtomicUsize,
    /// Records that came in and are not yet sent on, written or rejected.
    pub in_flight: AtomicI64,
}

/// Why a call failed: the label of a metric, and the first word of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An error of the guest: unreachable code, memory out of bounds, an exit.
    Trap,
    Fuel,
    Timeout,
    Memory,
    /// The guest's stack overflowed.
    Stack,
    /// The answer was too large.
    Output,
    /// The answer broke a rule of the contract.
    Contract,
    /// The guest returned an error.
    Error,
}

impl Cause {
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Fuel,
        Self::Timeout,
        Self::Memory,
        Self::Stack,
        Self::Output,
        Self::Contract,
        Self::Error,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Output => "output",
            Self::Contract => "contract",
            Self::Error => "error",
        }
    }
}

/// What a node spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Its own work: a guest computes, a source decodes, a sink writes.
    Working,
    /// Copies columns into the sandbox and out of it.
    Copying,
    WaitingForInput,
    /// A downstream queue is full.
    WaitingForOutput,
}

impl Activity {
    pub const ALL: [Self; 4] =
        [Self::Working, Self::Copying, Self::WaitingForInput, Self::WaitingForOutput];

    /// The value of the label.
    fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Copying => "copying",
            Self::WaitingForInput => "waiting_for_input",
            Self::WaitingForOutput => "waiting_for_output",
        }
    }
}

/// The state of a breaker: the value of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed = 0,
    Probing = 1,
    Open = 2,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name");
            r.register(Box::new(made.clone())).expect("each name is registered once");
            made
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGaugeVec::new(Opts::new(name, help), &["stage"]).expect("a valid name");
            r.register(Box::new(made.clone())).expect("each name is registered once");
            made
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let opts = HistogramOpts::new(name, help).buckets(buckets);
            let made = HistogramVec::new(opts, &["stage"]).expect("a valid name");
            r.register(Box::new(made.clone())).expect("each name is registered once");
            made
        };
        let exponential = |start, count| {
            prometheus::exponential_buckets(start, 4.0, count).expect("valid buckets")
        };
        let processed =
            IntCounter::new("pipeline_processed_items_total", "Records written by the sinks.")
                .expect("a valid name");
        r.register(Box::new(processed.clone())).expect("each name is registered once");
        let checkpoints = IntCounter::new(
            "pipeline_checkpoints_total",
            "Checkpoints of the pipeline that were written, or that acknowledged records.",
        )
        .expect("a valid name");
        let checkpoint_duration = Histogram::with_opts(
            HistogramOpts::new(
                "pipeline_checkpoint_duration_seconds",
                "Time from the begin of a checkpoint until it is written.",
            )
            .buckets(exponential(0.001, 9)),
        )
        .expect("a valid name");
        let checkpoint_time = IntGauge::new(
            "pipeline_checkpoint_timestamp_seconds",
            "When the last checkpoint was written, in seconds since the Unix epoch.",
        )
        .expect("a valid name");
        r.register(Box::new(checkpoints.clone())).expect("each name is registered once");
        r.register(Box::new(checkpoint_duration.clone())).expect("each name is registered once");
        r.register(Box::new(checkpoint_time.clone())).expect("each name is registered once");
        let stage = &["stage"];
        Self {
            processed,
            checkpoints,
            checkpoint_duration,
            checkpoint_time,
            breaker: gauge(
                "pipeline_stage_breaker_state",
                "Whether a stage is called: 0 closed (it is), 1 a probe is under way, 2 open.",
            ),
            breaker_opened: counter(
                "pipeline_stage_breaker_opened_total",
                "How often the breaker of a stage opened.",
                stage,
            ),
            records_in: counter(
                "pipeline_stage_records_in_total",
                "Records that a source, stage or sink took in.",
                stage,
            ),
            records_out: counter(
                "pipeline_stage_records_out_total",
                "Records that a source, stage or sink sent on or wrote.",
                stage,
            ),
            rejected: counter(
                "pipeline_stage_records_rejected_total",
                "Records that were rejected for good, after all retries.",
                stage,
            ),
            dead_letters: counter(
                "pipeline_stage_dead_letters_total",
                "Rejected records that were kept as dead letters.",
                stage,
            ),
            skipped: counter(
                "pipeline_stage_records_skipped_total",
                "Rejected records that were dropped, as on_error = \"skip\" says.",
                stage,
            ),
            dropped: counter(
                "pipeline_stage_records_dropped_total",
                "Records dropped because the queue in front of the stage was full.",
                stage,
            ),
            retries: counter(
                "pipeline_stage_retries_total",
                "Records that were tried again.",
                stage,
            ),
            failures: counter(
                "pipeline_stage_failures_total",
                "Calls into the sandbox that failed, by cause.",
                &["stage", "cause"],
            ),
            fuel: counter("pipeline_stage_fuel_consumed_total", "Fuel burnt by a stage.", stage),
            memory: gauge(
                "pipeline_stage_memory_bytes",
                "Memory of a stage's instances, tables included.",
            ),
            queue: gauge(
                "pipeline_stage_queue_depth_batches",
                "Batches waiting in front of a stage or sink.",
            ),
            log_dropped: counter(
                "pipeline_stage_log_dropped_bytes_total",
                "Bytes that a stage printed beyond its rate limit.",
                stage,
            ),
            duration: histogram(
                "pipeline_stage_duration_seconds",
                "Time to process one batch.",
                exponential(0.00001, 11),
            ),
            seconds: {
                let opts = Opts::new(
                    "pipeline_stage_seconds_total",
                    "What a source, stage or sink did with its time; of several workers, together.",
                );
                let made = CounterVec::new(opts, &["stage", "doing"]).expect("a valid name");
                r.register(Box::new(made.clone())).expect("each name is registered once");
                made
            },
            batch: histogram(
                "pipeline_stage_batch_records",
                "Records in a batch that came in.",
                exponential(1.0, 9),
            ),
            registry,
        }
    }
}

impl Metrics {
    /// The metrics of the node of this name.
    pub fn node(&self, name: &str) -> Arc<NodeMetrics> {
        let l = &[name];
        Arc::new(NodeMetrics {
            records_in: self.records_in.with_label_values(l),
            records_out: self.records_out.with_label_values(l),
            rejected: self.rejected.with_label_values(l),
            dead_letters: self.dead_letters.with_label_values(l),
            skipped: self.skipped.with_label_values(l),
            dropped: self.dropped.with_label_values(l),
            retries: self.retries.with_label_values(l),
            fuel: self.fuel.with_label_values(l),
            memory: self.memory.with_label_values(l),
            queue: self.queue.with_label_values(l),
            log_dropped: self.log_dropped.with_label_values(l),
            breaker: self.breaker.with_label_values(l),
            breaker_opened: self.breaker_opened.with_label_values(l),
            duration: self.duration.with_label_values(l),
            batch: self.batch.with_label_values(l),
            seconds: Activity::ALL
                .map(|doing| self.seconds.with_label_values(&[name, doing.name()])),
            failures: Cause::ALL
                .map(|cause| self.failures.with_label_values(&[name, cause.name()])),
            queue_peak: AtomicUsize::new(0),
            in_flight: AtomicI64::new(0),
        })
    }

    /// Counts a checkpoint that took this long to write.
    pub fn checkpoint(&self, took: Duration) {
        self.checkpoints.inc();
        self.checkpoint_duration.observe(took.as_secs_f64());
        self.checkpoint_time.set(jiff::Timestamp::now().as_second());
    }

    /// Checkpoints that were written.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.get()
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("the registry holds no metric that cannot be written");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

impl NodeMetrics {
    pub fn failure(&self, cause: Cause) -> &IntCounter {
        let index = Cause::ALL.iter().position(|&c| c == cause).expect("ALL has all");
        &self.failures[index]
    }

    /// The causes of failures that happened, with their counts.
    pub fn failures(&self) -> impl Iterator<Item = (Cause, u64)> {
        let counts = self.failures.each_ref().map(IntCounter::get);
        Cause::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Adds time spent on an activity.
    pub fn spent(&self, doing: Activity, time: Duration) {
        self.seconds[doing as usize].inc_by(time.as_secs_f64());
    }

    /// Seconds spent on an activity.
    pub fn seconds(&self, doing: Activity) -> f64 {
        self.seconds[doing as usize].get()
    }

    pub fn breaker(&self, state: BreakerState) {
        self.breaker.set(state as i64);
    }

    pub fn is_breaker_open(&self) -> bool {
        self.breaker.get() != BreakerState::Closed as i64
    }

    pub fn note_queue_depth(&self, depth: usize) {
        self.queue_peak.fetch_max(depth, Ordering::Relaxed);
    }

    pub fn queue_peak(&self) -> usize {
        self.queue_peak.load(Ordering::Relaxed)
    }
}

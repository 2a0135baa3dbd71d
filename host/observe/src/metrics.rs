//! Every metric: its name, its help, and what counts it.
//!
//! Metrics belong to a run, not to the process: two pipelines in one process do not
//! mix. The summary at the end of a run reads the same numbers that `/metrics` serves.

use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use pipehost_record::NO_TIME;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

pub use crate::activity::{Activity, Ongoing};

use crate::activity::{Activities, Interruption};
use crate::own::{OfCall, OwnMetrics};
use crate::progress::{Lag, Progress};
use crate::tap::TapPoint;
use prometheus::{
    CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Registers metrics; a name or a help that Prometheus does not allow is found by every test.
struct Registrar(Registry);

impl Registrar {
    fn add<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let made = made.expect("a valid name");
        self.0.register(Box::new(made.clone())).expect("each name is registered once");
        made
    }
}

/// A metric that each node has.
trait OfNode {
    /// The same of all nodes.
    type Family: Collector + Clone + 'static;

    fn family(options: Opts) -> prometheus::Result<Self::Family>;
}

impl OfNode for IntCounter {
    type Family = IntCounterVec;

    fn family(options: Opts) -> prometheus::Result<IntCounterVec> {
        IntCounterVec::new(options, &["stage"])
    }
}

impl OfNode for IntGauge {
    type Family = IntGaugeVec;

    fn family(options: Opts) -> prometheus::Result<IntGaugeVec> {
        IntGaugeVec::new(options, &["stage"])
    }
}

/// Declares the counters and gauges of a node, each once: its field, its name, its help.
macro_rules! node_metrics {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal, $help:literal;)*) => {
        /// The counters and gauges of all nodes.
        struct Families {
            $($field: <$kind as OfNode>::Family,)*
        }

        impl Families {
            fn new(registrar: &Registrar) -> Self {
                Self { $($field: registrar.add(<$kind>::family(Opts::new($name, $help))),)* }
            }

            fn node(&self, name: &str) -> Counts {
                Counts { $($field: self.$field.with_label_values(&[name]),)* }
            }
        }

        /// The counters and gauges of one source, stage or sink.
        pub struct Counts {
            $($(#[$doc])* pub $field: $kind,)*
        }
    };
}

node_metrics! {
    /// Records that it took in.
    records_in: IntCounter = "pipeline_stage_records_in_total",
        "Records that a source, stage or sink took in.";
    /// Records that it sent on or wrote.
    records_out: IntCounter = "pipeline_stage_records_out_total",
        "Records that a source, stage or sink sent on or wrote.";
    /// Records that it rejected for good.
    rejected: IntCounter = "pipeline_stage_records_rejected_total",
        "Records that were rejected for good, after all retries.";
    /// Rejected records that became dead letters.
    dead_letters: IntCounter = "pipeline_stage_dead_letters_total",
        "Rejected records that were written as dead letters.";
    /// Rejected records that were dropped.
    skipped: IntCounter = "pipeline_stage_records_skipped_total",
        "Rejected records that were dropped because of on_error = \"skip\".";
    /// Records that were dropped because the queue in front of this node was full.
    dropped: IntCounter = "pipeline_stage_records_dropped_total",
        "Records dropped because the queue in front of the stage was full.";
    /// Records, or writes of a sink, that were tried again.
    retries: IntCounter = "pipeline_stage_retries_total",
        "Records that a stage, and writes that a sink tried again.";
    /// Fuel that its calls used.
    fuel: IntCounter = "pipeline_stage_fuel_consumed_total",
        "Fuel that the calls of a stage used.";
    /// Memory of its instances, in bytes.
    memory: IntGauge = "pipeline_stage_memory_bytes",
        "Memory of a stage's instances, tables included.";
    /// Instances that were replaced as their memory neared its limit.
    renewed: IntCounter = "pipeline_stage_instances_renewed_total",
        "Instances that were replaced between two batches, as their memory neared its limit.";
    /// Batches waiting in front of this node.
    queue: IntGauge = "pipeline_stage_queue_depth_batches",
        "Batches waiting in front of a stage or sink.";
    /// How many batches all queues in front of this node hold at most.
    queue_capacity: IntGauge = "pipeline_stage_queue_capacity_batches",
        "Batches that the queues in front of a stage or sink hold at most.";
    /// Its lanes, or its workers.
    lanes: IntGauge = "pipeline_stage_lanes",
        "Lanes of a stage: each has an instance of its own.";
    /// Bytes that its guests printed beyond the limit.
    log_dropped: IntCounter = "pipeline_stage_log_dropped_bytes_total",
        "Bytes that a stage printed beyond its rate limit.";
    /// Metrics of its own that were dropped.
    own_dropped: IntCounter = "pipeline_stage_own_metrics_dropped_total",
        "Values of a stage's own metrics that were dropped: beyond a limit, or not valid.";
    /// The state of its breaker, as a number: see [`BreakerState`].
    breaker_state: IntGauge = "pipeline_stage_breaker_state",
        "State of a stage's breaker: 0 closed (calls are made), 1 probing, 2 open.";
    /// How often its breaker opened.
    breaker_opened: IntCounter = "pipeline_stage_breaker_opened_total",
        "How often the breaker of a stage opened.";
}

/// The metrics of one run.
pub struct Metrics {
    pipeline: String,
    registry: Registry,
    /// Records that reached a sink and were written.
    pub processed: IntCounter,
    checkpoints: IntCounter,
    checkpoint_duration: Histogram,
    checkpoint_time: IntGauge,
    replacements: IntCounterVec,
    replacement_pause: Histogram,
    families: Families,
    failures: IntCounterVec,
    rescued: IntCounterVec,
    duration: HistogramVec,
    batch: HistogramVec,
    seconds: CounterVec,
    lag_bytes: IntGaugeVec,
    lag_records: IntGaugeVec,
    last_record: GaugeVec,
    watermark: GaugeVec,
    own: OwnMetrics,
    /// By name: a pipeline that replaces another one goes on with them.
    nodes: Mutex<HashMap<String, Arc<NodeMetrics>>>,
}

/// The metrics of one source, stage or sink.
pub struct NodeMetrics {
    name: String,
    own: OwnMetrics,
    counts: Counts,
    /// Time to process one batch, in seconds.
    pub duration: Histogram,
    /// Records in a batch that came in.
    pub batch: Histogram,
    activities: Activities,
    failures: [IntCounter; Cause::ALL.len()],
    rescued: [IntCounter; Cause::ALL.len()],
    /// The most batches that one queue in front of this node held.
    queue_peak: AtomicUsize,
    /// Records that came in and are not yet sent on, written or rejected.
    pub in_flight: AtomicI64,
    /// In nanoseconds since the Unix epoch; [`NO_TIME`] before the first one.
    last_record: AtomicI64,
    watermark: AtomicI64,
    /// Of a source.
    progress: Mutex<Option<Arc<Progress>>>,
    /// Where one can look at what passes through it.
    pub tap: Arc<TapPoint>,
}

impl Deref for NodeMetrics {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
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

/// The state of a breaker: the value of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed = 0,
    Probing = 1,
    Open = 2,
}

impl Default for Metrics {
    /// Those of a pipeline without a name.
    fn default() -> Self {
        Self::new("")
    }
}

impl Metrics {
    /// The metrics of the pipeline of this name.
    pub fn new(pipeline: &str) -> Self {
        let labels = (!pipeline.is_empty())
            .then(|| HashMap::from([("pipeline".to_owned(), pipeline.to_owned())]));
        let registry = Registry::new_custom(None, labels).expect("no prefix");
        let collector = ProcessCollector::for_self();
        registry.register(Box::new(collector)).expect("its names are its own");
        let registrar = Registrar(registry);
        let build_info = registrar.add(IntGaugeVec::new(
            Opts::new("pipehost_build_info", "1, with the version of this program."),
            &["version"],
        ));
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let exponential = |start, count| {
            prometheus::exponential_buckets(start, 4.0, count).expect("valid buckets")
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let options = HistogramOpts::new(name, help).buckets(buckets);
            registrar.add(HistogramVec::new(options, &["stage"]))
        };
        Self {
            processed: registrar.add(IntCounter::new(
                "pipeline_processed_items_total",
                "Records written by the sinks.",
            )),
            checkpoints: registrar.add(IntCounter::new(
                "pipeline_checkpoints_total",
                "Checkpoints that were completed: written, or (without a state) used to acknowledge \
                 records.",
            )),
            checkpoint_duration: registrar.add(Histogram::with_opts(
                HistogramOpts::new(
                    "pipeline_checkpoint_duration_seconds",
                    "Time from the start of a checkpoint until it is complete.",
                )
                .buckets(exponential(0.001, 9)),
            )),
            checkpoint_time: registrar.add(IntGauge::new(
                "pipeline_checkpoint_timestamp_seconds",
                "When the last checkpoint was completed, in seconds since the Unix epoch.",
            )),
            replacements: registrar.add(IntCounterVec::new(
                Opts::new(
                    "pipeline_replacements_total",
                    "How often the pipeline was to be replaced by its changed file, by outcome.",
                ),
                &["outcome"],
            )),
            replacement_pause: registrar.add(Histogram::with_opts(
                HistogramOpts::new(
                    "pipeline_replacement_pause_seconds",
                    "Time in which no source was read, as the pipeline was replaced.",
                )
                .buckets(exponential(0.0001, 9)),
            )),
            families: Families::new(&registrar),
            failures: registrar.add(IntCounterVec::new(
                Opts::new(
                    "pipeline_stage_failures_total",
                    "Calls into the sandbox that failed, by cause.",
                ),
                &["stage", "cause"],
            )),
            rescued: registrar.add(IntCounterVec::new(
                Opts::new(
                    "pipeline_stage_rescued_batches_total",
                    "Batches whose call failed, and whose records all passed once they were divided.",
                ),
                &["stage", "cause"],
            )),
            duration: histogram(
                "pipeline_stage_duration_seconds",
                "Time to process one batch.",
                exponential(0.00001, 11),
            ),
            batch: histogram(
                "pipeline_stage_batch_records",
                "Records in a batch that came in.",
                exponential(1.0, 9),
            ),
            seconds: registrar.add(CounterVec::new(
                Opts::new(
                    "pipeline_stage_seconds_total",
                    "Seconds that a source, stage or sink spent on each activity; summed over its \
                     workers.",
                ),
                &["stage", "doing"],
            )),
            lag_bytes: registrar.add(IntGaugeVec::new(
                Opts::new(
                    "pipeline_source_lag_bytes",
                    "Bytes that are in the files of a source and are not read yet.",
                ),
                &["stage"],
            )),
            lag_records: registrar.add(IntGaugeVec::new(
                Opts::new(
                    "pipeline_source_lag_records",
                    "Rows that are in the table of a source and are not read yet; 1,000,000 stands \
                     for that many or more.",
                ),
                &["stage"],
            )),
            last_record: registrar.add(GaugeVec::new(
                Opts::new(
                    "pipeline_stage_last_record_timestamp_seconds",
                    "Timestamp of the last record that a source sent or a stage or sink took in, in \
                     seconds since the Unix epoch.",
                ),
                &["stage"],
            )),
            watermark: registrar.add(GaugeVec::new(
                Opts::new(
                    "pipeline_stage_watermark_timestamp_seconds",
                    "Watermark that a source or stage sent or a sink received last, in seconds since \
                     the Unix epoch.",
                ),
                &["stage"],
            )),
            own: OwnMetrics::default(),
            nodes: Mutex::default(),
            pipeline: pipeline.to_owned(),
            registry: registrar.0,
        }
    }

    /// The metrics of the node of this name.
    pub fn node(&self, name: &str) -> Arc<NodeMetrics> {
        let mut nodes = self.nodes.lock().expect("nobody panics here");
        nodes.entry(name.to_owned()).or_insert_with(|| self.new_node(name)).clone()
    }

    fn new_node(&self, name: &str) -> Arc<NodeMetrics> {
        Arc::new(NodeMetrics {
            name: name.to_owned(),
            own: self.own.clone(),
            counts: self.families.node(name),
            duration: self.duration.with_label_values(&[name]),
            batch: self.batch.with_label_values(&[name]),
            activities: Activities::default(),
            failures: Cause::ALL
                .map(|cause| self.failures.with_label_values(&[name, cause.name()])),
            rescued: Cause::ALL.map(|cause| self.rescued.with_label_values(&[name, cause.name()])),
            queue_peak: AtomicUsize::new(0),
            in_flight: AtomicI64::new(0),
            last_record: AtomicI64::new(NO_TIME),
            watermark: AtomicI64::new(NO_TIME),
            progress: Mutex::default(),
            tap: Arc::default(),
        })
    }

    /// Brings up to date what changes by itself.
    fn refresh(&self) {
        let nodes = self.nodes.lock().expect("nobody panics here");
        for (name, node) in &*nodes {
            let label = &[name.as_str()];
            for activity in Activity::ALL {
                let seconds = self.seconds.with_label_values(&[name, activity.name()]);
                // Time may move to another activity: a counter never goes back.
                seconds.inc_by((node.seconds(activity) - seconds.get()).max(0.0));
            }
            match node.lag() {
                Some(Lag::Bytes(lag)) => self.lag_bytes.with_label_values(label).set(lag as i64),
                Some(Lag::Records(lag)) => {
                    self.lag_records.with_label_values(label).set(lag as i64)
                }
                // Of a node that is gone, or that cannot tell it any more.
                None => {
                    let _ = self.lag_bytes.remove_label_values(label); // It may have had none.
                    let _ = self.lag_records.remove_label_values(label);
                }
            }
            if let Some(time) = node.last_record() {
                self.last_record.with_label_values(label).set(time as f64 / 1e9);
            }
            if let Some(time) = node.watermark() {
                self.watermark.with_label_values(label).set(time as f64 / 1e9);
            }
        }
    }

    /// Names the nodes of the pipeline that runs now: the others have no lag, and no queue.
    pub fn runs(&self, names: &[&str]) {
        let nodes = self.nodes.lock().expect("nobody panics here");
        for (_, node) in nodes.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            *node.progress.lock().expect("nobody panics here") = None;
            node.queue_capacity.set(0);
        }
    }

    /// Counts a checkpoint that took this long to write.
    pub fn checkpoint(&self, took: Duration) {
        self.checkpoints.inc();
        self.checkpoint_duration.observe(took.as_secs_f64());
        self.checkpoint_time.set(jiff::Timestamp::now().as_second());
    }

    /// Counts that the pipeline was replaced, and how long no source was read meanwhile.
    pub fn replaced(&self, pause: Duration) {
        self.replacements.with_label_values(&["replaced"]).inc();
        self.replacement_pause.observe(pause.as_secs_f64());
    }

    /// Counts that the pipeline was not replaced.
    pub fn not_replaced(&self) {
        self.replacements.with_label_values(&["refused"]).inc();
    }

    /// Checkpoints that were written.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.get()
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        self.refresh();
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("the registry holds no metric that cannot be written");
        let mut text = String::from_utf8(text).expect("the text format is UTF-8");
        self.own.text(&self.pipeline, &mut text);
        text
    }
}

impl NodeMetrics {
    pub fn failure(&self, cause: Cause) -> &IntCounter {
        &self.failures[cause as usize]
    }

    /// Batches whose call failed for this cause, and whose records all passed in smaller ones.
    pub fn rescued(&self, cause: Cause) -> &IntCounter {
        &self.rescued[cause as usize]
    }

    /// The causes of failures that happened, with their counts.
    pub fn failures(&self) -> impl Iterator<Item = (Cause, u64)> {
        let counts = self.failures.each_ref().map(IntCounter::get);
        Cause::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Counts what an accepted call has told of the stage's own metrics.
    pub fn count_own(&self, call: &mut OfCall) {
        let dropped = self.own.count(&self.name, call);
        if dropped > 0 {
            self.own_dropped.inc_by(dropped);
        }
    }

    /// Adds time that was spent on an activity.
    pub fn spent(&self, doing: Activity, time: Duration) {
        self.activities.add(doing, time);
    }

    /// Counts time for an activity while it lasts, until the guard is dropped.
    pub fn begin(&self, doing: Activity) -> Ongoing<'_> {
        self.activities.begin(doing)
    }

    /// Counts another activity, which interrupts one that is being counted.
    pub fn interrupt(&self, doing: Activity, with: Activity) -> Interruption<'_> {
        self.activities.interrupt(doing, with)
    }

    /// Counts time for another activity than it was counted for.
    pub fn shift(&self, from: Activity, to: Activity, time: Duration) {
        self.activities.shift(from, to, time);
    }

    /// Waits for a future, and counts the time while it lasts, if it is not ready at once.
    pub async fn waiting<F: Future>(&self, doing: Activity, future: F) -> F::Output {
        let mut future = pin!(future);
        let ready = poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        });
        if let Some(output) = ready.await {
            return output;
        }
        let _ongoing = self.begin(doing);
        future.await
    }

    /// Seconds spent on an activity up to now, summed over its workers.
    pub fn seconds(&self, doing: Activity) -> f64 {
        self.activities.seconds(doing)
    }

    /// Notes the timestamp of the last record that passed, in nanoseconds since the Unix epoch.
    pub fn note_record(&self, time: i64) {
        self.last_record.store(time, Ordering::Relaxed);
    }

    pub fn note_watermark(&self, time: i64) {
        self.watermark.store(time, Ordering::Relaxed);
    }

    /// The timestamp of the last record that passed, in nanoseconds since the Unix epoch.
    pub fn last_record(&self) -> Option<i64> {
        Some(self.last_record.load(Ordering::Relaxed)).filter(|time| *time != NO_TIME)
    }

    pub fn watermark(&self) -> Option<i64> {
        Some(self.watermark.load(Ordering::Relaxed)).filter(|time| *time != NO_TIME)
    }

    /// Has it tell the lag of a source.
    pub fn set_progress(&self, progress: Arc<Progress>) {
        *self.progress.lock().expect("nobody panics here") = Some(progress);
    }

    /// What a source could read now, and has not read yet.
    pub fn lag(&self) -> Option<Lag> {
        self.progress.lock().expect("nobody panics here").as_ref()?.lag()
    }

    pub fn breaker(&self, state: BreakerState) {
        self.breaker_state.set(state as i64);
    }

    pub fn is_breaker_open(&self) -> bool {
        self.breaker_state.get() != BreakerState::Closed as i64
    }

    pub fn note_queue_depth(&self, depth: usize) {
        self.queue_peak.fetch_max(depth, Ordering::Relaxed);
    }

    pub fn queue_peak(&self) -> usize {
        self.queue_peak.load(Ordering::Relaxed)
    }
}

//! Metrics of the stages' own: see `wit/metrics.wit`.
//!
//! A call collects what the guest tells. Only with an answer that is accepted does it count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

/// The most series of one stage.
pub const MOST_SERIES: usize = 256;
/// The most values of one call that are kept apart.
const MOST_OF_A_CALL: usize = 1024;
const MOST_LABELS: usize = 8;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 128;
/// What Prometheus's format appends to names: a metric that ends so could be taken for another's.
const ENDINGS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];
/// Upper ends of the buckets of a histogram.
const BUCKETS: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// What is done to a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told {
    Add(f64),
    Set(f64),
    Observe(f64),
}

/// Names and values, by name.
type Labels = Vec<(String, String)>;

/// What one call has told so far.
#[derive(Debug, Default)]
pub struct OfCall {
    told: BTreeMap<(String, Labels), Value>,
    dropped: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram { buckets: [u64; BUCKETS.len()], count: u64, sum: f64 },
}

impl Value {
    fn of(told: Told) -> Option<Self> {
        match told {
            Told::Add(by) => (by > 0.0 && by.is_finite()).then_some(Self::Counter(by)),
            Told::Set(to) => to.is_finite().then_some(Self::Gauge(to)),
            Told::Observe(value) => value.is_finite().then(|| {
                let buckets = BUCKETS.map(|end| u64::from(value <= end));
                Self::Histogram { buckets, count: 1, sum: value }
            }),
        }
    }

    /// Adds what was told later; false if it is of another kind, or the sum would be infinite.
    fn add(&mut self, later: &Self) -> bool {
        match (self, later) {
            (Self::Counter(sum), Self::Counter(by)) if (*sum + by).is_finite() => *sum += by,
            (Self::Gauge(is), Self::Gauge(to)) => *is = *to,
            (
                Self::Histogram { buckets, count, sum },
                Self::Histogram { buckets: more, count: n, sum: s },
            ) if (*sum + s).is_finite() => {
                buckets.iter_mut().zip(more).for_each(|(bucket, more)| *bucket += more);
                *count += n;
                *sum += s;
            }
            _ => return false,
        }
        true
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }
}

impl OfCall {
    /// Takes what a guest tells.
    pub fn tell(&mut self, name: String, mut labels: Labels, told: Told) {
        labels.sort();
        let fits = is_name(&name)
            && !ENDINGS.iter().any(|ending| name.ends_with(ending))
            && labels.len() <= MOST_LABELS
            && labels.iter().all(|(name, value)| is_name(name) && value.len() <= LONGEST_VALUE)
            && labels.is_sorted_by(|a, b| a.0 < b.0)
            && labels.iter().all(|(name, _)| name != "stage" && name != "pipeline" && name != "le");
        let value = Value::of(told).filter(|_| fits);
        let Some(value) = value else {
            self.dropped += 1;
            return;
        };
        let room = self.told.len() < MOST_OF_A_CALL;
        let key = (name, labels);
        let taken = match self.told.get_mut(&key) {
            Some(before) => before.add(&value),
            None if room => self.told.insert(key, value).is_none(),
            None => false,
        };
        self.dropped += u64::from(!taken);
    }

    /// Forgets it all.
    pub fn clear(&mut self) {
        self.told.clear();
        self.dropped = 0;
    }

    fn is_empty(&self) -> bool {
        self.told.is_empty() && self.dropped == 0
    }
}

fn is_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(valid)
}

/// The metrics of all stages of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OwnMetrics(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By name, then by stage and labels: all of one name are of one kind.
    families: BTreeMap<String, BTreeMap<(String, Labels), Value>>,
    /// How many series each stage has.
    series: BTreeMap<String, usize>,
}

impl OwnMetrics {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics here")
    }

    /// Counts what an accepted call of a stage has told. Returns how much of it was dropped.
    pub fn count(&self, stage: &str, call: &mut OfCall) -> u64 {
        if call.is_empty() {
            return 0;
        }
        let mut dropped = std::mem::take(&mut call.dropped);
        let mut state = self.state();
        for ((name, labels), value) in std::mem::take(&mut call.told) {
            if !state.add(stage, name, labels, value) {
                dropped += 1;
            }
        }
        dropped
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn text(&self, pipeline: &str, out: &mut String) {
        let pipeline = match pipeline {
            "" => String::new(),
            name => format!(",pipeline=\"{}\"", escaped(name)),
        };
        for (name, family) in &self.state().families {
            let Some(kind) = family.values().next().map(Value::kind) else { continue };
            let total = if kind == "counter" { "_total" } else { "" };
            let _ = writeln!(out, "# HELP stage_{name}{total} A metric of a stage's own.");
            let _ = writeln!(out, "# TYPE stage_{name}{total} {kind}");
            for ((stage, labels), value) in family {
                let mut given = format!("stage=\"{}\"{pipeline}", escaped(stage));
                for (label, value) in labels {
                    let _ = write!(given, ",{label}=\"{}\"", escaped(value));
                }
                let _ = match value {
                    Value::Counter(value) => writeln!(out, "stage_{name}_total{{{given}}} {value}"),
                    Value::Gauge(value) => writeln!(out, "stage_{name}{{{given}}} {value}"),
                    Value::Histogram { buckets, count, sum } => {
                        for (end, n) in BUCKETS.iter().zip(buckets) {
                            let _ =
                                writeln!(out, "stage_{name}_bucket{{{given},le=\"{end}\"}} {n}");
                        }
                        let _ = writeln!(out, "stage_{name}_bucket{{{given},le=\"+Inf\"}} {count}");
                        let _ = writeln!(out, "stage_{name}_sum{{{given}}} {sum}");
                        writeln!(out, "stage_{name}_count{{{given}}} {count}")
                    }
                };
            }
        }
    }
}

impl State {
    fn add(&mut self, stage: &str, name: String, labels: Labels, value: Value) -> bool {
        let key = (stage.to_owned(), labels);
        if let Some(family) = self.families.get_mut(&name) {
            if family.values().next().is_some_and(|first| first.kind() != value.kind()) {
                return false;
            }
            if let Some(before) = family.get_mut(&key) {
                return before.add(&value);
            }
        }
        let series = self.series.entry(key.0.clone()).or_default();
        if *series >= MOST_SERIES {
            return false;
        }
        *series += 1;
        self.families.entry(name).or_default().insert(key, value);
        true
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(value: &str) -> Labels {
        vec![("kind".to_owned(), value.to_owned())]
    }

    #[test]
    fn what_is_accepted_counts_and_what_is_forgotten_does_not() {
        let (own, mut call) = (OwnMetrics::default(), OfCall::default());
        call.tell("seen".into(), label("a"), Told::Add(2.0));
        call.tell("seen".into(), label("a"), Told::Add(1.0));
        call.tell("size".into(), Vec::new(), Told::Set(5.0));
        call.tell("took".into(), Vec::new(), Told::Observe(0.05));
        assert_eq!(own.count("s\"1", &mut call), 0);
        call.tell("seen".into(), label("a"), Told::Add(100.0));
        call.clear();
        assert_eq!(own.count("s\"1", &mut call), 0);
        let mut text = String::new();
        own.text("p", &mut text);
        for line in [
            "# TYPE stage_seen_total counter",
            "stage_seen_total{stage=\"s\\\"1\",pipeline=\"p\",kind=\"a\"} 3",
            "stage_size{stage=\"s\\\"1\",pipeline=\"p\"} 5",
            "stage_took_bucket{stage=\"s\\\"1\",pipeline=\"p\",le=\"0.01\"} 0",
            "stage_took_bucket{stage=\"s\\\"1\",pipeline=\"p\",le=\"0.1\"} 1",
            "stage_took_bucket{stage=\"s\\\"1\",pipeline=\"p\",le=\"+Inf\"} 1",
            "stage_took_count{stage=\"s\\\"1\",pipeline=\"p\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_beyond_the_limits_is_dropped_and_counted() {
        let (own, mut call) = (OwnMetrics::default(), OfCall::default());
        for name in ["", "Seen", "1st", "a-b", &"x".repeat(65), "a_total", "a_count"] {
            call.tell(name.to_owned(), Vec::new(), Told::Add(1.0));
        }
        for told in [Told::Add(-1.0), Told::Add(0.0), Told::Add(f64::NAN), Told::Set(f64::INFINITY)]
        {
            call.tell("ok".to_owned(), Vec::new(), told);
        }
        call.tell("ok".to_owned(), label(&"x".repeat(129)), Told::Add(1.0));
        call.tell("ok".to_owned(), vec![("stage".into(), "other".into())], Told::Add(1.0));
        call.tell("ok".to_owned(), [label("a"), label("b")].concat(), Told::Add(1.0));
        assert_eq!(own.count("s", &mut call), 14);
        // Series, and kinds.
        for n in 0..MOST_SERIES + 10 {
            call.tell("many".to_owned(), label(&n.to_string()), Told::Add(1.0));
        }
        assert_eq!(own.count("s", &mut call), 10);
        call.tell("many".to_owned(), label("0"), Told::Set(1.0));
        assert_eq!(own.count("other", &mut call), 1);
        // A stage at its limit makes no names either.
        call.tell("more".to_owned(), label("0"), Told::Add(1.0));
        assert_eq!(own.count("s", &mut call), 1);
        assert!(!own.state().families.contains_key("more"));
        for _ in 0..2 {
            call.tell("most".to_owned(), Vec::new(), Told::Add(f64::MAX));
            call.tell("span".to_owned(), Vec::new(), Told::Observe(f64::MIN));
        }
        assert_eq!(own.count("other", &mut call), 2);
        for n in 0..MOST_OF_A_CALL + 5 {
            call.tell("all".to_owned(), label(&n.to_string()), Told::Add(1.0));
        }
        assert_eq!(own.count("third", &mut call), (MOST_OF_A_CALL + 5 - MOST_SERIES) as u64);
    }
}

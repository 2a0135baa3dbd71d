//! What has happened between two looks at a run: rates, waits, and what holds it up.

use std::time::Duration;

use crate::status::{NodeStatus, Status};
use pipehost_observe::metrics::Activity;

/// What a node did between two looks.
#[derive(Debug, Clone)]
pub struct Change {
    /// Records a second.
    pub records_in: f64,
    pub records_out: f64,
    /// Retries a second.
    pub retries: f64,
    /// The part of the time, from 0 to 1, that each lane spent on each activity, by
    /// [`Activity::ALL`].
    shares: [f64; Activity::ALL.len()],
}

/// The node that holds the others up.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    pub node: String,
    /// What it spends most of its time on.
    pub doing: Activity,
    /// The part of the time, from 0 to 1, that it spends on that.
    pub share: f64,
    /// The part of the time that it keeps others waiting.
    pub busy: f64,
}

impl Change {
    /// What a node did since it was as `before`, if it was there, in this time.
    pub fn of(before: Option<&NodeStatus>, now: &NodeStatus, time: Duration) -> Self {
        let seconds = time.as_secs_f64().max(1e-9);
        let per_second = |count: fn(&NodeStatus) -> u64| {
            let before = before.map_or(0, count);
            count(now).saturating_sub(before) as f64 / seconds
        };
        let share = |doing| {
            let spent = now.seconds(doing) - before.map_or(0.0, |before| before.seconds(doing));
            let of_lanes = match doing {
                // One lane at a time takes or sends.
                Activity::WaitingForInput | Activity::WaitingForOutput => 1.0,
                _ => now.lanes as f64,
            };
            (spent / seconds / of_lanes).clamp(0.0, 1.0)
        };
        Self {
            records_in: per_second(|node| node.records_in),
            records_out: per_second(|node| node.records_out),
            retries: per_second(|node| node.retries),
            shares: Activity::ALL.map(share),
        }
    }

    /// The part of the time that it spent on an activity.
    pub fn share(&self, doing: Activity) -> f64 {
        self.shares[doing as usize]
    }

    /// The part of the time in which it kept others waiting.
    pub fn busy(&self) -> f64 {
        BUSY.iter().map(|doing| self.share(*doing)).sum::<f64>().min(1.0)
    }

    /// What it spent most of its time on; `None` if it did nothing for most of it.
    pub fn mostly(&self) -> Option<Activity> {
        let most =
            Activity::ALL.into_iter().max_by(|a, b| self.share(*a).total_cmp(&self.share(*b)));
        most.filter(|doing| self.share(*doing) > 0.1)
    }
}

/// Activities in which a node keeps others waiting.
const BUSY: [Activity; 4] =
    [Activity::Working, Activity::Copying, Activity::WaitingToRetry, Activity::WaitingForRate];

/// The changes of all nodes of `now`, in their order.
pub fn changes(before: &Status, now: &Status) -> Vec<Change> {
    let time = now.uptime().saturating_sub(before.uptime());
    let then = |name: &str| before.nodes.iter().find(|node| node.name == name);
    now.nodes.iter().map(|node| Change::of(then(&node.name), node, time)).collect()
}

/// The node that is busy for most of its time, if there is one: the others wait for it.
pub fn bottleneck(nodes: &[NodeStatus], changes: &[Change]) -> Option<Bottleneck> {
    let busiest = nodes.iter().zip(changes).max_by(|a, b| a.1.busy().total_cmp(&b.1.busy()));
    let (node, change) = busiest.filter(|(_, change)| change.busy() > 0.5 && nodes.len() > 1)?;
    let doing = BUSY.into_iter().max_by(|a, b| change.share(*a).total_cmp(&change.share(*b)))?;
    let share = change.share(doing);
    Some(Bottleneck { node: node.name.clone(), doing, share, busy: change.busy() })
}

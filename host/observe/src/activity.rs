//! What a node spends its time on, counted while it lasts.
//!
//! A wait that began an hour ago shows in the next scrape, not only once it is over: what stalls a
//! pipeline is then to be seen while it stalls.

use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

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
    /// Waits before it tries again: after a failure, or while its breaker is open.
    WaitingToRetry,
    /// Is held to its `rate`.
    WaitingForRate,
}

impl Activity {
    pub const ALL: [Self; 6] = [
        Self::Working,
        Self::Copying,
        Self::WaitingForInput,
        Self::WaitingForOutput,
        Self::WaitingToRetry,
        Self::WaitingForRate,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Copying => "copying",
            Self::WaitingForInput => "waiting_for_input",
            Self::WaitingForOutput => "waiting_for_output",
            Self::WaitingToRetry => "waiting_to_retry",
            Self::WaitingForRate => "waiting_for_rate",
        }
    }
}

/// The time that all workers of a node have spent on each activity.
#[derive(Debug, Default)]
pub struct Activities([Mutex<Clock>; Activity::ALL.len()]);

/// The time is `sum + ongoing * now`: each beginning subtracts its time from the sum, and each end
/// adds its own.
#[derive(Debug, Default, Clone, Copy)]
struct Clock {
    ongoing: i64,
    /// In nanoseconds.
    sum: i64,
}

/// Nanoseconds since this program first asked.
fn now() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanoseconds(START.elapsed())
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Activities {
    fn change(&self, doing: Activity, change: impl FnOnce(&mut Clock)) {
        change(&mut self.0[doing as usize].lock().expect("nobody panics here"));
    }

    fn begin_at(&self, doing: Activity, now: i64) {
        self.change(doing, |clock| {
            (clock.ongoing, clock.sum) = (clock.ongoing + 1, clock.sum - now);
        });
    }

    fn end_at(&self, doing: Activity, now: i64) {
        self.change(doing, |clock| {
            (clock.ongoing, clock.sum) = (clock.ongoing - 1, clock.sum + now);
        });
    }

    /// Counts from now on, until the guard is dropped.
    pub fn begin(&self, doing: Activity) -> Ongoing<'_> {
        self.begin_at(doing, now());
        Ongoing { activities: self, doing }
    }

    /// The same for another activity, which interrupts one that is being counted.
    pub fn interrupt(&self, doing: Activity, with: Activity) -> Interruption<'_> {
        let now = now();
        self.end_at(doing, now);
        self.begin_at(with, now);
        Interruption { activities: self, interrupted: doing, with }
    }

    /// Adds time that is over.
    pub fn add(&self, doing: Activity, time: Duration) {
        self.change(doing, |clock| clock.sum += nanoseconds(time));
    }

    /// Counts for `to` what was counted for `from`.
    pub fn shift(&self, from: Activity, to: Activity, time: Duration) {
        self.change(from, |clock| clock.sum -= nanoseconds(time));
        self.add(to, time);
    }

    /// Seconds spent on an activity up to now.
    pub fn seconds(&self, doing: Activity) -> f64 {
        let mut spent = 0;
        self.change(doing, |clock| spent = clock.sum + clock.ongoing * now());
        spent.max(0) as f64 / 1e9
    }
}

/// Time that is being spent, until this is dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Ongoing<'a> {
    activities: &'a Activities,
    doing: Activity,
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.activities.end_at(self.doing, now());
    }
}

/// An activity that interrupts another one, until this is dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Interruption<'a> {
    activities: &'a Activities,
    interrupted: Activity,
    with: Activity,
}

impl Drop for Interruption<'_> {
    fn drop(&mut self) {
        let now = now();
        self.activities.end_at(self.with, now);
        self.activities.begin_at(self.interrupted, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_while_it_lasts_and_once() {
        let activities = Activities::default();
        let since = Instant::now();
        let first = activities.begin(Activity::WaitingForOutput);
        let second = activities.begin(Activity::WaitingForOutput);
        while activities.seconds(Activity::WaitingForOutput) < 0.01 {
            std::thread::yield_now();
        }
        drop(first);
        drop(second);
        let over = activities.seconds(Activity::WaitingForOutput);
        assert!(over <= 2.0 * since.elapsed().as_secs_f64(), "two workers wait at once");
        assert!(over >= 0.01);
        assert_eq!(activities.seconds(Activity::WaitingForOutput), over, "it is over");
        assert_eq!(activities.seconds(Activity::Working), 0.0);
    }

    #[test]
    fn what_interrupts_an_activity_counts_instead_of_it() {
        let activities = Activities::default();
        let begun = Instant::now();
        let working = activities.begin(Activity::Working);
        let waits = activities.interrupt(Activity::Working, Activity::WaitingToRetry);
        while activities.seconds(Activity::WaitingToRetry) < 0.01 {
            std::thread::yield_now();
        }
        drop(waits);
        drop(working);
        let all = begun.elapsed().as_secs_f64();
        let waited = activities.seconds(Activity::WaitingToRetry);
        assert!(activities.seconds(Activity::Working) <= all - waited);
    }

    #[test]
    fn a_part_of_the_time_can_count_for_something_else() {
        let activities = Activities::default();
        activities.add(Activity::Working, Duration::from_secs(3));
        activities.shift(Activity::Working, Activity::Copying, Duration::from_secs(1));
        assert_eq!(activities.seconds(Activity::Working), 2.0);
        assert_eq!(activities.seconds(Activity::Copying), 1.0);
    }
}

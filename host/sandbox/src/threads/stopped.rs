//! Time in which this process did not run: it was stopped (SIGSTOP, a debugger, a suspended
//! machine), or got no CPU. This time does not count against a guest's time limit.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// How often the thread records that the process runs.
const TICK: Duration = Duration::from_millis(100);
/// A tick later than this means that the process did not run.
const SLACK: Duration = Duration::from_millis(500);
/// How many pauses are remembered.
const MOST: usize = 64;

struct Ticks {
    last: Instant,
    /// End and length of each pause.
    pauses: VecDeque<(Instant, Duration)>,
}

static TICKS: LazyLock<Mutex<Ticks>> = LazyLock::new(|| {
    let ticks = Ticks { last: Instant::now(), pauses: VecDeque::new() };
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(TICK);
            TICKS.lock().expect("nobody panics here").tick(Instant::now());
        }
    });
    Mutex::new(ticks)
});

impl Ticks {
    fn tick(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        if gap > TICK + SLACK {
            self.pauses.push_back((now, gap - TICK));
            if self.pauses.len() > MOST {
                self.pauses.pop_front();
            }
        }
        self.last = now;
    }

    fn since(&self, start: Instant) -> Duration {
        let pauses = self.pauses.iter().filter(|(end, _)| *end > start);
        pauses.map(|(end, pause)| (*pause).min(*end - start)).sum()
    }
}

/// Starts the thread that records ticks.
pub(super) fn begin() {
    LazyLock::force(&TICKS);
}

/// How much of the time since `start` the process did not run.
pub(crate) fn since(start: Instant) -> Duration {
    let mut ticks = TICKS.lock().expect("nobody panics here");
    // The next tick may not have come yet.
    ticks.tick(Instant::now());
    ticks.since(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pauses_count_and_only_their_part_after_the_start() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut ticks = Ticks { last: begin, pauses: VecDeque::new() };
        for millis in [100, 210, 700, 6700, 6800] {
            ticks.tick(at(millis));
        }
        assert_eq!(ticks.since(begin), Duration::from_millis(5900));
        assert_eq!(ticks.since(at(5700)), Duration::from_millis(1000));
        assert_eq!(ticks.since(at(6750)), Duration::ZERO);
    }
}

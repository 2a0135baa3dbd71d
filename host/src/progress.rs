//! Progress on a terminal: records, the rate of now, and time left where the sources have an end.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use prometheus::IntCounter;

use crate::summary::number;
use pipehost_observe::log::stderr;
use pipehost_pipeline::View;

/// Draws until it is dropped; does nothing where there is no terminal.
pub struct ProgressDisplay(Option<(tokio::task::AbortHandle, ProgressBar)>);

impl ProgressDisplay {
    pub fn start(view: View, processed: IntCounter, stdout_is_used: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        // Records and a bar on one screen would be mixed up.
        if !terminal || (stdout_is_used && std::io::stdout().is_terminal()) {
            return Self(None);
        }
        let bar = ProgressBar::no_length().with_style(style(OPEN));
        let line = bar.clone();
        // Whatever else is written to stderr has the line to itself.
        stderr::keep_clear(Some(Box::new(move |write| line.suspend(write))));
        let task = tokio::spawn(draw(bar.clone(), view, processed));
        Self(Some((task.abort_handle(), bar)))
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some((task, bar)) = self.0.take() {
            task.abort();
            bar.finish_and_clear();
            stderr::keep_clear(None);
        }
    }
}

const STEPS: u64 = 1000;
/// For sources that have an end, and for those that have none.
const ENDED: &str = "{bar:20} {percent:>3} %, {eta} left  {wide_msg}";
const OPEN: &str = "{spinner} {wide_msg}";
/// How long the time is that a rate is measured over.
const WINDOW: Duration = Duration::from_secs(3);

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template")
}

async fn draw(bar: ProgressBar, view: View, processed: IntCounter) {
    let mut window = VecDeque::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let records = processed.get();
        let rate = rate(&mut window, Instant::now(), records);
        bar.set_message(format!("{} records, {}/s", number(records), number(rate as u64)));
        let fractions: Option<Vec<f64>> = view
            .nodes()
            .iter()
            .filter_map(|node| node.progress.as_ref())
            .map(|p| p.fraction())
            .collect();
        match fractions {
            Some(fractions) if !fractions.is_empty() => {
                if bar.length().is_none() {
                    bar.set_style(style(ENDED));
                    bar.set_length(STEPS);
                }
                let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
                bar.set_position((mean * STEPS as f64) as u64);
            }
            _ => bar.tick(),
        }
    }
}

/// Records a second in the last [`WINDOW`].
fn rate(window: &mut VecDeque<(Instant, u64)>, now: Instant, records: u64) -> f64 {
    window.push_back((now, records));
    while window.len() > 2 && window[1].0 + WINDOW <= now {
        window.pop_front();
    }
    let (since, before) = window[0];
    records.saturating_sub(before) as f64 / (now - since).as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_now() {
        let (mut window, start) = (VecDeque::new(), Instant::now());
        let mut at = |second: u64, records| {
            rate(&mut window, start + Duration::from_secs(second), records) as u64
        };
        assert_eq!(at(0, 0), 0);
        assert_eq!(at(1, 1000), 1000);
        assert_eq!(at(10, 1000), 0, "it has stood still for longer than the window");
        assert_eq!(at(11, 1300), 30);
        assert_eq!(at(13, 1600), 200);
    }
}

//! Progress on a terminal: records, rate, and time left where the sources have an end.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use prometheus::IntCounter;

use pipehost_pipeline::NodeList;

/// Draws until it is dropped; does nothing where there is no terminal.
pub struct ProgressDisplay(Option<(tokio::task::AbortHandle, ProgressBar)>);

impl ProgressDisplay {
    pub fn start(nodes: NodeList, processed: IntCounter, stdout_is_used: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        // Records and a bar on one screen would be mixed up.
        if !terminal || (stdout_is_used && std::io::stdout().is_terminal()) {
            return Self(None);
        }
        let bar = ProgressBar::no_length().with_style(style(OPEN));
        let task = tokio::spawn(draw(bar.clone(), nodes, processed));
        Self(Some((task.abort_handle(), bar)))
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some((task, bar)) = self.0.take() {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

const STEPS: u64 = 1000;
/// For sources that have an end, and for those that have none.
const ENDED: &str = "{bar:30} {percent:>3} %  {msg}, {eta} left";
const OPEN: &str = "{spinner} {msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template")
}

async fn draw(bar: ProgressBar, nodes: NodeList, processed: IntCounter) {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let records = processed.get();
        let rate = records as f64 / start.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!(
            "{} records, {}/s",
            crate::summary::number(records),
            crate::summary::number(rate as u64)
        ));
        let fractions: Option<Vec<f64>> = nodes
            .now()
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

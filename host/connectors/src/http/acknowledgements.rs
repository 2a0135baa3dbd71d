//! How a source learns which of its records are durable.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Tells a source which checkpoint is durable, and lets it ask for one soon.
#[derive(Clone)]
pub struct Acknowledgements {
    durable: watch::Receiver<u64>,
    demand: Arc<Notify>,
}

impl Acknowledgements {
    /// `durable` is the number of the last checkpoint that is written; `demand` asks for another.
    pub fn new(durable: watch::Receiver<u64>, demand: Arc<Notify>) -> Self {
        Self { durable, demand }
    }

    /// Asks for a checkpoint as soon as possible.
    pub fn demand(&self) {
        self.demand.notify_one();
    }

    /// Waits until the checkpoint of this number, or a later one, is written.
    ///
    /// # Errors
    /// If the run failed first: whether the records are durable is unknown then.
    pub async fn durable(&mut self, number: u64) -> Result<(), ()> {
        self.durable.wait_for(|&durable| durable >= number).await.map(drop).map_err(drop)
    }
}

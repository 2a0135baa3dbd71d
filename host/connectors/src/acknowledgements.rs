//! How a source learns what is durable.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// How a source learns what is done with, and asks for it to be soon.
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
    /// If the run failed before: nothing is known of the records then.
    pub async fn durable(&mut self, number: u64) -> Result<(), ()> {
        self.durable.wait_for(|&durable| durable >= number).await.map(drop).map_err(drop)
    }
}

//! SIGHUP, or a change that `pipehost dev` sees: the run goes on with the changed file.

use anyhow::anyhow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::are_open;
use crate::error::Error;
use crate::load::{GOES_ON, PipelineArgs};
use pipehost_observe::log::stderr;
use pipehost_observe::metrics::Metrics;
use pipehost_observe::profile::GuestProfile;
use pipehost_pipeline::prepare::Prepared;
use pipehost_pipeline::{Replaced, Replacement, Request};

/// Reads the pipeline again each time, and asks the run to go on with it.
pub(super) struct Reload {
    pub(super) pipeline: PipelineArgs,
    pub(super) profile: Option<Arc<GuestProfile>>,
    pub(super) metrics: Arc<Metrics>,
    /// To the run.
    pub(super) send: mpsc::Sender<Request>,
    /// Why the pipeline is read again.
    pub(super) hangups: mpsc::Receiver<&'static str>,
}

impl Reload {
    /// Runs as long as the pipeline does.
    pub(super) async fn run(mut self) {
        while let Some(why) = self.hangups.recv().await {
            let error = match self.reload(why).await {
                Ok(Replaced { drained, switched }) => {
                    self.metrics.replaced(drained + switched);
                    tracing::info!(
                        "goes on with the changed pipeline: open batches were done after \
                         {drained:.1?}, the switch took {switched:.1?}"
                    );
                    continue;
                }
                Err(error) => error,
            };
            self.metrics.not_replaced();
            match error {
                None => tracing::warn!("the pipeline ended before it could be replaced"),
                Some(Error::Mistakes(text)) => stderr::fail(&text), // It says what becomes of it.
                Some(error) => stderr::fail(&format!("{}\n{GOES_ON}", error.text())),
            }
        }
        std::future::pending().await
    }

    /// # Errors
    /// Why the pipeline goes on as it was; `None` if it has ended.
    async fn reload(&self, why: &str) -> Result<Replaced, Option<Error>> {
        tracing::info!("{why}: reading the pipeline again");
        let with = self.prepare().await.map_err(Some)?;
        let (answer, answered) = oneshot::channel();
        let request = Request::Replace(Box::new(Replacement { with, answer }));
        self.send.send(request).await.map_err(|_| None)?;
        answered.await.map_err(|_| None)?.map_err(|why| Some(Error::Failed(why)))
    }

    /// Prepares it on a thread of its own: a component may have to be built first.
    async fn prepare(&self) -> Result<Prepared, Error> {
        let (pipeline, profile) = (self.pipeline.clone(), self.profile.clone());
        let (metrics, here) = (self.metrics.clone(), Handle::current());
        let preparing = tokio::task::spawn_blocking(move || {
            here.block_on(async {
                let prepared = pipeline.prepare_again(profile, metrics).await?;
                are_open(&prepared.config)?;
                Ok(prepared)
            })
        });
        preparing.await.unwrap_or_else(|panic| {
            Err(Error::Failed(anyhow!("cannot read the pipeline again: {panic}")))
        })
    }
}

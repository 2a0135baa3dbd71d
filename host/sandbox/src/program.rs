//! A stage that is ready to run: its component, its configuration, and the plan that it returned.

use std::sync::Arc;

use crate::component::Component;
use crate::contract::plan::Plan;
use crate::contract::state::SavedBy;
use crate::host::GuestLog;
use crate::instance::Failure;
use crate::instance::{Description, Instance};
use pipehost_observe::metrics::{Cause, NodeMetrics};

/// A component, opened once to learn its plan.
pub struct Program {
    component: Arc<Component>,
    /// The version that the component describes, and the configuration, a JSON object.
    saves_as: SavedBy,
    plan: Plan,
}

fn log(component: &Component, worker: usize, metrics: &NodeMetrics) -> GuestLog {
    GuestLog::new(component.name.clone(), worker, component.limits.log_bytes, metrics)
}

/// Asks a component for its description.
///
/// # Errors
/// If the component fails.
pub async fn describe(
    component: &Component,
    metrics: &Arc<NodeMetrics>,
) -> Result<Description, Failure> {
    Instance::start(component, log(component, 0, metrics), metrics).await?.describe().await
}

impl Program {
    /// Opens a stage of this version with its configuration, a JSON object. Its instances are opened the same
    /// way.
    ///
    /// # Errors
    /// If the component refuses its configuration or fails.
    pub async fn open(
        component: Arc<Component>,
        version: String,
        config: String,
        metrics: &Arc<NodeMetrics>,
    ) -> Result<Self, Failure> {
        let log = log(&component, 0, metrics);
        let plan = Instance::start(&component, log, metrics).await?.open(&config).await?;
        Ok(Self { component, saves_as: SavedBy { version, config }, plan })
    }

    pub fn component(&self) -> &Component {
        &self.component
    }

    /// What the stage declared when it was opened.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who a state of this stage is saved by.
    pub fn saves_as(&self) -> &SavedBy {
        &self.saves_as
    }

    /// The log of the instances of a worker.
    pub(crate) fn log(&self, worker: usize, metrics: &NodeMetrics) -> GuestLog {
        log(&self.component, worker, metrics)
    }

    /// A new instance, opened as the first one was.
    ///
    /// # Errors
    /// If the guest fails, refuses its configuration, or returns another plan than before.
    pub(crate) async fn instance(
        &self,
        log: GuestLog,
        metrics: &Arc<NodeMetrics>,
    ) -> Result<Instance, Failure> {
        let mut instance = Instance::start(&self.component, log, metrics).await?;
        if instance.open(&self.saves_as.config).await? != self.plan {
            let message =
                "opened with the same configuration, it made a plan that differs from the first";
            return Err(Failure::new(Cause::Contract, message));
        }
        Ok(instance)
    }
}

//! A stage that has been opened, and the loop over the rows of a batch.

use crate::driver::contract::Outcome;
use crate::driver::{Input, Plan};
use crate::{Checkpoint, Error, Out, Setup, Stage, Timed};

/// An opened stage: what the exported functions, native tests and native
/// benchmarks all drive.
#[derive(Debug)]
pub struct Opened<S> {
    stage: S,
    plan: Plan,
}

impl<S: Stage> Opened<S> {
    /// Opens a stage with a configuration in JSON.
    ///
    /// # Errors
    /// If the configuration is invalid; the message is for the operator.
    pub fn open(config: &str) -> Result<Self, Error> {
        let config = serde_json::from_str(config)?;
        let mut setup = Setup::new();
        let stage = S::open(config, &mut setup)?;
        Ok(Self { stage, plan: setup.plan })
    }

    /// The plan that the stage declared.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives every record of a batch to the stage.
    pub fn process(&mut self, input: &Input<'_>) -> Outcome {
        let mut out = Out::of_batch(self.plan.ports.len(), input);
        for row in 0..input.len() {
            out.at(row);
            if let Err(rejection) = self.stage.process(&input.record(row), &mut out) {
                out.reject(rejection);
            }
        }
        out.into_outcome()
    }

    /// Has the stage emit what it still holds.
    ///
    /// # Errors
    /// The error of the stage.
    pub fn finish(&mut self) -> Result<Outcome, Error> {
        let mut out = Out::fresh(self.plan.ports.len());
        self.stage.finish(&mut out)?;
        Ok(out.into_outcome())
    }
}

impl<S: Checkpoint> Opened<S> {
    /// The stage's state.
    ///
    /// # Errors
    /// The error of the stage.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        self.stage.save()
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The error of the stage.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), Error> {
        self.stage.restore(saved)
    }
}

impl<S: Timed> Opened<S> {
    /// Passes a watermark to the stage.
    ///
    /// # Errors
    /// The error of the stage.
    pub fn advance(&mut self, watermark: i64) -> Result<Outcome, Error> {
        let mut out = Out::fresh(self.plan.ports.len());
        self.stage.advance(watermark, &mut out)?;
        Ok(out.into_outcome())
    }
}

//! A stage that has been opened, and the loop over the rows of a batch.

use crate::driver::contract::Outcome;
use crate::driver::{Input, KeyGroups, Plan};
use crate::{Checkpoint, Error, Out, Save, Saved, Setup, Stage, Timed};

/// An opened stage: what the exported functions, native tests and native
/// benchmarks all drive.
#[derive(Debug)]
pub struct Opened<S> {
    stage: S,
    plan: Plan,
    config: String,
}

impl<S: Stage> Opened<S> {
    /// Opens a stage with a configuration in JSON.
    ///
    /// # Errors
    /// If the configuration is invalid; the message is for the operator.
    pub fn open(config: &str) -> Result<Self, Error> {
        let mut setup = Setup::new();
        let stage = S::open(serde_json::from_str(config)?, &mut setup)?;
        Ok(Self { stage, plan: setup.plan, config: config.to_owned() })
    }

    /// The plan that the stage declared.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// Gives every record of a batch to the stage.
    pub fn process(&mut self, input: &Input<'_>) -> Outcome {
        let mut out = Out::of_batch(self.plan.ports.len(), input);
        self.stage.begin_batch();
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
    /// The stage's state, by key group.
    ///
    /// # Errors
    /// The error of the stage.
    pub fn save(&self, groups: KeyGroups) -> Result<Vec<(u32, Vec<u8>)>, Error> {
        let mut save = Save::new(groups);
        self.stage.save(&mut save)?;
        Ok(save.into_groups())
    }

    /// Takes over the states of some key groups, which this version saved with this
    /// configuration, in JSON.
    ///
    /// # Errors
    /// The error of the stage, or its refusal of what has changed.
    pub fn restore(
        &mut self,
        groups: impl IntoIterator<Item = (u32, Vec<u8>)>,
        version: &str,
        config: &str,
    ) -> Result<(), Error> {
        let groups = groups.into_iter().map(|(_, bytes)| bytes);
        let saved = Saved::new(groups, version.to_owned(), config, &self.config)?;
        self.stage.accepts(&saved)?;
        self.stage.restore(&saved)
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

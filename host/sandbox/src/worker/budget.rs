//! The output budget of a divided batch: all its parts together may answer what one call may.

use std::sync::Arc;

use crate::contract::outcome::{Answer, Emitted};
use crate::instance::Failure;
use pipehost_config::limits::Limits;
use pipehost_observe::metrics::Cause;
use pipehost_record::{Batch, MAX_ATTRIBUTES};

/// What is left for the answers to the remaining parts of a batch.
pub(super) struct OutputBudget {
    bytes: usize,
    records: usize,
    /// Attributes that the stage may add; not shared, the same for each part.
    attributes: usize,
    /// Bytes for the reasons of rejections.
    reasons: usize,
}

/// The reason once the budget for reasons is used up.
const NO_REASON: &str =
    "the reason is left out: those for other records of the batch took all of limits.output";

impl OutputBudget {
    /// The budget of one answer to a batch.
    pub(super) fn new(limits: &Limits, batch: &Batch) -> Self {
        Self {
            bytes: limits.output_bytes.saturating_add(bytes(batch)),
            records: limits.output_records,
            attributes: MAX_ATTRIBUTES,
            reasons: limits.output_bytes,
        }
    }

    /// Of a native stage: unlimited.
    #[cfg(any(test, feature = "native"))]
    pub(super) fn endless() -> Self {
        let all = usize::MAX;
        Self { bytes: all, records: all, attributes: all, reasons: all }
    }

    /// Charges the reasons of a rejected part, each new reason once. Once the budget is used up,
    /// replaces them by `NO_REASON`. `last` is the reason before.
    pub(super) fn keep_reasons(&mut self, answer: &mut Answer, last: &mut Arc<str>) {
        for rejected in &mut answer.rejected {
            if rejected.reason != *last {
                match self.reasons.checked_sub(rejected.reason.len()) {
                    Some(left) => {
                        self.reasons = left;
                        last.clone_from(&rejected.reason);
                    }
                    None if **last == *NO_REASON => {}
                    None => *last = NO_REASON.into(),
                }
            }
            rejected.reason.clone_from(last);
        }
    }

    /// Charges an answer that is within the limits of one call.
    pub(super) fn spend(&mut self, answer: &Answer) {
        for Emitted { batch, .. } in &answer.emitted {
            self.bytes = self.bytes.saturating_sub(bytes(batch));
            self.records = self.records.saturating_sub(batch.len);
        }
    }

    pub(super) fn take(&mut self, answer: Answer) -> Result<Answer, Failure> {
        let batches = || answer.emitted.iter().map(|emitted| &emitted.batch);
        let bytes = batches().map(bytes).fold(0, usize::saturating_add);
        let records = batches().map(|batch| batch.len).sum();
        let left = (self.bytes.checked_sub(bytes), self.records.checked_sub(records));
        let attributes = batches().map(|batch| batch.attributes.len()).max().unwrap_or(0);
        match left {
            (Some(bytes), Some(records)) if attributes <= self.attributes => {
                (self.bytes, self.records) = (bytes, records);
                Ok(answer)
            }
            _ => {
                let message = "its answers to the parts of one batch are together more than \
                               limits.output and limits.output_records allow";
                Err(Failure::new(Cause::Output, message))
            }
        }
    }
}

/// Bytes that a batch is charged with: the contents of its records, and its own overhead.
fn bytes(batch: &Batch) -> usize {
    batch.bytes().saturating_add(batch.own_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipehost_record::Rejected;

    fn refused_for(reason: &str) -> Answer {
        let reason = reason.into();
        let rejected = vec![Rejected { row: 0, reason, retryable: false, attempts: 1 }];
        Answer { emitted: Vec::new(), rejected }
    }

    #[test]
    fn a_reason_is_kept_once_and_within_the_room() {
        let mut budget = OutputBudget { reasons: 10, ..OutputBudget::endless() };
        let mut last = "".into();
        let mut kept = |reason| {
            let mut answer = refused_for(reason);
            budget.keep_reasons(&mut answer, &mut last);
            answer.rejected.remove(0).reason
        };
        let first = kept("12345");
        assert!(Arc::ptr_eq(&first, &kept("12345")), "it takes no budget again");
        assert_eq!(&*kept("67890"), "67890");
        let left_out = kept("x");
        assert_eq!(&*left_out, NO_REASON);
        assert!(Arc::ptr_eq(&left_out, &kept("12345")));
    }
}

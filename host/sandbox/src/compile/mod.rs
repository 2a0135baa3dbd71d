//! What strangers' bytes make this program compute before anything runs: components that are
//! compiled, schemas that configurations are checked against.
//!
//! Neither can be stopped from outside, and both can take memory without end, overflow the
//! stack or meet a defect of the library that does the work. So both are done by a child of
//! this program, which has limits. Where there is no such program (a library is used, a
//! benchmark, a unit test), the work is done here.

mod cache;
mod child;
mod component;
mod job;
mod limits;
mod look;
mod schema;
mod settings;

use std::process::ExitCode;

pub use cache::Cache;
pub use component::TARGET;
pub use job::{Compiled, Source};
use job::{Job, Refusal};
pub use limits::Limits;
pub use schema::{Complaint, check};
pub use settings::Metering;
pub(crate) use settings::settings;

/// Does the work of a child, if this process is one. Called before anything else.
pub fn begin() -> Option<ExitCode> {
    let arguments = child::arguments()?;
    Some(child::work(arguments, |job| match job {
        Job::Compile { source, metering, epochs } => {
            let compiled = component::compile_here(&source, metering, epochs);
            postcard::to_stdvec(&compiled.map_err(Refusal::from))
        }
        Job::Schema { schema, config } => {
            let checked = schema::check_here(&schema, &config);
            postcard::to_stdvec(&checked.map_err(Refusal::from))
        }
    }))
}

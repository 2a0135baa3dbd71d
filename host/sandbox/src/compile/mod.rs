//! Work on untrusted input before anything runs: compiling components, and checking configurations
//! against schemas.
//!
//! Neither can be interrupted, and both can use unlimited memory, overflow the stack or hit a bug
//! of a library. So a child process with limits does them. Where no child can be started (in a
//! library, a benchmark, a unit test), this process does them.

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
pub(crate) use component::ADAPTER;
pub use component::TARGET;
pub use job::{Compiled, Source};
use job::{Job, Refusal};
pub use limits::Limits;
pub use schema::{Complaint, check};
pub use settings::Metering;
pub(crate) use settings::settings;

/// Does the work of a child, if this process is one. Must be called before anything else.
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

//! Standard input and output.

pub(crate) mod stdin;
pub(crate) mod stdout;

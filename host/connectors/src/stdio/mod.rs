//! Standard input and output.

mod stdin;
mod stdout;

pub(crate) use stdin::Stdin;
pub(crate) use stdout::Stdout;

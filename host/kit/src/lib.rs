//! What authors of stages use: folders to begin with, test cases, and the conformance of SDKs.
//!
//! The verbs of the program print what this crate returns; nothing here prints.

pub mod cases;
pub mod conformance;
pub mod module;
pub mod templates;

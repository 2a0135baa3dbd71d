//! The folder of a stage, as its `pipehost.toml` describes it: how it is built.

use std::path::PathBuf;

/// The name of the file.
pub const FILE: &str = "pipehost.toml";

/// How a stage is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// A command for a shell, which runs in the folder.
    pub command: String,
    /// The component, or the core module, that the command makes; relative to the folder.
    pub output: PathBuf,
    /// What the command is made of, besides what is always there.
    pub tools: Vec<Tool>,
}

/// A program that a build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// A program on the path, or a file relative to the folder if there is a `/` in it. One of
    /// several, if there are `|` between them.
    pub name: String,
    /// The command that installs it.
    pub install: String,
}

impl Tool {
    /// The names of which one must be there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.name.split('|').map(str::trim)
    }
}

//! A configuration is read, or every mistake in it can be shown.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pipehost_config::graph::{self, DeclaredStages};
use pipehost_config::{self as config, mistake};

fuzz_target!(|text: &str| {
    let (config, mut mistakes) = config::read(text, Path::new("folder"));
    let (_, found) = graph::check(&config, &DeclaredStages::new());
    mistakes.extend(found);
    mistake::render(&mistakes, Path::new("p.toml"), text, false);
});

//! Stages in every language: from nothing to a tested one, the conformance of each SDK, its own unit
//! tests, its package. `tests/run` installs the tools; where one cannot be had, it says which tests
//! were not run.

mod conformance;
#[path = "../e2e/harness.rs"]
#[allow(dead_code)]
mod harness;
mod last_words;
mod new;
mod packages;
mod reference;
mod registry;
mod sdk;

use std::path::Path;
use std::process::Command;

/// Whether there is such a program. `tests/run` names those that are missing at its end.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a command of a shell in a folder, and gives what it printed.
#[track_caller]
fn sh(folder: &Path, command: &str) -> String {
    let output = Command::new("sh")
        .current_dir(folder)
        .args(["-c", command])
        // Cargo's variables would change what a build in the folder does.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env("npm_config_audit", "false")
        .env("npm_config_fund", "false")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .output()
        .expect("there is a shell");
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command}: {}\n{printed}", output.status);
    printed
}

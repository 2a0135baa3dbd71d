//! Source folders: crates that are built with cargo.

use anyhow::{Context as _, Result, anyhow, bail};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::unchanged;
use crate::compile::TARGET;

/// The component of the crate in a folder. Builds it, unless nothing has changed since the last
/// build.
///
/// # Errors
/// If the folder holds no crate or cargo fails; the message is for the operator.
pub(super) fn component(named: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    // Cargo looks for the workspace of a crate along its real path.
    let folder = named.canonicalize().with_context(|| format!("{}", named.display()))?;
    let manifest = folder.join("Cargo.toml");
    if !manifest.exists() {
        bail!(
            "the folder {} has no pipehost.toml with a [build] and no Cargo.toml; `pipehost new` \
             makes a folder that can be built, and a component that is built already is named by \
             its .wasm",
            named.display()
        );
    }
    if let Some(component) = unchanged::of_crate(&folder) {
        return Ok(component);
    }
    add_target(&folder, say)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&folder)
        .args([
            "build",
            "--release",
            "--lib",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .arg("--manifest-path")
        .arg(&manifest)
        .stdin(Stdio::null());
    without_ours(&mut cargo);
    cargo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| {
        anyhow!(
            "cannot run cargo to build {}: {error}; install Rust from https://rustup.rs",
            named.display()
        )
    })?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let messages = std::thread::spawn(move || {
        let mut messages = Vec::new();
        // After a read error, use what was read before it.
        let _ = stdout.read_to_end(&mut messages);
        messages
    });
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let log = follow(stderr, &folder, say);
    let failed = |error| anyhow!("cargo could not build {}: {error}", named.display());
    let status = child.wait().map_err(failed)?;
    let messages = messages.join().unwrap_or_default();
    if !status.success() {
        let why = log.lines().find(|line| line.starts_with("error"));
        let why = why.unwrap_or("it gave no reason");
        bail!("cargo could not build {}, see above: {why}", named.display());
    }
    let component = artifact(&messages, &manifest).with_context(|| {
        format!(
            "{} builds no component: add `crate-type = [\"cdylib\"]` to its [lib]",
            named.display()
        )
    })?;
    unchanged::note_crate(&folder, &component);
    Ok(component)
}

/// Removes variables that must not reach the build of a stage: flags for this machine's processor,
/// and what a `cargo test` sets that runs this program.
pub(super) fn without_ours(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"].contains(&name)
                || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
        });
        if ours {
            command.env_remove(name);
        }
    }
}

/// Passes on cargo's messages from the first `Compiling` on: a build that has nothing to do is
/// quiet. Returns all messages.
fn follow(stderr: impl BufRead, folder: &Path, say: &mut dyn FnMut(&str)) -> String {
    let (mut log, mut compiles) = (String::new(), false);
    for line in stderr.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let first = line.split_whitespace().next();
        if first == Some("Compiling") && !std::mem::replace(&mut compiles, true) {
            say(&format!("building {}", folder.display()));
        }
        let is_quiet =
            ["Finished", "Locking", "Updating", "Adding"].iter().any(|w| first == Some(w));
        if !is_quiet && !line.is_empty() {
            say(&line);
        }
        log.push_str(&line);
        log.push('\n');
    }
    log
}

/// The component among the files that cargo reports as built.
fn artifact(messages: &[u8], manifest: &Path) -> Option<PathBuf> {
    serde_json::Deserializer::from_slice(messages)
        .into_iter::<serde_json::Value>()
        .map_while(Result::ok)
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| {
            message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        })
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

/// Adds the wasm target to the toolchain if it lacks it.
pub(super) fn add_target(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let rustc = Command::new("rustc").current_dir(folder).args(["--print", "sysroot"]).output();
    let sysroot = match rustc {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => return Ok(()), // Cargo reports this better.
    };
    if Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    say(&format!("adding the target {TARGET}: rustup target add {TARGET}"));
    let output =
        Command::new("rustup").current_dir(folder).args(["target", "add", TARGET]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let log = String::from_utf8_lossy(&output.stderr);
            Err(anyhow!("`rustup target add {TARGET}` failed:\n{}", log.trim_end()))
        }
        Err(_) => Err(anyhow!(
            "Rust's target {TARGET} is missing, and there is no rustup to add it; install it with \
             your toolchain"
        )),
    }
}

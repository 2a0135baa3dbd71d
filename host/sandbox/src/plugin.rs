//! From what the user named to the bytes of a file: it itself, or what a source folder builds.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytesize::ByteSize;

use crate::compile::{Source, TARGET};

/// Reads a component or the text of one, building it first if `path` is a folder. `say` is told what
/// takes time. No more than `limit` bytes are read: the file may be a stranger's, or never end.
///
/// # Errors
/// What went wrong, for the operator.
pub fn read(path: &Path, limit: u64, say: &mut dyn FnMut(&str)) -> Result<Source, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{} does not exist", path.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    })?;
    let built;
    let file = if metadata.is_dir() {
        built = build(path, say)?;
        &built
    } else {
        path
    };
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!(
            "{} is too large: limits.component allows {}",
            file.display(),
            ByteSize::b(limit)
        ));
    }
    let is_text = file.extension().is_some_and(|extension| extension == "wat");
    Ok(Source { path: file.to_owned(), bytes, is_text })
}

/// Builds the crate in a folder. Cargo knows whether anything changed.
fn build(named: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    // The workspace of a crate is looked for along its real path.
    let folder = named.canonicalize().map_err(|error| format!("{}: {error}", named.display()))?;
    let manifest = folder.join("Cargo.toml");
    if !manifest.exists() {
        return Err(format!(
            "the folder {} has no Cargo.toml; name a crate, or build the component yourself and \
             name its .wasm",
            named.display()
        ));
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
    // Flags for this machine's processor, or of a `cargo test` that runs this program,
    // are not for the stage.
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"].contains(&name)
                || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
        });
        if ours {
            cargo.env_remove(name);
        }
    }
    say(&format!("building {}", folder.display()));
    let output = cargo.output().map_err(|error| {
        format!(
            "cannot run cargo to build {}: {error}; install Rust from https://rustup.rs",
            named.display()
        )
    })?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo could not build {}:\n{}", named.display(), log.trim_end()));
    }
    artifact(&output.stdout, &manifest).ok_or_else(|| {
        format!(
            "{} builds no component: add `crate-type = [\"cdylib\"]` to its [lib]",
            named.display()
        )
    })
}

/// The component among what cargo says it built.
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
fn add_target(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let rustc = Command::new("rustc").current_dir(folder).args(["--print", "sysroot"]).output();
    let sysroot = match rustc {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => return Ok(()), // Cargo will say it better.
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
            Err(format!("`rustup target add {TARGET}` failed:\n{}", log.trim_end()))
        }
        Err(_) => Err(format!(
            "Rust's target {TARGET} is missing, and there is no rustup to add it; install it with \
             your toolchain"
        )),
    }
}

//! Source folders with a `pipehost.toml`: built by the command that it names.

use anyhow::{Context as _, Result, anyhow, bail};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs};

use super::cargo;
use pipehost_config::mistake;
use pipehost_config::project::{FILE, Project};

/// How a folder is built, if its `pipehost.toml` says so.
///
/// # Errors
/// Every mistake in the file.
pub(super) fn of(folder: &Path) -> Result<Option<Project>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (project, mistakes) = pipehost_config::read_project(&text);
    if !mistakes.is_empty() {
        bail!("{}", mistake::render(&mistakes, &path, &text, false).trim_end());
    }
    Ok(project)
}

/// Runs the command, and gives the path of what it made.
///
/// # Errors
/// If a tool is missing, or the command fails or does not make its output; the message is for the
/// author.
pub(super) fn build(
    folder: &Path,
    project: &Project,
    say: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let missing: Vec<_> = (project.tools.iter())
        .filter(|tool| !tool.names().any(|name| is_there(folder, name)))
        .map(|tool| {
            let names: Vec<_> = tool.names().map(|name| format!("`{name}`")).collect();
            format!("{} is missing; install it: {}", names.join(" or "), tool.install)
        })
        .collect();
    if !missing.is_empty() {
        bail!("{} cannot be built: {}", folder.display(), missing.join("\n"));
    }
    if folder.join("Cargo.toml").exists() {
        cargo::add_target(folder, say)?;
    }
    say(&format!("building {}: {}", folder.display(), project.command));
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", &format!("{{ {}\n}} 2>&1", project.command)]);
    cargo::without_ours(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| anyhow!("cannot run sh to build {}: {error}", folder.display()))?;
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    for line in said.split(b'\n').map_while(Result::ok) {
        say(&String::from_utf8_lossy(&line));
    }
    // What the shell itself complains about.
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut complaint);
    }
    if !complaint.is_empty() {
        say(complaint.trim_end());
    }
    let status = child.wait().context("the build")?;
    if !status.success() {
        bail!("the command of {} failed ({status}), see above", folder.join(FILE).display());
    }
    let output = folder.join(&project.output);
    if !output.is_file() {
        bail!(
            "the command of {} made no {}, which is the `output` there",
            folder.join(FILE).display(),
            project.output.display()
        );
    }
    Ok(output)
}

/// The output, if nothing in the folder has changed since it was made.
pub(super) fn unchanged(folder: &Path, project: &Project) -> Option<PathBuf> {
    let output = folder.join(&project.output);
    let made = output.metadata().and_then(|metadata| metadata.modified()).ok()?;
    let Snapshot(files) = Snapshot::of(folder, []);
    let is_older = |(_, state): &(_, Option<(_, SystemTime)>)| {
        state.is_some_and(|(_, modified)| modified < made)
    };
    files.iter().all(is_older).then_some(output)
}

/// The sources in a folder, and other files: size and time of modification of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl Snapshot {
    pub fn of(folder: &Path, files: impl IntoIterator<Item = PathBuf>) -> Self {
        let output = of(folder).ok().flatten().map(|project| folder.join(project.output));
        let mut all: Vec<PathBuf> = files.into_iter().collect();
        sources(folder, output.as_deref(), &mut all);
        all.sort();
        let state = |path: &Path| {
            let metadata = path.metadata().ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        };
        Self(all.into_iter().map(|path| (path.clone(), state(&path))).collect())
    }
}

/// The files of a folder that are neither hidden nor made by a build.
fn sources(folder: &Path, output: Option<&Path>, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with('.') || output == Some(&*path) || NOT_SOURCES.contains(&&*name) {
            continue;
        }
        match path.is_dir() {
            true => sources(&path, output, to),
            false => to.push(path),
        }
    }
}

/// Folders that builds and package managers fill.
const NOT_SOURCES: [&str; 5] = ["target", "build", "dist", "node_modules", "__pycache__"];

/// Whether a program is on the path, or a file in the folder.
fn is_there(folder: &Path, tool: &str) -> bool {
    if tool.contains('/') {
        return folder.join(tool).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|place| place.join(tool).is_file())
}

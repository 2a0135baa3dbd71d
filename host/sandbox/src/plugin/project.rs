//! Source folders with a `pipehost.toml`: built by the command that it names.

use anyhow::{Context as _, Result, anyhow, bail};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{env, fs, thread};

use super::snapshot::Snapshot;
use super::{cargo, unchanged};
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

/// How often a build that says nothing is looked at.
const LOOK: Duration = Duration::from_millis(50);

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
    let sources = Snapshot::of(folder, []);
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
    // The build has ended when its shell has. What it left running, such as the server of a compiler,
    // may hold its end of the pipes for ever.
    let (told, lines) = mpsc::channel();
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("it is piped")),
        // What the shell itself complains about.
        Box::new(child.stderr.take().expect("it is piped")),
    ];
    for output in outputs {
        let told = told.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let _ = told.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(told);
    let mut status = None;
    let status = loop {
        match (lines.recv_timeout(LOOK), status) {
            (Ok(line), _) => say(&line),
            (Err(RecvTimeoutError::Timeout), Some(status)) => break status,
            (Err(RecvTimeoutError::Timeout), None) => {
                status = child.try_wait().context("the build")?;
            }
            (Err(RecvTimeoutError::Disconnected), _) => break child.wait().context("the build")?,
        }
    };
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
    unchanged::note_project(folder, &output, sources);
    Ok(output)
}

/// Whether a program is on the path, or a file in the folder.
fn is_there(folder: &Path, tool: &str) -> bool {
    if tool.contains('/') {
        return folder.join(tool).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|place| place.join(tool).is_file())
}

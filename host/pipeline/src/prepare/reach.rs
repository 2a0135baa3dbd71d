//! Prevents the confused-deputy attack: a stage's write access must not decide what the host itself
//! reads and writes.
//!
//! A guest can create links in a folder that it may write. So nothing that the host itself reads or
//! writes may lie in such a folder.

use std::path::{Path, PathBuf};

use pipehost_config::mistake::{Mistake, Span};
use pipehost_config::{Config, SinkKind, SourceKind};
use pipehost_files::paths::{fixed, fixed_before, resolve};

/// A path that the host reads or writes.
struct HostPath<'a> {
    /// "the source `x` reads"
    what: String,
    path: PathBuf,
    span: &'a Span,
    /// Whether paths below it count too: it is a pattern or a folder.
    below: bool,
}

/// A mistake for each path that lies in a folder that a stage may write.
pub fn check(config: &Config, cache: Option<&Path>) -> Vec<Mistake> {
    let mut written = Vec::new();
    for stage in &config.stages {
        for folder in stage.grants.folders.iter().filter(|folder| folder.writable) {
            written.push((&stage.name.value, resolve(&folder.host.value)));
        }
    }
    if written.is_empty() {
        return Vec::new();
    }
    let mut mistakes = Vec::new();
    for HostPath { what, path, span, below } in places(config, cache) {
        let resolved = resolve(&path);
        let within = |folder: &PathBuf| {
            resolved.starts_with(folder) || (below && folder.starts_with(&resolved))
        };
        let found = written.iter().find(|(_, folder)| within(folder));
        if let Some((stage, folder)) = found {
            let message = format!(
                "{what} {}, and the stage `{stage}` may write the folder {} (grants.write)",
                path.display(),
                folder.display()
            );
            mistakes.push(Mistake::new(span.clone(), message).help(
                "a stage could put a link there, and so choose what is read or written: use \
                 another folder",
            ));
        }
    }
    mistakes
}

fn places<'a>(config: &'a Config, cache: Option<&Path>) -> Vec<HostPath<'a>> {
    const NOWHERE: &Span = &None;
    let mut places = Vec::new();
    let mut add = |what: String, path: &Path, span: &'a Span, below: bool| {
        places.push(HostPath { what, path: path.to_owned(), span, below });
    };
    for source in &config.sources {
        let what = |does: &str| format!("the source `{}` {does}", source.name.value);
        match &source.kind {
            SourceKind::File(file) => {
                for path in &file.paths {
                    let (fixed, is_pattern) = fixed(&path.value);
                    add(what("reads"), &fixed, &path.span, is_pattern);
                }
            }
            SourceKind::Sqlite(sqlite) => {
                add(what("reads"), &sqlite.path.value, &sqlite.path.span, false);
            }
            SourceKind::Http(http) => {
                for file in http.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]) {
                    add(what("reads"), file, &source.name.span, false);
                }
            }
            SourceKind::Stdin { .. } | SourceKind::Generate(_) => {}
        }
    }
    for stage in &config.stages {
        let what = format!("the stage `{}` is", stage.name.value);
        let path = &*stage.plugin.value.path;
        let is_folder = path.is_dir();
        add(what, path, &stage.plugin.span, is_folder);
        for ca in stage.grants.http.iter().filter_map(|grant| grant.ca.as_deref()) {
            let what = format!("the host reads for the stage `{}`", stage.name.value);
            add(what, ca, &stage.name.span, false);
        }
    }
    for sink in &config.sinks {
        let what = |does: &str| format!("the sink `{}` {does}", sink.name.value);
        match &sink.kind {
            SinkKind::File(file) => {
                let (fixed, is_pattern) = match &file.partition {
                    Some(_) => fixed_before(&file.path.value, &['{']),
                    None => (file.path.value.clone(), false),
                };
                add(what("writes"), &fixed, &file.path.span, is_pattern);
            }
            SinkKind::Sqlite(sqlite) => {
                add(what("writes"), &sqlite.path.value, &sqlite.path.span, false);
            }
            SinkKind::Http(http) => {
                if let Some(ca) = &http.ca {
                    add(what("reads"), ca, &sink.name.span, false);
                }
            }
            SinkKind::Stdout { .. } | SinkKind::Null => {}
        }
    }
    if let Some(letters) = &config.dead_letters {
        let what = "the dead letters are in".to_owned();
        add(what, &letters.value.path, &letters.span, false);
    }
    if let Some(state) = &config.state {
        add("the state is in".to_owned(), &state.value, &state.span, false);
    }
    if let Some(cache) = cache {
        add("compiled components are kept in".to_owned(), cache, NOWHERE, true);
    }
    places
}

//! Finds what a pipeline names and this machine does not have: inputs, folders of outputs, files of
//! certificates, variables with tokens.

use std::path::Path;

use pipehost_config::mistake::{Mistake, Span};
use pipehost_config::{Config, FileSource, SinkKind, SourceKind};
use pipehost_files::{folder, paths};

/// A mistake for each input that is missing.
pub(super) fn inputs(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for source in &config.sources {
        match &source.kind {
            SourceKind::File(FileSource { paths, follow, .. }) => {
                for path in paths {
                    let (fixed, is_pattern) = paths::fixed(&path.value);
                    if *follow {
                        continue; // It may come later.
                    }
                    mistakes.extend(match is_pattern {
                        true => missing_folder(&fixed, &path.span),
                        false => missing(&path.value, "file", &path.span),
                    });
                    if !is_pattern && path.value.is_dir() {
                        let path_shown = path.value.display();
                        let message = format!("cannot read {path_shown}: it is a folder");
                        let help = format!("all of its files are `{path_shown}/*`");
                        mistakes.push(Mistake::new(path.span.clone(), message).help(help));
                    }
                }
            }
            SourceKind::Sqlite(sqlite) => {
                mistakes.extend(missing(&sqlite.path.value, "database", &sqlite.path.span));
            }
            SourceKind::Http(http) => {
                mistakes.extend(missing_token(http.token_env.as_deref(), &source.name.span));
                for file in http.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]) {
                    mistakes.extend(missing(file, "file", &source.name.span));
                }
            }
            SourceKind::Stdin { .. } | SourceKind::Generate(_) => {}
        }
    }
    mistakes
}

/// A mistake for each folder that an output would be made in and that is missing, and for what a sink
/// needs besides.
pub(super) fn outputs(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for sink in &config.sinks {
        match &sink.kind {
            // The folders of a path with parts of the record are made.
            SinkKind::File(file) if file.partition.is_none() => {
                mistakes.extend(not_writable(&file.path.value, &file.path.span));
            }
            SinkKind::Sqlite(sqlite) => {
                mistakes.extend(not_writable(&sqlite.path.value, &sqlite.path.span));
            }
            SinkKind::Http(http) => {
                mistakes.extend(missing_token(http.token_env.as_deref(), &sink.name.span));
                let ca = http.ca.as_deref();
                mistakes.extend(ca.and_then(|file| missing(file, "file", &sink.name.span)));
            }
            SinkKind::File(_) | SinkKind::Stdout { .. } | SinkKind::Null => {}
        }
    }
    if let Some(letters) = &config.dead_letters {
        mistakes.extend(not_writable(&letters.value.path, &letters.span));
    }
    mistakes
}

const HELP: &str = "a relative path starts from the folder of the pipeline";

fn missing(path: &Path, what: &str, span: &Span) -> Option<Mistake> {
    let mistake = || Mistake::new(span.clone(), format!("there is no {what} {}", path.display()));
    (!path.exists()).then(|| mistake().help(HELP))
}

fn missing_folder(folder: &Path, span: &Span) -> Option<Mistake> {
    let message = || format!("the folder {} does not exist", folder.display());
    (!folder.is_dir()).then(|| Mistake::new(span.clone(), message()).help(HELP))
}

fn not_writable(path: &Path, span: &Span) -> Option<Mistake> {
    if path.is_dir() {
        let message = format!("cannot write {}: it is a folder", path.display());
        return Some(Mistake::new(span.clone(), message));
    }
    missing_folder(folder::of(path), span)
}

fn missing_token(variable: Option<&str>, span: &Span) -> Option<Mistake> {
    let variable = variable.filter(|variable| std::env::var_os(variable).is_none())?;
    Some(Mistake::new(span.clone(), format!("the environment has no {variable} (token_env)")))
}

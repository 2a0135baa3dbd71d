//! Finds inputs that are not there, and folders that outputs would be made in.

use std::path::Path;

use pipehost_config::mistake::{Mistake, Span};
use pipehost_config::{Config, FileSource, SinkKind, SourceKind};
use pipehost_files::{folder, paths};

/// A mistake for each input and each folder of an output that is missing.
pub(super) fn check(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for source in &config.sources {
        match &source.kind {
            SourceKind::File(FileSource { paths, follow, .. }) => {
                for path in paths {
                    let (fixed, is_pattern) = paths::fixed(&path.value);
                    if is_pattern {
                        // What it will match is known only then; its folder must be there.
                        mistakes.extend(missing_folder(&fixed, &path.span, *follow));
                    } else if !*follow {
                        mistakes.extend(missing(&path.value, "file", &path.span));
                    }
                }
            }
            SourceKind::Sqlite(sqlite) => {
                mistakes.extend(missing(&sqlite.path.value, "database", &sqlite.path.span));
            }
            SourceKind::Stdin { .. } | SourceKind::Generate(_) | SourceKind::Http(_) => {}
        }
    }
    for sink in &config.sinks {
        match &sink.kind {
            // The folders of a path with parts of the record are made.
            SinkKind::File(file) if file.partition.is_none() => {
                mistakes.extend(missing_folder_of(&file.path.value, &file.path.span));
            }
            SinkKind::Sqlite(sqlite) => {
                mistakes.extend(missing_folder_of(&sqlite.path.value, &sqlite.path.span));
            }
            SinkKind::File(_) | SinkKind::Stdout { .. } | SinkKind::Http(_) | SinkKind::Null => {}
        }
    }
    if let Some(letters) = &config.dead_letters {
        mistakes.extend(missing_folder_of(&letters.value.path, &letters.span));
    }
    mistakes
}

fn missing(path: &Path, what: &str, span: &Span) -> Option<Mistake> {
    let is_missing = !path.exists();
    is_missing.then(|| {
        let mistake = Mistake::new(span.clone(), format!("there is no {what} {}", path.display()));
        mistake.help("a relative path starts from the folder of the pipeline")
    })
}

fn missing_folder(path: &Path, span: &Span, may_come: bool) -> Option<Mistake> {
    let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let is_missing = !may_come && !folder.is_dir();
    is_missing.then(|| {
        Mistake::new(span.clone(), format!("the folder {} does not exist", folder.display()))
            .help("a relative path starts from the folder of the pipeline")
    })
}

fn missing_folder_of(path: &Path, span: &Span) -> Option<Mistake> {
    missing_folder(folder::of(path), span, false)
}

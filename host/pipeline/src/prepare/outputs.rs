//! Checks the outputs of a pipeline: no two may have the same name, and none may also be an input.
//!
//! A name can contain values of records, and rotated files get numbers: so patterns are compared,
//! not names.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use pipehost_config::mistake::{Mistake, Span};
use pipehost_config::{
    Config, FileSink, FileSource, SinkKind, SourceKind, SqliteSink, SqliteSource,
};
use pipehost_files::paths::{fixed_before, resolve};

/// A file or database that the pipeline writes.
struct Output<'a> {
    /// "the sink `x`"
    what: String,
    path: PathBuf,
    span: &'a Span,
    names: Vec<Pattern>,
    /// Whether files get numbers when they rotate.
    rotates: bool,
    /// Whether it is written in place; otherwise it appears when it is complete.
    grows: bool,
    is_database: bool,
}

/// A mistake for each output whose name can equal another's, and for each output that is also read.
pub fn check(config: &Config) -> Vec<Mistake> {
    let outputs = outputs(config);
    let mut mistakes = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let meets = |other: &&Output<'_>| {
            let shared = output.is_database && other.is_database; // Sinks may share a database.
            !shared && (can_meet(output, other) || is_same_file(&output.path, &other.path))
        };
        if let Some(other) = outputs[..index].iter().find(meets) {
            let plain = |path: &Path| -> PathBuf {
                path.components().filter(|part| *part != Component::CurDir).collect()
            };
            let message = match other.names[0] == output.names[0] {
                true => format!("something else already writes {}", plain(&output.path).display()),
                false => format!(
                    "{} and {} may write the same file: {} and {}",
                    output.what,
                    other.what,
                    output.path.display(),
                    other.path.display()
                ),
            };
            let mistake = Mistake::new(output.span.clone(), message);
            let by_number = output.names[0] != other.names[0] && (output.rotates || other.rotates);
            mistakes.push(match by_number {
                true => mistake.help(
                    "files that rotate get numbers: `PATH.1`, `PATH.2`, …; give each its own name",
                ),
                false => mistake,
            });
        }
    }
    for source in &config.sources {
        let name = &source.name.value;
        match &source.kind {
            SourceKind::File(file) => {
                for output in &outputs {
                    if reads(file, output) {
                        mistakes.push(is_read(output, name));
                    }
                }
            }
            SourceKind::Sqlite(read) => {
                for sink in &config.sinks {
                    if let SinkKind::Sqlite(written) = &sink.kind
                        && is_same_table(read, written)
                    {
                        let message = format!(
                            "the sink `{}` writes to the table that the source `{name}` reads: the \
                             run would never come to an end",
                            sink.name.value
                        );
                        mistakes.push(Mistake::new(written.path.span.clone(), message));
                    }
                }
            }
            SourceKind::Stdin { .. } | SourceKind::Http(_) | SourceKind::Generate(_) => {}
        }
    }
    mistakes
}

fn outputs(config: &Config) -> Vec<Output<'_>> {
    let mut outputs = Vec::new();
    if let Some(letters) = &config.dead_letters {
        outputs.push(Output {
            what: "the dead letters".to_owned(),
            path: letters.value.path.clone(),
            span: &letters.span,
            names: vec![Pattern::literal(&resolve(&letters.value.path))],
            rotates: true,
            grows: true,
            is_database: false,
        });
    }
    for sink in &config.sinks {
        let what = format!("the sink `{}`", sink.name.value);
        match &sink.kind {
            SinkKind::File(FileSink { path, append, rotate, partition, .. }) => {
                let name = match partition {
                    None => Pattern::literal(&resolve(&path.value)),
                    Some(_) => Pattern::template(&path.value),
                };
                outputs.push(Output {
                    what,
                    path: path.value.clone(),
                    span: &path.span,
                    names: vec![name],
                    rotates: rotate.bytes.is_some() || rotate.every.is_some(),
                    grows: *append || config.state.is_some(),
                    is_database: false,
                });
            }
            SinkKind::Sqlite(SqliteSink { path, .. }) => outputs.push(Output {
                what,
                path: path.value.clone(),
                span: &path.span,
                names: vec![Pattern::literal(&resolve(&path.value))],
                rotates: false,
                grows: true,
                is_database: true,
            }),
            SinkKind::Stdout { .. } | SinkKind::Http(_) | SinkKind::Null => {}
        }
    }
    for output in outputs.iter_mut().filter(|output| output.rotates) {
        let numbered: Vec<_> = output.names.iter().map(Pattern::numbered).collect();
        output.names.extend(numbered);
    }
    outputs
}

fn can_meet(a: &Output<'_>, b: &Output<'_>) -> bool {
    a.names.iter().any(|a| b.names.iter().any(|b| a.meets(b)))
}

/// Whether two paths are the same file, for example hard links. A pipe or a device may be shared.
fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Whether a source would read this output. A file that appears only when complete may replace one
/// that the source reads once.
fn reads(source: &FileSource, output: &Output<'_>) -> bool {
    if !(source.follow || output.grows) {
        return false;
    }
    // A source that does not follow lists files once, so it does not find files rotated later.
    let names = if source.follow { &output.names[..] } else { &output.names[..1] };
    source.paths.iter().any(|path| {
        let read = Pattern::glob(&path.value);
        names.iter().any(|name| read.meets(name)) || is_same_file(&path.value, &output.path)
    })
}

fn is_read(output: &Output<'_>, source: &str) -> Mistake {
    let message = format!(
        "{} {} a file that the source `{source}` reads: the run would never end",
        output.what,
        if output.what.starts_with("the sink") { "writes to" } else { "go to" }
    );
    Mistake::new(output.span.clone(), message).help("read or write another file")
}

fn is_same_table(read: &SqliteSource, written: &SqliteSink) -> bool {
    resolve(&read.path.value) == resolve(&written.path.value)
        && read.table.eq_ignore_ascii_case(&written.table)
}

/// A set of names, described byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    One(Class),
    /// Zero or more.
    Many(Class),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Just(u8),
    Digit,
    /// Any byte except `/`.
    InName,
    Any,
}

impl Class {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Just(just) => just == byte,
            Self::Digit => byte.is_ascii_digit(),
            Self::InName => byte != b'/',
            Self::Any => true,
        }
    }

    /// Whether some byte is in both.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Just(byte), class) | (class, Self::Just(byte)) => class.has(byte),
            (Self::Digit, _) | (_, Self::Digit) => true,
            (Self::InName | Self::Any, Self::InName | Self::Any) => true,
        }
    }
}

impl Pattern {
    fn literal(path: &Path) -> Self {
        let bytes = path.as_os_str().as_bytes();
        Self(bytes.iter().map(|&byte| Part::One(Class::Just(byte))).collect())
    }

    /// A path with `{…}` in it.
    fn template(path: &Path) -> Self {
        let (fixed, _) = fixed_before(path, &['{']);
        let rest = path.strip_prefix(&fixed).unwrap_or(path).as_os_str().as_bytes();
        let mut pattern = Self::literal(&resolve(&fixed).join(""));
        let mut bytes = rest.iter();
        while let Some(&byte) = bytes.next() {
            if byte == b'{' {
                bytes.by_ref().find(|byte| **byte == b'}');
                pattern.0.extend([Part::One(Class::InName), Part::Many(Class::InName)]);
            } else {
                pattern.0.push(Part::One(Class::Just(byte)));
            }
        }
        pattern
    }

    /// A path with `*`, `?`, `[…]` in it.
    fn glob(path: &Path) -> Self {
        let (fixed, is_pattern) = fixed_before(path, &['*', '?', '[']);
        if !is_pattern {
            return Self::literal(&resolve(path));
        }
        let rest = path.strip_prefix(&fixed).unwrap_or(path).as_os_str().as_bytes();
        let mut pattern = Self::literal(&resolve(&fixed).join(""));
        let mut bytes = rest.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => {
                    bytes.next_if_eq(&b'/');
                    pattern.0.push(Part::Many(Class::Any));
                }
                b'*' => pattern.0.push(Part::Many(Class::InName)),
                b'?' => pattern.0.push(Part::One(Class::InName)),
                b'[' => {
                    bytes.by_ref().find(|byte| *byte == b']');
                    pattern.0.push(Part::One(Class::InName));
                }
                byte => pattern.0.push(Part::One(Class::Just(byte))),
            }
        }
        pattern
    }

    /// The same pattern followed by `.` and a number.
    fn numbered(&self) -> Self {
        let mut numbered = self.clone();
        numbered.0.extend([
            Part::One(Class::Just(b'.')),
            Part::One(Class::Digit),
            Part::Many(Class::Digit),
        ]);
        numbered
    }

    /// Whether some name matches both.
    fn meets(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        let mut seen = HashSet::new();
        let mut open = vec![(0, 0)];
        while let Some((i, j)) = open.pop() {
            if !seen.insert((i, j)) {
                continue;
            }
            match (a.get(i), b.get(j)) {
                (None, None) => return true,
                (Some(Part::Many(_)), None) => open.push((i + 1, j)),
                (None, Some(Part::Many(_))) => open.push((i, j + 1)),
                (None, _) | (_, None) => {}
                (Some(&one), Some(&other)) => {
                    let (Part::One(class) | Part::Many(class)) = one;
                    let (Part::One(other_class) | Part::Many(other_class)) = other;
                    let meets = class.meets(other_class);
                    match (one, other) {
                        (Part::One(_), Part::One(_)) if meets => open.push((i + 1, j + 1)),
                        (Part::One(_), Part::One(_)) => {}
                        (Part::One(_), Part::Many(_)) => {
                            open.push((i, j + 1));
                            if meets {
                                open.push((i + 1, j));
                            }
                        }
                        (Part::Many(_), Part::One(_)) => {
                            open.push((i + 1, j));
                            if meets {
                                open.push((i, j + 1));
                            }
                        }
                        (Part::Many(_), Part::Many(_)) => open.extend([(i + 1, j), (i, j + 1)]),
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_meet_where_one_fits_both() {
        let literal = |path: &str| Pattern::literal(Path::new(path));
        let template = |path: &str| Pattern::template(Path::new(path));
        let glob = |path: &str| Pattern::glob(Path::new(path));
        assert!(literal("/o").meets(&literal("/o")));
        assert!(!literal("/o").meets(&literal("/o.1")));
        assert!(literal("/o").numbered().meets(&literal("/o.1")));
        assert!(literal("/o").numbered().meets(&literal("/o.20240101")));
        assert!(!literal("/o").numbered().meets(&literal("/o.log")));
        assert!(template("/out/{key}").meets(&literal("/out/x.log")));
        assert!(template("/out/{a}-{b}.log").meets(&template("/out/x-{c}.log")));
        assert!(!template("/out/{key}.log").meets(&literal("/out/x.txt")));
        assert!(!template("/out/{key}").meets(&literal("/out/a/b")));
        assert!(glob("/logs/*.log").meets(&literal("/logs/a.log")));
        assert!(!glob("/logs/*.log").meets(&literal("/logs/a.log.1")));
        assert!(glob("/logs/*.log*").meets(&literal("/logs/a.log").numbered()));
        assert!(glob("/**/*.log").meets(&template("/a/{b}/c.log")));
        assert!(glob("/logs/[ab]?.log").meets(&literal("/logs/ax.log")));
    }
}

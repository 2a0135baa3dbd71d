//! Folders to begin with: a stage that builds, its tests, and the SDK of its language.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// A language that stages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
    JavaScript,
    TypeScript,
    Go,
    C,
    Zig,
    AssemblyScript,
}

impl Language {
    pub const ALL: [Self; 8] = [
        Self::Rust,
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::Go,
        Self::C,
        Self::Zig,
        Self::AssemblyScript,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Go => "go",
            Self::C => "c",
            Self::Zig => "zig",
            Self::AssemblyScript => "assemblyscript",
        }
    }

    /// The folder of its SDK in `plugin-sdk`, and where a project holds it.
    fn sdk(self) -> (&'static str, &'static str) {
        match self {
            Self::Rust => ("rust", "vendor/pipehost-plugin"),
            Self::Python => ("python/src", "vendor"),
            Self::JavaScript | Self::TypeScript => ("javascript", "vendor/pipehost-plugin"),
            Self::Go => ("go", "vendor/github.com/pipehost/pipehost/plugin-sdk/go"),
            Self::C => ("c", "vendor"),
            Self::Zig => ("zig", "vendor"),
            Self::AssemblyScript => ("assemblyscript", "vendor/pipehost-plugin"),
        }
    }
}

/// What a template calls the stage; replaced in the contents and names of files.
const NAME: &str = "my-stage";

/// Whether a name can be that of a stage: of a crate, a package, a folder.
pub fn check_name(name: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name == "pipehost-plugin" || name == "pipehost" {
        bail!("{name:?} is the name of the SDK: give the stage another one");
    }
    if !starts || !name.chars().all(valid) || name.ends_with('-') || name.len() > 60 {
        bail!(
            "{name:?} is not a name for a stage: use a-z, 0-9 and -, at most 60, and begin with a \
             letter"
        );
    }
    Ok(())
}

/// Makes a folder with a stage of this name. Returns the files of the template, without the SDK.
///
/// # Errors
/// If there is something in the folder already, or it cannot be written.
pub fn make(folder: &Path, name: &str, language: Language) -> Result<Vec<String>> {
    check_name(name)?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        bail!("{} exists; give another name, or remove it", folder.display());
    }
    let (sdk, place) = language.sdk();
    for (path, content) in below(SDKS, sdk) {
        write(&folder.join(place).join(path), content)?;
    }
    let mut files = Vec::new();
    for (path, content) in below(TEMPLATES, language.name()) {
        // A name that begins with a dot would be hidden in the repository.
        let path = path.replace("dot-", ".").replace(NAME, name);
        let content = match std::str::from_utf8(content) {
            Ok(text) => text.replace(NAME, name).replace("my_stage", &name.replace('-', "_")),
            Err(_) => bail!("the template's file {path} is not UTF-8"),
        };
        write(&folder.join(&path), content.as_bytes())?;
        files.push(path);
    }
    files.sort();
    Ok(files)
}

/// The files of a list below a folder of it, by their path from there.
fn below<'f>(
    files: &'f [(&'f str, &'f [u8])],
    folder: &'f str,
) -> impl Iterator<Item = (&'f str, &'f [u8])> {
    files.iter().filter_map(move |(path, content)| {
        Some((path.strip_prefix(folder)?.strip_prefix('/')?, *content))
    })
}

/// The conformance cases: names and texts.
pub(crate) fn conformance() -> impl Iterator<Item = (&'static str, &'static str)> {
    let text = |content| std::str::from_utf8(content).expect("cases are UTF-8");
    CONFORMANCE.iter().map(move |(name, content)| (*name, text(content)))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages_in_every_language() {
        for name in ["a", "keep-level", "x2"] {
            check_name(name).unwrap();
        }
        for name in ["", "2x", "A", "a_b", "a-", "../x", "a b", "pipehost-plugin", &"x".repeat(61)]
        {
            check_name(name).unwrap_err();
        }
    }

    #[test]
    fn each_language_has_a_template_and_an_sdk() {
        for language in Language::ALL {
            let folder = tempfile::tempdir().unwrap();
            let files = make(folder.path(), "keep-errors", language).unwrap();
            for file in ["pipehost.toml", "README.md", "tests/first.toml"] {
                assert!(files.iter().any(|f| f == file), "{}: no {file}", language.name());
            }
            let (_, place) = language.sdk();
            assert!(folder.path().join(place).is_dir(), "{}: no SDK", language.name());
            for file in files {
                let text = fs::read_to_string(folder.path().join(&file)).unwrap();
                assert!(!text.contains(NAME) && !text.contains("my_stage"), "{file}");
            }
            make(folder.path(), "keep-errors", language).unwrap_err();
        }
    }
}

//! Paths as the system resolves them: links, `..`, patterns.

use anyhow::anyhow;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The part of a path before its first wildcard, and whether it has one.
pub fn fixed(path: &Path) -> (PathBuf, bool) {
    let (fixed, is_pattern) = fixed_before(path, &['*', '?', '[']);
    if is_pattern { (fixed, true) } else { (path.to_owned(), false) }
}

/// The folders of a path before the first name with one of `marks`; and whether there is one.
pub fn fixed_before(path: &Path, marks: &[char]) -> (PathBuf, bool) {
    let has_mark = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(marks);
    let fixed: PathBuf = path.components().take_while(|part| !has_mark(part)).collect();
    let is_pattern = fixed.components().count() < path.components().count();
    let here = fixed.as_os_str().is_empty();
    (if here { PathBuf::from(".") } else { fixed }, is_pattern)
}

/// Resolves links, as far as the path exists, and `..`.
pub fn resolve(path: &Path) -> PathBuf {
    const LINKS: usize = 40; // Linux has the same limit.
    resolve_links(path, LINKS)
}

fn resolve_links(path: &Path, links: usize) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut there = whole.as_path();
    loop {
        if let Ok(real) = there.canonicalize() {
            let rest = whole.strip_prefix(there).unwrap_or(Path::new(""));
            return rest.components().fold(real, |mut path, part| {
                match part {
                    Component::ParentDir => drop(path.pop()),
                    part => path.push(part),
                }
                path
            });
        }
        // Follow a link whose target is missing too: it may be created later.
        if let Ok(target) = there.read_link()
            && links > 0
        {
            let rest = whole.strip_prefix(there).unwrap_or(Path::new(""));
            let folder = there.parent().unwrap_or(Path::new("/"));
            return resolve_links(&folder.join(target).join(rest), links - 1);
        }
        match there.parent() {
            Some(parent) => there = parent,
            None => return whole,
        }
    }
}

/// Why a file cannot be read, for the operator.
pub fn cannot_read(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_pattern_is_fixed() {
        let fixed = |path: &str| {
            let (fixed, is_pattern) = fixed(Path::new(path));
            (fixed.display().to_string(), is_pattern)
        };
        assert_eq!(fixed("a/b/*.log"), ("a/b".to_owned(), true));
        assert_eq!(fixed("a/**/c.log"), ("a".to_owned(), true));
        assert_eq!(fixed("*.log"), (".".to_owned(), true));
        assert_eq!(fixed("/no-such/x.log"), ("/no-such/x.log".to_owned(), false));
    }

    #[test]
    fn a_path_is_resolved_as_far_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink("a", real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link/x/y")), real.join("a/x/y"));
        assert_eq!(resolve(&real.join("b/../a/x")), real.join("a/x"));
        std::os::unix::fs::symlink("a/none", real.join("dangling")).unwrap();
        assert_eq!(resolve(&real.join("dangling")), real.join("a/none"));
        std::os::unix::fs::symlink("round", real.join("round")).unwrap();
        resolve(&real.join("round")); // It ends, though the link leads to itself.
    }
}

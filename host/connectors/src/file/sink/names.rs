//! Divides the records of a sink into files whose names come from keys and attributes.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use pipehost_config::FilePartition;
use pipehost_files::content_hash;
use pipehost_files::folder;
use pipehost_files::paths;
use pipehost_files::rename::cannot_write;
use pipehost_record::Batch;
use pipehost_record::template::key_or_attribute;

/// The rows of a batch, by the file that they go to.
pub(crate) fn divide(partition: &FilePartition, batch: &Batch) -> BTreeMap<PathBuf, Vec<u32>> {
    let mut by_path: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    let mut path = Vec::new();
    for row in 0..batch.len {
        path.clear();
        partition.path.render_with(&mut path, |name, out| {
            push_name(key_or_attribute(batch, row, name).unwrap_or_default(), out);
        });
        finish_names(&mut path, partition.path.ends_with_name());
        match by_path.get_mut(&path) {
            Some(rows) => rows.push(row as u32),
            None => drop(by_path.insert(path.clone(), vec![row as u32])),
        }
    }
    let whole = |path: Vec<u8>| partition.base.join(OsString::from_vec(path));
    by_path.into_iter().map(|(path, rows)| (whole(path), rows)).collect()
}

/// Makes the parts of a path valid: no name is too long for a file system, or that of a rotated
/// file (`NAME.1`). Names that differ stay different.
fn finish_names(path: &mut Vec<u8>, ends_with_name: bool) {
    const LONGEST: usize = 200;
    let digits = path.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let dot = path.len().checked_sub(digits + 1);
    if let Some(dot) = dot.filter(|&dot| ends_with_name && digits > 0 && path[dot] == b'.') {
        path.splice(dot..=dot, *b"%2E");
    }
    if path.split(|&byte| byte == b'/').any(|name| name.len() > LONGEST) {
        let name = |name: &[u8]| match name.len() {
            0..=LONGEST => name.to_vec(),
            _ => shortened(name, name, LONGEST),
        };
        let names: Vec<_> = path.split(|&byte| byte == b'/').map(name).collect();
        *path = names.join(&b'/');
    }
}

/// The start of a name that is too long, with a hash of `meaning` that keeps it unique.
fn shortened(name: &[u8], meaning: &[u8], longest: usize) -> Vec<u8> {
    const DIGITS: usize = 32;
    let digest = content_hash(meaning);
    // Cannot be the name of another value: there, hexadecimal digits follow a `%`.
    [&name[..longest - DIGITS - 2], b"%-", &digest.as_bytes()[..DIGITS]].concat()
}

/// Creates the folder of a file whose name comes from records, which may be hostile. No link below
/// the fixed part of the path, which the operator wrote, may lead elsewhere.
pub(crate) fn make_folder(template: &Path, path: &Path) -> Result<()> {
    let failed = |error: io::Error| cannot_write(path, &error);
    let folder = folder::of(path);
    let (fixed, _) = paths::fixed_before(template, &['{']);
    fs::create_dir_all(&fixed).map_err(failed)?;
    let real = fixed.canonicalize().map_err(failed)?;
    // Check each folder before creating the next: below a link, it would be created elsewhere.
    let mut there = fixed.clone();
    for part in folder.strip_prefix(&fixed).unwrap_or(folder).components() {
        if part == Component::CurDir {
            continue;
        }
        there.push(part);
        match fs::symlink_metadata(&there) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => break,
            _ => fs::create_dir(&there).map_err(failed)?,
        }
    }
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
    if is_link(&there) && there != fixed
        || is_link(path)
        || !folder.canonicalize().map_err(failed)?.starts_with(&real)
    {
        bail!(
            "cannot write {}: there is a link, and its name was made of a record; name what it \
             leads to, or take it away",
            path.display()
        );
    }
    Ok(())
}

/// Appends a value as a part of a path that cannot lead to another folder or be hidden. Other
/// characters are percent-encoded (RFC 3986, section 2.1), so that no two values have one name.
fn push_name(value: &[u8], out: &mut Vec<u8>) {
    const LONGEST: usize = 100;
    const NONE: &[u8] = b"none";
    if value.is_empty() {
        out.extend_from_slice(NONE);
        return;
    }
    let start = out.len();
    for (at, &byte) in value.iter().take(LONGEST + 1).enumerate() {
        let is_plain = match byte {
            b'.' => at > 0,
            byte => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
        };
        match byte {
            _ if value == NONE && at == 0 => out.extend_from_slice(b"%6E"),
            byte if is_plain => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    if out.len() - start > LONGEST {
        let name = shortened(&out[start..], value, LONGEST);
        out.splice(start.., name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_have_one_name() {
        let name = |value: &[u8]| {
            let mut path = b"out/".to_vec();
            push_name(value, &mut path);
            finish_names(&mut path, true);
            String::from_utf8(path).unwrap()
        };
        for (value, expected) in [
            ("INFO", "INFO"),
            ("a/b", "a%2Fb"),
            ("a_b", "a_b"),
            ("a%2Fb", "a%252Fb"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("1.2", "1%2E2"),
            ("1.2.3", "1.2%2E3"),
            ("1_2", "1_2"),
            ("none", "%6Eone"),
            ("", "none"),
            ("a\0\n", "a%00%0A"),
        ] {
            assert_eq!(name(value.as_bytes()), format!("out/{expected}"));
        }
        let long: Vec<_> = ["x", "y", "/"].map(|end| "a".repeat(150) + end).into();
        let names: std::collections::BTreeSet<_> =
            long.iter().map(|l| name(l.as_bytes())).collect();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.len() == "out/".len() + 100));
        assert_ne!(name(&[b'/'; 100]), name(&[b'/'; 101]));
    }
}

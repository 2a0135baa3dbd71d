//! Makes lists of the files that the program holds: SDKs, templates, conformance cases.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What is not part of an SDK as a project holds it.
const LEFT_OUT: [&str; 11] = [
    "tests",
    "test",
    "conformance",
    "node_modules",
    "target",
    "build",
    "__pycache__",
    "dist",
    "package-lock.json",
    "*_test.go",
    "*_test.zig",
];

fn main() {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = here.join("../..").canonicalize().expect("the repository");
    let mut code = String::new();
    list(&mut code, "SDKS", &root.join("plugin-sdk"), &LEFT_OUT, "");
    list(&mut code, "TEMPLATES", &here.join("templates"), &[], "");
    list(&mut code, "CONFORMANCE", &root.join("tests/conformance"), &[], ".toml");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("files.rs"), code).expect("the folder of the build can be written");
}

/// A list of the files below a folder: paths relative to it, and contents.
fn list(code: &mut String, name: &str, folder: &Path, left_out: &[&str], ending: &str) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    find(folder, left_out, &mut files);
    files.sort();
    let _ = writeln!(code, "pub(crate) const {name}: &[(&str, &[u8])] = &[");
    for file in files.iter().filter(|file| file.to_string_lossy().ends_with(ending)) {
        let relative = file.strip_prefix(folder).expect("it lies below").display().to_string();
        let _ =
            writeln!(code, "    ({relative:?}, include_bytes!({:?})),", file.display().to_string());
    }
    code.push_str("];\n");
}

fn find(folder: &Path, left_out: &[&str], files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_named = |left_out: &&str| match left_out.strip_prefix('*') {
            Some(ending) => name.ends_with(ending),
            None => name == *left_out,
        };
        let is_left_out =
            left_out.iter().any(is_named) || name.starts_with('.') || name.ends_with(".pyc");
        match is_left_out {
            true => {}
            // Follows links: the contract lies in one place.
            false if path.is_dir() => find(&path, left_out, files),
            false => files.push(path),
        }
    }
}

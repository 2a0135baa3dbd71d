//! Tells the program which commit it is made of.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // A package says it in a file; a folder that is neither says nothing.
    let commit = commit(&root).unwrap_or_default();
    println!("cargo::rustc-env=PIPEHOST_COMMIT={commit}");
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    // A repository around an unpacked package is not its own.
    if !root.join("wit/stage.wit").is_file() {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    for file in ["HEAD", "packed-refs", &git(&["rev-parse", "--symbolic-full-name", "HEAD"])?] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={}", root.join(path).display());
        }
    }
    Some(commit)
}

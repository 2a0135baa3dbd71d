//! Builds the stages of `plugins/`, to include them in the program.
//!
//! In a checkout, cargo builds them into another target directory: the cargo that runs this script
//! locks its own until it ends. A package has no `plugins/`, but the built components in
//! `components/`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// A stage, and the path of its component.
struct Stage {
    name: String,
    summary: String,
    component: PathBuf,
}

fn main() {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let stages = if root.join("plugins").is_dir() {
        build(&root.canonicalize().expect("it is there"))
    } else {
        packaged(&here.join("components"))
    };
    let mut list = String::from("&[\n");
    for Stage { name, summary, component } in stages {
        let component = component.display().to_string();
        let _ = writeln!(
            list,
            "    BundledStage {{ name: {name:?}, summary: {summary:?}, component: include_bytes!({component:?}) }},"
        );
    }
    list.push_str("]\n");
    fs::write(out().join("stages.rs"), list).expect("OUT_DIR can be written");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn out() -> PathBuf {
    PathBuf::from(variable("OUT_DIR"))
}

/// Builds every stage of the workspace.
fn build(root: &Path) -> Vec<Stage> {
    for input in ["plugins", "plugin-sdk/rust", "wit", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let mut manifests: Vec<PathBuf> = fs::read_dir(root.join("plugins"))
        .expect("plugins/ can be read")
        .flatten()
        .map(|entry| entry.path().join("Cargo.toml"))
        .filter(|manifest| manifest.is_file())
        .collect();
    manifests.sort();
    let target = target_directory();
    let mut cargo = cargo(root);
    cargo.args(["build", "--release", "--lib", "--target", TARGET, "--target-dir"]).arg(&target);
    let mut stages = Vec::new();
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).expect("a manifest can be read");
        let value = |key: &str| value(&text, key).unwrap_or_else(|| panic!("{manifest:?}: {key}"));
        let (name, summary) = (value("name"), value("description"));
        cargo.args(["--package", &name]);
        let file = format!("{}.wasm", name.replace('-', "_"));
        let component = target.join(TARGET).join("release").join(file);
        stages.push(Stage { name, summary, component });
    }
    add_target(root);
    let status = cargo.status().expect("cargo runs, as it does already");
    assert!(status.success(), "cargo could not build the stages of plugins/: see above");
    // A copy, because an included file must not change while the program is compiled.
    for stage in &mut stages {
        let copy = out().join(format!("{}.wasm", stage.name));
        fs::copy(&stage.component, &copy)
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", stage.component.display()));
        stage.component = copy;
    }
    stages
}

/// `target/stages`, for all profiles; below `OUT_DIR` if that is not found.
fn target_directory() -> PathBuf {
    let out = out();
    // target/PROFILE/build/PACKAGE-HASH/out, or target/TRIPLE/PROFILE/build/PACKAGE-HASH/out.
    let build = out.ancestors().find(|folder| folder.ends_with("build"));
    match build.and_then(Path::parent).and_then(Path::parent) {
        Some(target) => target.join("stages"),
        None => out.join("stages"),
    }
}

/// Cargo, without the variables that are set for the build that runs this script.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(root);
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            let of_flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"];
            // Clippy is such a wrapper.
            let of_wrappers = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
            of_flags.contains(&name)
                || of_wrappers.contains(&name)
                || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CFG_", "CARGO_FEATURE_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        });
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The value of a key in a manifest, if it is on a line of its own.
fn value(manifest: &str, key: &str) -> Option<String> {
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('=').map(str::trim))?;
    Some(line.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// Adds the target to the toolchain, if it lacks it.
fn add_target(root: &Path) {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output().ok();
    let sysroot = sysroot.and_then(|output| String::from_utf8(output.stdout).ok());
    let is_there =
        |sysroot: &String| Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir();
    if sysroot.as_ref().is_some_and(is_there) {
        return;
    }
    let added = Command::new("rustup").current_dir(root).args(["target", "add", TARGET]).status();
    assert!(
        added.is_ok_and(|status| status.success()),
        "pipehost's own stages need Rust's target {TARGET}, and `rustup target add {TARGET}` \
         failed; install it with your toolchain"
    );
}

/// The components of a package, with their summaries.
fn packaged(components: &Path) -> Vec<Stage> {
    println!("cargo::rerun-if-changed={}", components.display());
    let list = components.join("summaries.txt");
    let list = fs::read_to_string(&list).unwrap_or_else(|error| {
        panic!("there are no components to bring along: {list:?}: {error}")
    });
    list.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, summary)| Stage {
            name: name.to_owned(),
            summary: summary.to_owned(),
            component: components.join(format!("{name}.wasm")),
        })
        .collect()
}

//! `docs/reference` is made of the sources: the contract, and the SDKs as their languages show them.
//! `SNAPSHOTS=overwrite cargo test --test languages reference` writes it anew.

use std::fmt::Write as _;
use std::fs;

use crate::harness::{Case, root};
use crate::{has, sh};

#[track_caller]
fn is_up_to_date(name: &str, text: &str) {
    let path = root().join("docs/reference").join(name);
    let text = format!("<!-- Made by tests/languages/reference.rs: do not edit. -->\n\n{text}");
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let command = "SNAPSHOTS=overwrite cargo test --test languages reference";
    assert!(there == text, "{} is not what the sources say: {command}", path.display());
}

fn source(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Each interface and world, with what is said of it in front of its items.
fn contract(text: &str, out: &mut String) {
    let (mut said, mut body) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let is_top = ["interface ", "world "].iter().any(|kind| line.starts_with(kind));
        match (line.strip_prefix("///"), is_top) {
            (Some(comment), _) if body.is_empty() => said.push(comment.trim().to_owned()),
            (_, true) => {
                let _ = writeln!(
                    out,
                    "## {}\n\n{}\n",
                    line.trim_end_matches(" {"),
                    said.join("\n").trim()
                );
                said.clear();
                body.push(line);
            }
            _ if body.is_empty() => {}
            _ => {
                body.push(line);
                if line == "}" {
                    let _ = writeln!(out, "```wit\n{}\n```\n", body.join("\n"));
                    body.clear();
                }
            }
        }
    }
}

#[test]
fn of_the_contract() {
    let mut out =
        String::from("# The contract\n\nThe package `pipehost:stage@0.2.0`, in `wit/`.\n\n");
    for file in ["stage", "packed", "metrics"] {
        contract(&source(&format!("wit/{file}.wit")), &mut out);
    }
    is_up_to_date("contract.md", &out);
}

#[test]
fn of_c() {
    let header = source("plugin-sdk/c/pipehost.h");
    let interface = header.split("/* =======").next().unwrap();
    is_up_to_date("c.md", &format!("# The SDK for C\n\n```c\n{}\n```\n", interface.trim_end()));
}

#[test]
fn of_javascript() {
    let mut out = String::from("# The SDK for JavaScript and TypeScript\n\n");
    for (module, file) in [("@pipehost/plugin", "index"), ("@pipehost/plugin/testing", "testing")] {
        let types = source(&format!("plugin-sdk/javascript/{file}.d.ts"));
        let _ = writeln!(out, "## {module}\n\n```ts\n{}\n```\n", types.trim_end());
    }
    is_up_to_date("javascript.md", &out);
}

#[test]
fn of_go() {
    if !has("go") {
        return;
    }
    let mut out = String::from("# The SDK for Go\n\n");
    for package in [".", "./stateful", "./timed", "./metrics", "./pipehosttest"] {
        let shown = sh(&root().join("plugin-sdk/go"), &format!("go doc -all {package}"));
        let name = package.trim_start_matches("./").replace('.', "pipehost");
        let _ = writeln!(out, "## {name}\n\n```text\n{}\n```\n", shown.trim_end());
    }
    is_up_to_date("go.md", &out);
}

#[test]
fn of_python() {
    if !has("python3") {
        return;
    }
    let script = r###"
import inspect, pipehost, pipehost.testing, pipehost.metrics
def show(name, thing):
    if inspect.isclass(thing):
        print(f"## {name}\n\n{inspect.getdoc(thing) or ''}\n")
        for method, f in vars(thing).items():
            if not method.startswith("_") and callable(f):
                print(f"`{method}{inspect.signature(f)}`\n\n{inspect.getdoc(f) or ''}\n")
    elif callable(thing):
        print(f"## {name}\n\n`{name}{inspect.signature(thing)}`\n\n{inspect.getdoc(thing) or ''}\n")
print("# The SDK for Python\n")
for name in pipehost.__all__:
    show(name, getattr(pipehost, name))
for name in ("add", "set", "observe"):
    show(f"metrics.{name}", getattr(pipehost.metrics, name))
for name in ("record", "run", "Driven"):
    show(f"testing.{name}", getattr(pipehost.testing, name))
"###;
    let folder = root().join("plugin-sdk/python/src");
    let case = Case::new().file("show.py", script);
    let shown = sh(&folder, &format!("PYTHONPATH=. python3 -B {}", case.path("show.py").display()));
    is_up_to_date("python.md", &format!("{}\n", shown.trim_end()));
}

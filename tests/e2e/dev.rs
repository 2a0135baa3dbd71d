//! `pipehost dev`: a stage is replaced in a pipeline that runs, at each change of its source.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Case, lines, wait};

/// A stage whose source is a component, and which is built by copying it.
fn folder(case: &Case) {
    fs::create_dir(case.path("stage")).unwrap();
    let project = "[build]\ncommand = \"mkdir -p build && cp source.wasm build/stage.wasm\"\n\
                   output = \"build/stage.wasm\"\n";
    fs::write(case.path("stage/pipehost.toml"), project).unwrap();
}

/// Writes a stage that comes with the program as the source.
fn source(folder: &Path, name: &str) {
    let stage = pipehost_stages::STAGES.iter().find(|stage| stage.name == name).unwrap();
    // At once, as the folder is watched.
    fs::write(folder.join(".new"), stage.component).unwrap();
    fs::rename(folder.join(".new"), folder.join("source.wasm")).unwrap();
}

#[test]
fn a_change_is_built_and_replaces_the_stage_while_the_pipeline_runs() {
    let case = Case::new();
    folder(&case);
    source(&case.path("stage"), "to-upper");
    let mut child = case.spawn(&["dev", "stage"]);
    let mut stdin = child.stdin.take().unwrap();
    let stdout = lines(child.stdout.take().unwrap());
    let said = lines(child.stderr.take().unwrap());
    let says = |text: &str| {
        let mut all = String::new();
        loop {
            let line = said.recv().unwrap_or_else(|_| panic!("{text:?} is not in {all}"));
            all += &format!("{line}\n");
            if line.contains(text) {
                return;
            }
        }
    };
    stdin.write_all(b"a21\n").unwrap();
    assert_eq!(stdout.recv().unwrap(), "A21");
    says("stage < a21");
    says("stage > A21");

    source(&case.path("stage"), "double");
    says("goes on with the changed pipeline");
    stdin.write_all(b"21\n").unwrap();
    assert_eq!(stdout.recv().unwrap(), "42");

    // What is no component leaves the old one running.
    fs::write(case.path("stage/source.wasm"), "not a component").unwrap();
    says("goes on as it was");
    stdin.write_all(b"4\n").unwrap();
    assert_eq!(stdout.recv().unwrap(), "8");
    // So does a build that fails.
    fs::write(case.path("stage/pipehost.toml"), "[build]\ncommand = \"false\"\noutput = \"x\"\n")
        .unwrap();
    says("the stage goes on as it was");

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // The end of stdin must not come first.
    says("draining");
    drop(stdin);
    wait(child).code(130);
}

#[test]
fn a_pipeline_without_the_stage_is_refused() {
    let case = Case::new().file(
        "pipeline.toml",
        "[[source]]\nname = \"in\"\ntype = \"stdin\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"in\"\n",
    );
    folder(&case);
    source(&case.path("stage"), "to-upper");
    case.run(&["dev", "stage", "--pipeline", "pipeline.toml"])
        .code(2)
        .says("no stage of pipeline.toml has the folder that is being written as its `plugin`");
    case.run(&["dev", "nowhere"]).code(2).says("there is no folder nowhere");
}

//! Bad configurations, each with the message that it must give beside it in
//! `tests/config/`: `NAME.toml` and `NAME.stderr`.
//!
//! `SNAPSHOTS=overwrite cargo test` writes the messages anew; read them before you
//! commit them.

use std::fs;

use snapbox::{Assert, Data};

use crate::harness::{Case, guest, root};

#[test]
fn every_mistake_is_reported_with_its_place_and_what_to_do() {
    let assert = Assert::new().action_env("SNAPSHOTS");
    let mut checked = 0;
    let mut files: Vec<_> = fs::read_dir(root().join("tests/config"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let case = Case::new()
            .file(&name, fs::read(path).unwrap())
            .file("pass.wat", guest("pass"))
            .file("loop-in-open.wat", guest("loop-in-open"));
        std::os::unix::fs::symlink(root().join("plugins"), case.path("plugins")).unwrap();
        let ran = case.run(&["check", &name]).code(2);
        assert_eq!(ran.stdout, "");
        let said: String = (ran.stderr.lines())
            .filter(|line| !line.starts_with("building ") && !line.starts_with("adding "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert.eq(said, Data::read_from(&path.with_extension("stderr"), None));
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn a_pipeline_that_is_no_text() {
    Case::new()
        .file("p.toml", b"a = \"\xff\"\n")
        .run(&["check", "p.toml"])
        .code(2)
        .says("is not UTF-8, from byte 5 on");
    Case::new()
        .file("p.toml", "")
        .run(&["check", "p.toml"])
        .code(2)
        .says("the pipeline has no source");
}

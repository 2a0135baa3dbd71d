//! The documents are right: their commands run, their pipelines are fit to run, their links lead
//! somewhere. And what is published holds what it needs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Case, root};

/// README and `docs/`, with their paths from the root.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    let languages = fs::read_dir(root().join("docs/languages")).unwrap();
    paths.extend(languages.map(|entry| entry.unwrap().path()));
    paths.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    paths.sort();
    let text = |path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
    paths.into_iter().map(text).collect()
}

/// The fenced blocks of a language, with the line that each begins in.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, Vec<&'a str>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    let mut other = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(_), None) if other => other = false,
            (Some(tag), None) if tag == language => open = Some((number, Vec::new())),
            (Some(_), None) => other = true,
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn commands_run_as_they_are_written() {
    let mut commands = 0;
    // Those of the languages need their tools: `tests/languages` runs them.
    let of_language = |path: &Path| path.parent().is_some_and(|p| p.ends_with("languages"));
    for (path, text) in documents().into_iter().filter(|(path, _)| !of_language(path)) {
        for (line, block) in blocks(&text, "console") {
            // A copy of a checkout, as far as commands need one; what they write stays in it.
            let case = Case::new();
            fs::create_dir_all(case.path("host/examples")).unwrap();
            for file in fs::read_dir(root().join("host/examples")).unwrap() {
                let file = file.unwrap().path();
                let name = file.file_name().unwrap();
                if file.is_file() && !name.to_string_lossy().ends_with(".dead") {
                    fs::copy(&file, case.path("host/examples").join(name)).unwrap();
                }
            }
            symlink(root().join("plugins"), case.path("plugins")).unwrap();
            let program = Path::new(env!("CARGO_BIN_EXE_pipehost"));
            let paths = std::env::join_paths(
                [program.parent().unwrap().to_owned()]
                    .into_iter()
                    .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
            );
            let mut lines = block.iter().peekable();
            while let Some(prompt) = lines.next() {
                let at = format!("{}:{line}: {prompt}", path.display());
                let command =
                    prompt.strip_prefix("$ ").unwrap_or_else(|| panic!("{at}: no prompt"));
                let mut shell = case.command_of(Path::new("bash"), &["-c", command]);
                shell.env("PATH", paths.as_ref().unwrap());
                let ran = case.run_command(shell);
                assert_eq!(ran.code, 0, "{at}: {}", ran.stderr);
                // What is shown of it, if anything is; the log and summaries go to stderr.
                let mut shown = Vec::new();
                while let Some(output) = lines.next_if(|line| !line.starts_with("$ ")) {
                    shown.push(*output);
                }
                if !shown.is_empty() {
                    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), shown, "{at}");
                }
                commands += 1;
            }
        }
    }
    assert!(commands >= 15, "{commands}");
}

#[test]
fn pipelines_are_fit_to_run() {
    let mut pipelines = 0;
    for (path, text) in documents() {
        for (line, block) in blocks(&text, "toml") {
            let named = block.first().and_then(|line| line.strip_prefix("# "));
            let Some(name) = named.filter(|name| name.ends_with(".toml") && !name.contains(' '))
            else {
                continue;
            };
            let case = Case::new().file(name, block.join("\n"));
            let ran = case.run(&["check", "--no-environment", name]);
            assert_eq!(ran.code, 0, "{}:{line}: {}", path.display(), ran.stderr);
            pipelines += 1;
        }
    }
    assert!(pipelines >= 5, "{pipelines}");
}

/// As GitHub makes the anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

#[test]
fn links_lead_somewhere() {
    for (path, text) in documents() {
        for piece in text.split("](").skip(1) {
            let link = piece.split(')').next().unwrap();
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !fragment.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let has = headings.any(|line| anchor(line.trim_start_matches('#')) == fragment);
                assert!(has, "{}: {link} has no such heading", path.display());
            }
        }
    }
}

/// Every setting that the program knows, as it names them in its messages, is in a document.
#[test]
fn every_setting_has_a_document() {
    let texts: String = documents().into_iter().map(|(_, text)| text).collect();
    let case = |table: &str| {
        let text = format!("{table}\nnot_a_setting = 1\n");
        Case::new().file("p.toml", text).run(&["check", "p.toml"]).code(2).stderr
    };
    let named = "name = \"a\"\ninput = \"b\"\nplugin = \"filter\"\n";
    let mut settings = 0;
    for table in [
        "[pipeline]".to_owned(),
        format!("[[stage]]\n{named}"),
        format!("[[stage]]\n{named}[stage.limits]"),
        format!("[[stage]]\n{named}[stage.grants]"),
        format!("[[stage]]\n{named}[stage.retry]"),
        format!("[[stage]]\n{named}[stage.breaker]"),
        format!("[[stage]]\n{named}[stage.watermark]"),
        format!("[[stage]]\n{named}[stage.batch]"),
        "[[source]]\nname = \"a\"\ntype = \"stdin\"".to_owned(),
        "[[source]]\nname = \"a\"\ntype = \"file\"\npaths = \"x\"".to_owned(),
        "[[source]]\nname = \"a\"\ntype = \"http\"\nlisten = \"127.0.0.1:1\"".to_owned(),
        "[[source]]\nname = \"a\"\ntype = \"sqlite\"\npath = \"x\"\ntable = \"t\"".to_owned(),
        "[[source]]\nname = \"a\"\ntype = \"generate\"".to_owned(),
        "[[sink]]\nname = \"a\"\ninput = \"b\"\ntype = \"stdout\"".to_owned(),
        "[[sink]]\nname = \"a\"\ninput = \"b\"\ntype = \"file\"\npath = \"x\"".to_owned(),
        "[[sink]]\nname = \"a\"\ninput = \"b\"\ntype = \"http\"\nurl = \"http://x\"".to_owned(),
        "[[sink]]\nname = \"a\"\ninput = \"b\"\ntype = \"sqlite\"\npath = \"x\"\ntable = \"t\""
            .to_owned(),
        "[[sink]]\nname = \"a\"\ninput = \"b\"\ntype = \"null\"".to_owned(),
    ] {
        let said = case(&table);
        let known = said.split("it has `").nth(1).unwrap_or_else(|| panic!("{table}: {said}"));
        for name in known.lines().next().unwrap().trim_end_matches('`').split("`, `") {
            assert!(texts.contains(&format!("`{name}`")), "no document has `{name}` ({table})");
            settings += 1;
        }
    }
    assert!(settings >= 60, "{settings}");
}

/// Every metric that a run has is in a document.
#[test]
fn every_metric_has_a_document() {
    let operating = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let source = fs::read_to_string(root().join("host/observe/src/metrics.rs")).unwrap();
    let names = source.split('"').filter(|text| text.starts_with("pipeline_"));
    let mut metrics = 0;
    for name in names {
        assert!(operating.contains(&format!("`{name}`")), "docs/operating.md lacks {name}");
        metrics += 1;
    }
    assert!(metrics >= 15, "{metrics}");
}

/// The dashboard shows metrics that there are.
#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let file = root().join("docs/reference/grafana-dashboard.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let operating = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (mut shown, mut panels) = (std::collections::BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        panels += 1;
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("pipeline=\"$pipeline\""), "{expression}");
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            shown.extend(
                words
                    .filter(|word| word.starts_with("pipeline_") || word.starts_with("process_"))
                    .map(str::to_owned),
            );
        }
    }
    for name in &shown {
        assert!(operating.contains(&format!("`{name}`")), "docs/operating.md lacks {name}");
    }
    assert!(panels >= 10 && shown.len() >= 15, "{panels}, {shown:?}");
    // Lags, waits and the culprit.
    for name in ["pipeline_source_lag_bytes", "pipeline_stage_seconds_total"] {
        assert!(shown.contains(name), "{shown:?}");
    }
}

#[test]
fn the_package_of_the_sdk_holds_the_contract() {
    let listed = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["package", "--package", "pipehost-plugin", "--allow-dirty", "--offline", "--list"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|file| file == "wit/stage.wit"), "{listed}");
    // It is built from what is in it, and nothing else.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let packaged = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["package", "--package", "pipehost-plugin", "--allow-dirty", "--offline", "--quiet"])
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    assert!(packaged.status.success(), "{}", String::from_utf8_lossy(&packaged.stderr));
    // The same contract as everywhere.
    let there = target.join("package/pipehost-plugin-0.1.0/wit/stage.wit");
    assert_eq!(fs::read(there).unwrap(), fs::read(root().join("wit/stage.wit")).unwrap());
}

/// `systemd-analyze verify`, where there is one.
#[test]
fn the_systemd_unit_is_one() {
    let case = Case::new();
    let unit = fs::read_to_string(root().join("packaging/pipehost@.service")).unwrap();
    let program = env!("CARGO_BIN_EXE_pipehost");
    fs::write(case.path("pipehost@.service"), unit.replace("/usr/bin/pipehost", program)).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(case.path("pipehost@logs.service"))
        .output();
    let Ok(verified) = verified else { return }; // `tests/run` says so.
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.trim().is_empty(), "{said}");
}

//! What a stage's `plugin` names: a stage that comes with pipehost, a file, a source folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Case, Pipeline, letters, plugin_folder, root};

/// The names of `plugins/`, which all come along.
fn names() -> Vec<String> {
    let folders = fs::read_dir(root().join("plugins")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().join("Cargo.toml").exists());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_program_alone_in_an_empty_folder_has_its_stages() {
    let case = Case::new()
        .stdin("2023-10-27T10:00:00Z INFO started\n2023-10-27T10:00:01Z ERROR disk full\n");
    fs::copy(env!("CARGO_BIN_EXE_pipehost"), case.path("pipehost")).unwrap();
    let mut command = case.command_of(
        &case.path("pipehost"),
        &[
            "run",
            "--plugin",
            "parse-log",
            "--plugin",
            "filter",
            "--set",
            "filter.attribute=level",
            "--set",
            "filter.equals=ERROR",
        ],
    );
    // No cargo, no rustup, no home.
    command.env_clear();
    case.run_command(command).ok().prints("disk full\n");
}

#[test]
fn stages_are_listed_with_a_line_each_and_can_be_inspected() {
    let case = Case::new();
    let listed = case.run(&["stages"]).ok().stdout;
    let listed: Vec<_> = listed.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names());
    for (name, summary) in listed {
        let shown = case.run(&["inspect", name]).ok().stdout;
        assert!(shown.contains(&format!("summary     {}\n", summary.trim())), "{name}: {shown}");
        // The example is a stage that can be pasted.
        let example = shown.split("\n[[stage]]").nth(1).unwrap();
        let inputs = if name == "join" { ["LEFT", "RIGHT"].as_slice() } else { &["NODE"] };
        let ports = shown.lines().find_map(|line| line.strip_prefix("ports       ")).unwrap();
        let mut pipeline = String::new();
        for input in inputs {
            let named = format!("name = \"{input}\"\ntype = \"generate\"\ncount = 1");
            pipeline += &format!("[[source]]\n{named}\nwatermark = {{ lag = \"1s\" }}\n");
        }
        pipeline += &format!("[[stage]]{example}");
        for port in ports.split(", ").filter(|port| !port.contains(' ')) {
            let named = format!("name = \"sink-{port}\"\ntype = \"null\"");
            pipeline += &format!("[[sink]]\n{named}\ninput = \"{name}.{port}\"\n");
        }
        fs::write(case.path("pipeline.toml"), &pipeline).unwrap();
        let checked = case.run(&["check", "pipeline.toml"]);
        match name {
            // Its table is in a folder that must be granted, as it says.
            "enrich" => assert!(checked.stderr.contains("grant its folder"), "{}", checked.stderr),
            _ => assert_eq!(checked.code, 0, "{pipeline}\n{}", checked.stderr),
        }
    }
}

#[test]
fn a_path_wins_over_a_name_and_what_is_neither_tells_both() {
    let case = Case::new().stdin("a\n");
    let run = |plugin: &str| case.run(&["run", "--plugin", plugin]);
    run("to-upper").ok().prints("A\n");
    fs::write(case.path("to-upper"), "no component").unwrap();
    run("to-upper").code(2).says("to-upper is not WebAssembly");
    run("to-uper")
        .code(2)
        .says("`to-uper` is not a stage that comes with pipehost, and there is no file or folder")
        .says("did you mean `to-upper`?");
    run("something").code(2).says("`pipehost stages` lists the stages that come with pipehost");
    // What can only be a path is told as one.
    run("./to-lower").code(2).says("./to-lower does not exist");
    run("filter.wasm").code(2).says("filter.wasm does not exist");
}

#[test]
fn a_source_folder_is_built_when_something_changed_and_is_quiet_else() {
    let case = Case::new();
    fs::create_dir_all(case.path("mine/src")).unwrap();
    let case = case
        .file(
            "mine/Cargo.toml",
            "[package]\nname = \"mine\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n",
        )
        .file("mine/src/lib.rs", "mod other;")
        .file("mine/src/other.rs", "")
        .file(
            "cargo",
            "#!/bin/sh\necho called >> \"$(dirname \"$0\")/calls\"\nexec \"$REAL_CARGO\" \"$@\"\n",
        );
    fs::set_permissions(case.path("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    // It is no stage, which is found out once it is built.
    let build = || {
        let mut command = case.command(&["inspect", "mine"]);
        command.env("REAL_CARGO", std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.env("CARGO", case.path("cargo"));
        let ran = case.run_command(command).code(2).says("it is not a stage");
        (case.read("calls").lines().count(), ran)
    };
    let (calls, first) = build();
    assert_eq!(calls, 1);
    first.says("building ").says("Compiling mine");
    let (calls, second) = build();
    assert_eq!(calls, 1, "cargo is not asked");
    assert!(!second.stderr.contains("building"), "{}", second.stderr);

    fs::write(case.path("mine/src/other.rs"), "fn unused() {}").unwrap();
    let (calls, third) = build();
    assert_eq!(calls, 2);
    third.says("building ").says("warning: function `unused` is never used");
    // Also what is beside the sources.
    fs::create_dir(case.path("mine/.cargo")).unwrap();
    fs::write(case.path("mine/.cargo/config.toml"), "").unwrap();
    assert_eq!(build().0, 3);
    assert_eq!(build().0, 3);
    fs::remove_dir_all(case.path("mine/target")).unwrap();
    assert_eq!(build().0, 4, "the component is gone");
}

#[test]
fn a_stage_may_pack_its_lists() {
    let run = |values: &[&str]| {
        let input: String = (values.iter().enumerate())
            .map(|(n, value)| format!("{{\"v\":\"{value}\",\"t\":\"2026-01-01T00:00:{n:02}Z\"}}\n"))
            .collect();
        let codec = r#"codec = { type = "json", value = "v", timestamp = "t" }"#;
        let pipeline = Pipeline::with("dead_letters = \"dead\"")
            .source(
                "in",
                "file",
                &format!("paths = \"in.json\"\n{codec}\nwatermark = {{ lag = \"0s\" }}"),
            )
            .stage("packed", &plugin_folder("tests/guests/packed"), "on_error = \"dead-letter\"")
            .sink(
                "out",
                "stdout",
                r#"codec = { type = "lines", template = "{value} {mark} {first} {timestamp}" }"#,
            );
        let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
        let ran = case.pipeline().ok();
        (ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>(), letters(&case, "dead"))
    };
    let (lines, refused) = run(&["abc", "drop", "keep", "reject", "null", "x"]);
    let expected = [
        "ABC ! a 2026-01-01T00:00:01Z",
        "keep ! k 2026-01-01T00:00:03Z",
        " ! n 2026-01-01T00:00:05Z",
        "X ! x 2026-01-01T00:00:06Z",
        "time passes   ",
        "the   ",
        "end   ",
    ];
    assert_eq!(lines, expected);
    assert_eq!(refused.len(), 1);
    assert_eq!((&*refused[0].reason, refused[0].number), ("as it says", 4));
    // A list that ends within a number; the record at fault stands alone.
    let (lines, refused) = run(&["a", "lie", "b"]);
    assert_eq!(lines[..2], ["A ! a 2026-01-01T00:00:01Z", "B ! b 2026-01-01T00:00:03Z"]);
    let why = "contract: its answer breaks the contract: `picked` has 5 bytes, and each of its numbers takes 4";
    assert_eq!(refused[0].reason, why);
}

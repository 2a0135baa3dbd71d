//! Bad configurations, each with the message that it must give beside it in
//! `tests/config/`: `NAME.toml` and `NAME.stderr`.
//!
//! `SNAPSHOTS=overwrite cargo test` writes the messages anew; read them before you
//! commit them.

use std::fs;

use snapbox::{Assert, Data};

use crate::harness::{Case, Pipeline, guest, root};

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

#[test]
fn references_stand_for_variables_and_files_and_are_never_shown() {
    let pipeline = |more: &str| {
        format!(
            "[[source]]\nname = \"in\"\ntype = \"generate\"\ncount = \"${{COUNT:-2}}\"\n\
             [[stage]]\nname = \"prefix\"\nplugin = \"add-prefix\"\ninput = \"in\"\n\
             config = {{ prefix = \"${{file:key.txt}}-$${{x}}-${{1}}-\" }}\n\
             [[stage]]\nname = \"filter\"\nplugin = \"filter\"\ninput = \"prefix\"\n\
             config = {{ field = \"value\", exists = \"${{YES:-true}}\" }}\n\
             [[sink]]\nname = \"out\"\ntype = \"stdout\"\ninput = \"filter\"\n{more}\n"
        )
    };
    let case = Case::new().file("key.txt", "s3cret\n").file("pipeline.toml", pipeline(""));
    case.pipeline().ok().prints("s3cret-${x}-${1}-1\ns3cret-${x}-${1}-2\n");
    let with = |variables: &[(&str, &str)]| {
        let mut command = case.command(&["run", "pipeline.toml"]);
        command.envs(variables.iter().copied());
        case.run_command(command)
    };
    with(&[("COUNT", "1")]).ok().prints("s3cret-${x}-${1}-1\n");
    with(&[("COUNT", "many")]).code(2).says("`count` must be a whole number").says("${COUNT:-2}");
    with(&[("YES", "maybe")]).code(2).says("stage `filter`").says("exists");
    // All that is not there is told at once, with its place.
    let case = case.file("pipeline.toml", pipeline("rate = \"${RATE}\"\ncodec = \"${file:none}\""));
    let told = case.pipeline().code(2);
    for text in [
        "${RATE}: the environment variable `RATE` is not set",
        "write ${RATE:-default}",
        "${file:none}: cannot read",
        "2 mistakes",
    ] {
        assert!(told.stderr.contains(text), "{text:?} is not in {}", told.stderr);
    }
    // A message that would show a secret shows the reference.
    for (variable, secret) in [("API_TOKEN", "t0ken-of-mine"), ("file:key.txt", "s3cret")] {
        let text = pipeline(&format!(
            "codec = \"${{{variable}}}\"\nbatch = {{ linger = \"${{{variable}}}\" }}"
        ));
        let case = Case::new().file("key.txt", "s3cret\n").file("pipeline.toml", text);
        let mut command = case.command(&["check", "pipeline.toml"]);
        command.env("API_TOKEN", "t0ken-of-mine");
        let told = case.run_command(command).code(2);
        assert!(!told.stderr.contains(secret), "{}", told.stderr);
        assert!(told.stderr.contains(&format!("${{{variable}}}")), "{}", told.stderr);
    }
}

/// Also in another form, on stdout, and in a file; and what is no secret is shown.
#[test]
fn a_secret_is_in_no_output_of_pipehost() {
    let secret = "p \"w\"-of-mine";
    let pipeline = "[pipeline]\ndead_letters = \"dead\"\n\
                    [[source]]\nname = \"in\"\ntype = \"stdin\"\n\
                    [[stage]]\nname = \"stage\"\nplugin = \"jq\"\ninput = \"in\"\non_error = \"dead-letter\"\n\
                    config = { program = \"error(.)\" }\n\
                    [[sink]]\nname = \"out\"\ntype = \"file\"\npath = \"${DB_PASSWORD}/${AUTHOR}\"\ninput = \"stage\"\n";
    let case = Case::new()
        .stdin(serde_json::to_string(secret).unwrap() + "\n")
        .file("pipeline.toml", pipeline);
    std::fs::create_dir(case.path(secret)).unwrap();
    let with = |args: &[&str]| {
        let mut command = case.command(args);
        command.env("DB_PASSWORD", secret).env("AUTHOR", "somebody");
        case.run_command(command)
    };
    let shown = with(&["graph", "pipeline.toml"]).ok().stdout;
    assert!(!shown.contains("of-mine"), "{shown}");
    for format in ["text", "json"] {
        let told = with(&["run", "--log-format", format, "pipeline.toml"]).ok();
        assert!(!told.stderr.contains("of-mine"), "{}", told.stderr);
    }
    let reason = &crate::harness::letters(&case, "dead")[0].reason;
    assert!(reason.contains("${DB_PASSWORD}") && !reason.contains("of-mine"), "{reason}");
    std::fs::remove_dir_all(case.path(secret)).unwrap();
    let told = with(&["run", "pipeline.toml"]).code(1);
    assert!(told.stderr.contains("${DB_PASSWORD}/somebody"), "{}", told.stderr);
}

/// The schema accepts the pipelines of the examples and of the documents' settings, and refuses what
/// the program refuses for its names and types.
#[test]
fn the_schema_is_that_of_the_program() {
    let schema: serde_json::Value =
        serde_json::from_str(&Case::new().run(&["schema"]).ok().stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| {
        let value: toml::Value = toml::from_str(text).unwrap();
        serde_json::to_value(value).unwrap()
    };
    let mut count = 0;
    let examples = crate::harness::root().join("host/examples");
    let mut folders = vec![examples];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                let value = json(&fs::read_to_string(&path).unwrap());
                let errors: Vec<_> =
                    validator.iter_errors(&value).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{}: {errors:?}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count}");
    let source = "[[source]]\nname = \"a\"\ntype = \"stdin\"\n";
    for wrong in [
        "[pipelin]\n".to_owned(),
        "[[source]]\nname = \"a\"\ntype = \"tape\"\n".to_owned(),
        "[[source]]\ntype = \"stdin\"\n".to_owned(),
        format!("{source}paths = \"x\"\n"),
        format!("{source}codec = {{ type = \"csv\", template = \"x\" }}\n"),
        format!("{source}batch = {{ records = \"many\" }}\n"),
        format!("{source}batch = {{ linger = \"5\" }}\n"),
        "[[stage]]\nname = \"s\"\ninput = \"a\"\n".to_owned(),
    ] {
        assert!(!validator.is_valid(&json(&wrong)), "{wrong}");
    }
    for right in [
        format!("{source}codec = {{ type = \"lines\", max_line = {{ bytes = \"1KiB\", then = \"truncate\" }} }}\n"),
        format!("{source}batch = {{ records = \"${{N}}\", linger = \"1s\" }}\n"),
        "[pipeline]\ndead_letters = { path = \"x\" }\n[[stage]]\nname = \"s\"\nplugin = \"filter\"\ninput = [\"a\"]\n\
         limits = { fuel = false }\nretry = { attempts = \"unlimited\" }\nconfig = { x = 1 }\n".to_owned(),
    ] {
        let errors: Vec<_> = validator.iter_errors(&json(&right)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{right}: {errors:?}");
    }
}

#[test]
fn several_pipelines_are_checked_and_the_mistakes_of_all_are_told() {
    let pipeline = |plugin: &str| {
        Pipeline::new()
            .source("in", "stdin", "")
            .stage("stage", plugin, "")
            .sink("out", "stdout", "")
            .to_string()
    };
    let case = Case::new()
        .file("a.toml", pipeline("no-such"))
        .file("b.toml", pipeline("to-upper"))
        .file("c.toml", pipeline("nor-this"));
    let checked = case.run(&["check", "a.toml", "b.toml", "c.toml"]).code(2);
    assert_eq!(checked.stdout, "b: no mistakes (1 source, 1 stage, 1 sink)\n");
    for wrong in ["no-such", "nor-this", "one mistake in a.toml", "one mistake in c.toml"] {
        assert!(checked.stderr.contains(wrong), "{wrong:?} is not in {}", checked.stderr);
    }
    case.run(&["check", "b.toml", "b.toml"]).ok();
}

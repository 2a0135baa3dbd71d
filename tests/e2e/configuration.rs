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
    let told = with(&["run", "pipeline.toml"]).code(2);
    assert!(told.stderr.contains("the folder ${DB_PASSWORD} does not exist"), "{}", told.stderr);
    assert!(!told.stderr.contains("of-mine"), "{}", told.stderr);
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
            } else if path.to_string_lossy().ends_with(".toml")
                && !path.to_string_lossy().ends_with(".test.toml")
            {
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

#[test]
fn inputs_and_folders_that_are_missing_are_told_before_anything_runs() {
    let pipeline = Pipeline::with("dead_letters = \"no/dead\"")
        .source("a", "file", "paths = [\"none.log\", \"no/*.log\", \"there.log\"]")
        .sink("x", "file", "path = \"no/out.log\"")
        .source("b", "sqlite", "path = \"none.db\"\ntable = \"t\"")
        .sink("y", "null", "")
        // What is followed may come later, and folders of partitions are made.
        .source("c", "file", "paths = \"later.log\"\nfollow = true")
        .sink("z", "file", "path = \"made/{key}.log\"");
    let case = Case::new().file("there.log", "a\n").file("pipeline.toml", pipeline.to_string());
    let told = case.run(&["check", "pipeline.toml"]).code(2).stderr;
    for text in [
        "there is no file none.log",
        "the folder no does not exist",
        "there is no database none.db",
        "a relative path starts from the folder of the pipeline",
        "5 mistakes in pipeline.toml",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
    assert!(!told.contains("later.log") && !told.contains("made"), "{told}");
}

/// Stages say what they add: behind those that do not, there may be anything.
#[test]
fn attributes_that_nobody_makes_are_warned_of() {
    let pipeline = |parser: &str, filter: &str| {
        Pipeline::new()
            .source("in", "file", "paths = \"in.log\"\nmetadata = { path = \"file\" }")
            .stage("parse", parser, "")
            .stage(
                "pick",
                "filter",
                &format!("config = {{ attribute = \"{filter}\", equals = \"x\" }}"),
            )
            .sink(
                "out",
                "stdout",
                "codec = { type = \"lines\", template = \"{file} {levle} {key}\" }",
            )
            .to_string()
    };
    let check = |text: String| {
        let case = Case::new().file("in.log", "").file("p.toml", text);
        let ran = case.run(&["check", "p.toml"]).ok();
        (ran.stdout, ran.stderr)
    };
    let (said, told) = check(pipeline("parse-log", "levl"));
    assert!(said.ends_with("; 2 warnings\n"), "{said}");
    for text in [
        "warning: `pick` reads the attribute `levl`, and no node before it makes that",
        "did you mean `level`?",
        "warning: `out` reads the attribute `levle`, and no node before it makes that",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
    let (said, told) = check(pipeline("parse-json", "levl"));
    assert!(said.ends_with("1 sink)\n") && told.is_empty(), "{said}{told}");
    // A run says it, too.
    let case = Case::new().file("in.log", "").file("p.toml", pipeline("parse-log", "levl"));
    case.run(&["run", "--quiet", "p.toml"]).ok().says("reads the attribute `levle`");
}

#[test]
fn a_pipeline_is_checked_from_stdin() {
    let text = Pipeline::new().source("in", "generate", "").sink("out", "null", "").to_string();
    let case = Case::new().stdin(text.replace("null", "nul"));
    case.run(&["check", "-"]).code(2).says("--> stdin:").says("one mistake in stdin");
    let case = case.stdin(text);
    case.run(&["check", "-"]).ok().prints("stdin: no mistakes (1 source, 0 stages, 1 sink)\n");
    case.run(&["run", "-"]).code(2).says("only `check` reads `-`");
}

#[test]
fn mistakes_are_told_to_programs() {
    let wrong = "# ü\n[[source]]\nname = \"in\"\ntype = \"generat\"\n";
    let warned = Pipeline::new().source("in", "generate", "").sink(
        "out",
        "stdout",
        "codec = { type = \"lines\", template = \"{x}\" }",
    );
    let case = Case::new()
        .file("a,b.toml", wrong)
        .file("w.toml", warned.to_string())
        .file("bad.toml", b"\xff");
    let files = ["a,b.toml", "w.toml", "bad.toml", "none.toml"];
    let check = |format: &str| {
        let arguments = [&["check", "--format", format], &files[..]].concat();
        case.run(&arguments).code(2)
    };
    let json: serde_json::Value = serde_json::from_str(&check("json").stdout).unwrap();
    let all = json.as_array().unwrap();
    let of = |file: &str| all.iter().filter(|one| one["file"] == file).collect::<Vec<_>>();
    let first = of("a,b.toml")[0];
    assert_eq!((&first["line"], &first["column"]), (&4.into(), &8.into()), "{first}");
    assert_eq!((&first["end_line"], &first["end_column"]), (&4.into(), &17.into()), "{first}");
    assert_eq!(first["level"], "error");
    assert_eq!(first["help"], "did you mean `generate`?");
    assert_eq!(of("w.toml")[0]["level"], "warning");
    assert!(of("bad.toml")[0]["message"].as_str().unwrap().contains("is not UTF-8"));
    assert_eq!(of("none.toml")[0]["line"], serde_json::Value::Null);
    let annotations = check("github").stdout;
    let first = annotations.lines().next().unwrap();
    let begin = "::error file=a%2Cb.toml,line=4,endLine=4,col=8,endColumn=17::";
    assert!(
        first.starts_with(begin) && first.ends_with("%0Ahelp: did you mean `generate`?"),
        "{first}"
    );
    assert!(annotations.contains("\n::warning file=w.toml,line="), "{annotations}");
    // No mistakes: nothing, in its form.
    let case = case.file(
        "ok.toml",
        Pipeline::new().source("in", "generate", "").sink("o", "null", "").to_string(),
    );
    case.run(&["check", "--format", "json", "ok.toml"]).ok().prints("[]\n");
    case.run(&["check", "--format", "github", "ok.toml"]).ok().prints("");
}

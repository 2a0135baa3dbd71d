//! The host as somebody's deputy: no link, path or name that a stranger chose leads outside of
//! what was granted.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::harness::{Case, Pipeline, plugin_folder};
use crate::support::hostile;

const CANARY: &str = "nobody changes this\n";

/// A stage that may write `granted`, its verbs, and what else is in the pipeline.
fn case(pipeline: &str, stage: &str, verbs: &[&str], rest: &str) -> Case {
    let settings = format!("grants = {{ write = {{ \"/\" = \"granted\" }} }}\n{stage}");
    let pipeline = Pipeline::with(pipeline)
        .source("verbs", "file", r#"paths = "verbs""#)
        .stage("guest", &hostile(), &settings)
        .sink("said", "stdout", "");
    let case = Case::new()
        .file("canary", CANARY)
        .file("verbs", verbs.iter().map(|verb| format!("{verb}\n")).collect::<String>())
        .file("pipeline.toml", format!("{pipeline}{rest}"));
    fs::create_dir(case.path("granted")).unwrap();
    case
}

#[test]
fn what_a_stage_may_write_is_nothing_that_the_pipeline_reads_or_writes() {
    let source = |kind: &str, settings: &str| {
        Pipeline::new().source("x", kind, settings).sink("y", "null", "").to_string()
    };
    let sink = |kind: &str, settings: &str| {
        Pipeline::new().sink("x", kind, &format!("input = \"guest\"\n{settings}")).to_string()
    };
    let file = |path: &str| source("file", &format!("paths = \"{path}\""));
    let to = |path: &str| sink("file", &format!("path = \"{path}\""));
    let table = "path = \"granted/db\"\ntable = \"t\"";
    let refused = [
        ("", file("granted/x.log")),
        ("", file("granted/*.log")),
        ("", file("*/x.log")),
        ("", file("**/x.log")),
        ("", file("./granted/../granted/x.log")),
        ("", file("link/x.log")),
        ("", source("sqlite", table)),
        ("", to("granted/x.log")),
        ("", to("granted/{key}.log")),
        ("", to("{key}/x.log")),
        ("", to("link/x.log")),
        ("", sink("sqlite", table)),
        ("dead_letters = \"granted/dead\"", String::new()),
        ("state = \"granted\"", String::new()),
        ("state = \"granted/state\"", String::new()),
    ];
    for (pipeline, rest) in refused {
        let case = case(pipeline, "", &["x"], &rest);
        symlink("granted", case.path("link")).unwrap();
        let ran = case.pipeline().code(2);
        let why = "and the stage `guest` may write the folder";
        assert!(ran.stderr.contains(why), "{pipeline}{rest}: {}", ran.stderr);
    }
    for (pipeline, rest) in [
        ("dead_letters = \"dead\"\nstate = \"state\"", String::new()),
        ("", to("granted.log")),
        ("", to("other/{key}.log")),
        ("", file("verbs")),
    ] {
        let case = case(pipeline, "", &["x"], &rest);
        fs::create_dir(case.path("other")).unwrap();
        case.pipeline().ok();
    }
}

#[test]
fn links_of_a_guest_lead_nowhere_for_the_guest() {
    let verbs = ["link x ../canary", "link y /etc/passwd", "link z ../../../../canary"];
    let case = case("", "", &verbs, "");
    case.pipeline().ok();
    // Whoever comes next through the folder sees links, and no file was read or changed.
    assert!(!case.path("granted/y").is_symlink(), "no guest makes a link to a whole path");
    for name in ["x", "z"] {
        let grants = r#"grants = { write = { "/g" = "granted" } }"#;
        let pipeline = Pipeline::new()
            .source("in", "file", r#"paths = "in.txt""#)
            .stage("guest", &plugin_folder("tests/guests/wasi"), grants)
            .sink("out", "stdout", "");
        let input = format!("read /g/{name}\nwrite /g/{name}\n");
        fs::write(case.path("read.toml"), pipeline.to_string()).unwrap();
        fs::write(case.path("in.txt"), input).unwrap();
        let ran = case.run(&["run", "read.toml"]).ok();
        assert!(ran.stdout.lines().all(|line| line.starts_with("refused: ")), "{}", ran.stdout);
    }
    assert_eq!(case.read("canary"), CANARY);
}

#[test]
fn links_that_are_planted_where_records_make_names() {
    for (settings, sink) in [("", ""), ("", "append = true"), ("state = \"state\"", "")] {
        let pipeline = Pipeline::with(settings)
            .source("in", "generate", "count = 1\nkey = \"k\"")
            .sink("out", "file", &format!("path = \"out/{{key}}/x.log\"\n{sink}"));
        // The folder that a record names, and the file in it.
        for (folder, link) in [("out", "out/k"), ("out/k", "out/k/x.log")] {
            let case =
                Case::new().file("pipeline.toml", pipeline.to_string()).file("canary", CANARY);
            fs::create_dir_all(case.path(folder)).unwrap();
            fs::create_dir(case.path("elsewhere")).unwrap();
            let to = if link == "out/k" { "../elsewhere" } else { "../../canary" };
            symlink(to, case.path(link)).unwrap();
            let ran = case.pipeline().code(1);
            assert!(
                ran.stderr.contains("there is a link, and its name was made of a record"),
                "{ran:?}"
            );
            assert_eq!(case.read("canary"), CANARY);
            assert_eq!(fs::read_dir(case.path("elsewhere")).unwrap().count(), 0);
        }
    }
}

#[test]
fn names_that_records_make_are_nobody_elses() {
    let codec = r#"codec = { type = "json", key = "k", value = "v" }"#;
    let run = |template: &str, rest: &str, input: &str| {
        let pipeline = Pipeline::with(rest)
            .source("in", "file", &format!("paths = \"in.json\"\n{codec}"))
            .sink("out", "file", &format!("path = \"out/{template}\""));
        let case = Case::new().file("in.json", input).file("pipeline.toml", pipeline.to_string());
        case.pipeline().ok();
        case
    };
    // That of a file that was rotated away.
    let input = "{\"k\":\"a\",\"v\":1}\n{\"k\":\"a.1\",\"v\":2}\n";
    for state in ["", "state = \"state\""] {
        let case = run("{key}", state, input);
        case.pipeline().ok();
        assert_eq!((&*case.read("out/a"), &*case.read("out/a%2E1")), ("1\n", "2\n"), "{state}");
    }
    // One that no file system takes.
    let key = |last: char| format!("{}{last}", "x".repeat(99));
    let input = format!("{{\"k\":\"{}\",\"v\":1}}\n{{\"k\":\"{}\",\"v\":2}}\n", key('a'), key('b'));
    let case = run("{key}{key}{key}", "", &input);
    let mut made: Vec<_> = fs::read_dir(case.path("out"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    made.sort();
    assert_eq!(made, ["1\n", "2\n"]);
}

#[test]
fn what_is_written_has_a_quota() {
    let case = case("", "limits = { disk = \"100KiB\" }", &["fill"], "");
    let said = case.pipeline().ok().stdout;
    // Whole writes of 4 KiB, and nothing by another way.
    assert_eq!(said, "102400 insufficient-space false false\n");
    assert_eq!(fs::metadata(case.path("granted/big")).unwrap().len(), 102_400);
    // To write over what is there needs no room, and what is there counts, whoever has made it.
    let said = case.pipeline().ok().stdout;
    assert_eq!(said, "102400 insufficient-space false false\n");
    std::fs::rename(case.path("granted/big"), case.path("granted/other")).unwrap();
    let said = case.pipeline().ok().stdout;
    assert_eq!(said, "0 insufficient-space false false\n");
}

#[test]
fn what_was_removed_while_it_is_open_takes_its_room() {
    let case = case("", "limits = { disk = \"100KiB\" }", &["fill-and-remove"], "");
    assert_eq!(case.pipeline().ok().stdout, "102400 false true\n");
}

#[test]
fn what_is_too_deep_to_be_counted_leaves_no_room() {
    for (depth, room) in [(60, true), (70, false)] {
        let case = case("", "limits = { disk = \"100KiB\" }", &["fill"], "");
        let mut folder = case.path("granted");
        folder.extend(std::iter::repeat_n("d", depth));
        fs::create_dir_all(folder).unwrap();
        if room {
            let said = case.pipeline().ok().stdout;
            assert_eq!(said, "102400 insufficient-space false false\n");
        } else {
            case.pipeline().code(1).says("insufficient-space");
        }
    }
}

#[test]
fn listings_are_on_the_account_of_memory() {
    let verb = |verb: &str| {
        let case = case("", "limits = { memory = \"64MiB\" }", &[verb], "");
        for n in 0..500 {
            fs::write(case.path(&format!("granted/{n:0200}")), "").unwrap();
        }
        case.pipeline()
    };
    // Each is 500 names of 200 bytes: 100 KB and more.
    verb("hold-listings 10").ok();
    verb("drop-listings 1000").ok();
    verb("hold-listings 1000").code(1).says("of memory and may have 64.0 MiB (limits.memory)");
}

#[test]
fn files_have_a_quota() {
    let case = case("", "limits = { files = 50 }", &["many-files"], "");
    let said = case.pipeline().ok().stdout;
    assert_eq!(said, "50 insufficient-space false false\n");
    assert_eq!(fs::read_dir(case.path("granted")).unwrap().count(), 50);
}

#[test]
fn a_connection_is_made_to_what_was_granted_and_to_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let granted = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"hello");
        }
    });
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let grants = format!("on_error = \"dead-letter\"\ngrants = {{ network = [\"{granted}\"] }}");
    let pipeline = Pipeline::with(r#"dead_letters = "dead""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("guest", &plugin_folder("tests/guests/network"), &grants)
        .sink("out", "stdout", "");
    let input = format!("{granted}\n{}\n", other.local_addr().unwrap());
    let case = Case::new().file("in.txt", input).file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok().prints("hello\n");
    let letters = crate::harness::letters(&case, "dead");
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.starts_with("refused: permission denied"), "{:?}", letters[0]);
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody has come");
}

#[test]
fn a_state_is_read_by_its_owner_alone_and_is_not_begun_anew_because_it_is_empty() {
    let pipeline = Pipeline::with(r#"state = "state""#)
        .source("in", "file", r#"paths = "in.txt""#)
        .sink("out", "file", r#"path = "out.txt""#);
    let case = Case::new().file("in.txt", "a\n").file("pipeline.toml", pipeline.to_string());
    case.pipeline().ok();
    let state = case.path("state/state.redb");
    let mode = || fs::metadata(&state).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    // One that an earlier version has made.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
    case.pipeline().ok();
    assert_eq!(mode(), 0o600);
    fs::write(&state, "").unwrap();
    case.pipeline().code(1).says("the state in state is damaged: it is empty");
    assert_eq!(case.read("out.txt"), "a\n");
    assert_eq!(fs::metadata(&state).unwrap().len(), 0, "and is left as it was");
}

#[test]
fn a_mistake_shows_no_secret() {
    for line in [
        "env = { TOKEN = \"s3cret\", OTHER = 5 }",
        "env = { TOKEN = 's3cret', }, x = 1",
        "env = { TOKEN = \"s3cret }",
        "env = \"s3cret\"",
        "env.TOKEN = [\"s3cret\"]",
    ] {
        let text = format!(
            "[[source]]\nname = \"in\"\ntype = \"stdin\"\n\
             [[stage]]\nname = \"s\"\nplugin = \"p.wat\"\ninput = \"in\"\n\
             [stage.grants]\n{line}\n\
             [[sink]]\nname = \"out\"\ntype = \"http\"\nurl = \"ftp://me:s3cret@host\"\ninput = \"s\"\n"
        );
        let ran = Case::new().file("pipeline.toml", text).run(&["check", "pipeline.toml"]).code(2);
        assert!(!ran.stderr.contains("s3cret"), "{line}: {}", ran.stderr);
    }
}

//! Components that are hard to compile, and schemas that are hard to check: within limits of
//! 10 s and 512 MiB, every verb ends with 0 or 2, never with a panic and never with a signal.

use crate::harness::{Case, Pipeline, Ran, assemble, guest};

const LIMITS: &str = "limits = { compile = { memory = \"512MiB\", time = \"10s\" } }";

fn case(component: &str) -> Case {
    let pipeline = Pipeline::new()
        .source("in", "file", r#"paths = "in.txt""#)
        .stage("guest", "guest.wat", LIMITS)
        .sink("out", "stdout", "");
    Case::new()
        .file("guest.wat", component)
        .file("in.txt", "x\n")
        .file("pipeline.toml", pipeline.to_string())
}

/// What the component is refused for; nothing, if it is a stage.
fn checked(component: &str) -> Ran {
    let case = case(component);
    let ran = case.run(&["check", "pipeline.toml"]);
    assert!([0, 2].contains(&ran.code), "{ran:?}");
    ran
}

#[track_caller]
fn refused(component: &str, why: &str) {
    checked(component).code(2).says(why);
}

/// So many components, each of which instantiates the one before so often.
fn nested(components: usize, times: usize) -> String {
    let mut text = String::from("(component (component $c0)");
    for n in 1..=components {
        let before = n - 1;
        text += &format!("(component $c{n} (alias outer 1 $c{before} (component $c))");
        text += &"(instance (instantiate $c))".repeat(times);
        text += ")";
    }
    text + &format!("(instance (instantiate $c{components})))")
}

#[test]
fn components_that_multiply() {
    for (components, times) in [(40, 2), (12, 3), (4, 20), (2, 900)] {
        refused(&nested(components, times), "instantiates components and modules more than 1000");
    }
    refused(&nested(8, 2), "it is not a stage");
}

#[test]
fn functions_that_take_long() {
    let locals = |n: usize| format!("(local {})", "i32 ".repeat(n));
    // Loops over thousands of locals that all are live.
    let mut body = locals(5000);
    for n in 0..200 {
        body += &format!("(loop $l{n} (local.set {n} (i32.add (local.get {n}) (i32.const 1)))");
    }
    for n in (0..200).rev() {
        body += &format!("(br_if $l{n} (local.get {n})))");
    }
    let slow = assemble(&format!("(func $slow {body})"));
    let ran = checked(&slow);
    assert!(ran.code == 0 || ran.stderr.contains("limits.compile"), "{ran:?}");
    let ran = checked(&assemble(&format!("(func {})", locals(50_000)).repeat(40)));
    assert!(ran.code == 0 || ran.stderr.contains("limits.compile"), "{ran:?}");
    let tables: String = (0..400)
        .map(|_| {
            format!("(func (param i32) (block $b (br_table {} (local.get 0))))", "$b ".repeat(5000))
        })
        .collect();
    let ran = checked(&assemble(&tables));
    assert!(ran.code == 0 || ran.stderr.contains("limits.compile"), "{ran:?}");
    let empty = "(func)".repeat(60_000);
    let ran = checked(&assemble(&empty));
    assert!(ran.code == 0 || ran.stderr.contains("limits.compile"), "{ran:?}");
}

#[test]
fn texts_that_are_none() {
    for text in ["", "(", "(component", "(module (func", "\u{feff}(module)", "(component \"\\ff\")"]
    {
        checked(text).code(2);
    }
    // However deep.
    checked(&"(".repeat(60_000)).code(2);
    checked(&format!("(module (func {}{}))", "(block ".repeat(30_000), ")".repeat(30_000))).code(2);
}

#[test]
fn a_component_of_two_that_pass_a_text_is_compiled() {
    let (inner, outer) = (
        r#"(component $inner
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "say") (param i32 i32)))
  (core instance $i (instantiate $m))
  (func (export "say") (param "text" string)
    (canon lift (core func $i "say") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#,
        r#"(component $outer
  (import "say" (func $say (param "text" string)))
  (core module $libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $lowered
    (canon lower (func $say) (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $m
    (import "" "say" (func $say (param i32 i32)))
    (func (export "run") (call $say (i32.const 0) (i32.const 4))))
  (core instance $i (instantiate $m (with "" (instance (export "say" (func $lowered))))))
  (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    let composed = format!(
        "(component {inner} {outer}\n\
         (instance $a (instantiate $inner))\n\
         (instance $b (instantiate $outer (with \"say\" (func $a \"say\"))))\n\
         (export \"run\" (func $b \"run\")))"
    );
    // It is no stage, which can be said only of what was compiled.
    refused(&composed, "it is not a stage: it exports `run`");
    case(&composed).run(&["inspect", "guest.wat"]).code(2).says("it is not a stage");
    case(&composed).pipeline().code(2);
}

/// A guest with this schema.
fn with_schema(schema: &str) -> String {
    let at = 1 << 20;
    let escaped: String = schema.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let words = |n: usize| (n as u32).to_le_bytes().map(|byte| format!("\\{byte:02x}")).concat();
    let memory = (at + schema.len()) / 65536 + 2;
    assemble(&format!(
        "(data (i32.const {at}) \"{escaped}\")\n(data (i32.const 88) \"{}{}\")",
        words(at),
        words(schema.len())
    ))
    .replace("(memory (export \"memory\") 4)", &format!("(memory (export \"memory\") {memory})"))
}

#[test]
fn schemas_that_are_hard_to_check() {
    let chain = |length: usize| {
        let defs: Vec<_> =
            (0..length).map(|n| format!("\"{n}\":{{\"$ref\":\"#/$defs/{}\"}}", n + 1)).collect();
        let defs = defs.join(",");
        format!("{{\"$ref\":\"#/$defs/0\",\"$defs\":{{{defs},\"{length}\":{{}}}}}}")
    };
    for length in [100, 20_000] {
        let ran = checked(&with_schema(&chain(length)));
        assert!(ran.code == 0 || ran.stderr.contains("schema"), "{ran:?}");
    }
    // Members that are missing, far more than anybody reads.
    let names: Vec<_> = (0..100_000).map(|n| format!("\"{n}\"")).collect();
    let ran = checked(&with_schema(&format!("{{\"required\":[{}]}}", names.join(","))));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.len() < 100_000, "{} bytes", ran.stderr.len());
    for broken in ["", "{", "3", "{\"type\":3}", "{\"pattern\":\"(\"}", "{\"$ref\":\"#/x\"}"] {
        checked(&with_schema(broken)).code(2).says("schema");
    }
    let deep = format!("{}{}", "{\"not\":".repeat(5_000), "{}".to_owned() + &"}".repeat(5_000));
    checked(&with_schema(&deep));
}

#[test]
fn a_compiled_component_that_was_overwritten_is_compiled_anew() {
    let case = case(&guest("pass"));
    std::fs::create_dir(case.path("cache")).unwrap();
    let run = || {
        let mut command = case.command(&["run", "pipeline.toml"]);
        command.env("XDG_CACHE_HOME", case.path("cache"));
        crate::harness::wait(command.spawn().unwrap()).ok().prints("x\n")
    };
    run();
    let entry = || {
        let entries = std::fs::read_dir(case.path("cache/pipehost")).unwrap();
        let mut entries = entries.map(|entry| entry.unwrap().path());
        entries.find(|path| path.extension().is_some_and(|e| e == "cwasm")).unwrap()
    };
    let whole = std::fs::read(entry()).unwrap();
    for at in [20, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(entry(), damaged).unwrap();
        run().says("is damaged: its checksum is wrong");
    }
    assert!(!run().stderr.contains("damaged"));
}

/// A file without an end is not read to its end.
#[test]
fn endless_files() {
    let case = case("");
    std::fs::remove_file(case.path("guest.wat")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", case.path("guest.wat")).unwrap();
    let why = "guest.wat is too large: limits.component allows 32.0 MiB";
    case.run(&["check", "pipeline.toml"]).code(2).says(why);
    case.run(&["inspect", "guest.wat"]).code(2).says(why);
}

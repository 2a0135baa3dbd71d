//! The text of a guest, for tests and benchmarks.

/// A guest's own part behind the prelude, with defaults for what it does not define.
pub fn assemble(own: &str) -> String {
    let prelude = include_str!("prelude.wat");
    let mut text = format!("(module\n{prelude}\n{own}\n");
    for (function, default) in [
        ("$open", "(func $open (param i32 i32) (result i32) (i32.const 112))"),
        ("$process", "(func $process (param i32) (result i32) (i32.const 256))"),
        ("$finish", "(func $finish (result i32) (i32.const 288))"),
    ] {
        if !own.contains(&format!("(func {function} ")) {
            text.push_str(default);
        }
    }
    text + ")"
}

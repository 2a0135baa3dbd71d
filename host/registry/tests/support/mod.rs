//! Registries for tests: a real one, and one that lies; a proxy.
#![allow(dead_code)] // Each test uses a part.

pub mod liar;
pub mod proxy;
pub mod real;

use pipehost_registry::{Component, Reference};

/// A component with an import and an export.
pub fn component() -> Component {
    let text = r#"(component
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance))
        (export "pipehost:stage/stage@1.0.0" (instance 0)))"#;
    Component { wasm: wat::parse_str(text).unwrap().into(), ..Component::default() }
}

pub fn reference(port: u16, rest: &str) -> Reference {
    format!("oci://127.0.0.1:{port}/{rest}").parse().unwrap()
}

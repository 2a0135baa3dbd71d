//! What a component imports and exports, for its config.

use wasmparser::{Encoding, Parser, Payload};

/// What kind of WebAssembly it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// A core module.
    Module,
    Component {
        imports: Vec<String>,
        exports: Vec<String>,
    },
}

impl Interface {
    /// Reads the names of a component's imports and exports. Their types are not checked, and the
    /// code is not either: who runs it does that.
    ///
    /// # Errors
    /// If it is no WebAssembly.
    pub fn of(wasm: &[u8]) -> wasmparser::Result<Self> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        // How many components and modules the parser is in.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Ok(Self::Module);
                }
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(Self::Component { imports, exports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_outermost_component() {
        let text = r#"(component
            (import "a:b/c@1.0.0" (instance))
            (component (import "d" (func)) (export "e" (func 0)))
            (core module (func (export "f")))
            (import "g" (func))
            (export "h:i/j" (instance 0)))"#;
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let interface = Interface::of(&wat::parse_str(text).unwrap()).unwrap();
        let (imports, exports) = (names(&["a:b/c@1.0.0", "g"]), names(&["h:i/j"]));
        assert_eq!(interface, Interface::Component { imports, exports });
        assert_eq!(Interface::of(b"\0asm\x01\0\0\0").unwrap(), Interface::Module);
        for text in [&b""[..], b"\0asm", b"#!/bin/sh"] {
            assert!(Interface::of(text).is_err());
        }
    }
}

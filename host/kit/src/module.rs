//! What a component holds besides its code.

use wasmparser::{Parser, Payload};

const DEBUG: [&str; 3] = [".debug_info", ".debug_line", ".debug_str"];

/// Bytes of the sections that only a debugger reads, of all modules. A build for debugging has
/// megabytes of them, and its code is slow.
pub fn debug_bytes(component: &[u8]) -> usize {
    let payloads = Parser::new(0).parse_all(component).map_while(Result::ok);
    let bytes = |payload| match payload {
        Payload::CustomSection(section) if DEBUG.contains(&section.name()) => section.range().len(),
        _ => 0,
    };
    payloads.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_for_a_debugger_are_measured() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(debug_bytes(&module), 0);
        module.extend([0, 0x8c, 0x02]); // 12 and 256
        module.extend(b"\x0b.debug_info");
        module.extend([7; 256]);
        assert_eq!(debug_bytes(&module), 268);
    }
}

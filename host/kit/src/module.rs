//! What a component holds besides its code.

/// Bytes of the sections that only a debugger reads. A build for debugging has megabytes of them,
/// and its code is slow.
pub fn debug_bytes(component: &[u8]) -> usize {
    let names = [&b"\x0b.debug_info"[..], b"\x0b.debug_line", b"\x0a.debug_str"];
    names.iter().filter_map(|name| section(component, name)).sum()
}

/// The size of the first section with this name. A section is an id (0), a length, and its name.
fn section(component: &[u8], name: &[u8]) -> Option<usize> {
    let at = component.windows(name.len()).position(|window| window == name)?;
    // The length is a LEB128 number in front of the name: 1 to 5 bytes.
    (1..=5).find_map(|bytes| {
        let start = at.checked_sub(bytes)?;
        let is_custom = start.checked_sub(1).is_some_and(|id| component[id] == 0);
        let length = &component[start..at];
        let (last, rest) = length.split_last()?;
        let is_number = last & 0x80 == 0 && rest.iter().all(|byte| byte & 0x80 != 0);
        let value = (length.iter().rev()).fold(0usize, |n, byte| n << 7 | usize::from(byte & 0x7f));
        (is_custom && is_number && value >= name.len()).then_some(value)
    })
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

//! Which addresses lie inside: of this machine, or of a network that is not the public one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one that the public internet does not lead to.
pub(super) fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_v4_inside(address),
        IpAddr::V6(address) => is_v6_inside(address),
    }
}

/// Of the registry of special-purpose addresses of IPv4, RFC 6890, all that are not global.
fn is_v4_inside(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240 // Reserved, and broadcast.
        || (a == 100 && (64..128).contains(&b)) // Shared by the customers of a carrier.
        || (a == 192 && b == 0 && c == 0) // Protocol assignments.
        || (a == 198 && (18..20).contains(&b)) // Benchmarks.
}

fn is_v6_inside(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_v4_inside(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // ::a.b.c.d and ::ffff:a.b.c.d; :: and ::1 among them.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => true,
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo and other protocol assignments; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => true,
        [0x3fff, second, ..] if second < 0x1000 => true,
        // Only 2000::/3 is global: not unique local, link local, site local or multicast.
        [first, ..] => first & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_outside() {
        for text in ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "100.128.0.1", "172.32.0.1"]
        {
            assert!(!is_inside(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_the_internet_does_not_lead_to_is_inside() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(is_inside(text.parse().unwrap()), "{text}");
        }
    }
}

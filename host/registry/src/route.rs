//! Where a registry may send us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Says why we do not go from `registry` to the other address, if so. A registry must not make this
/// machine ask for addresses that only this machine reaches, and must not take away the encryption.
///
/// A name that belongs to a private address is not found out here. There, TLS helps: whoever
/// answers must have a certificate for that name.
pub(crate) fn refusal(registry: &Url, to: &Url) -> Option<&'static str> {
    if registry.origin() == to.origin() {
        return None;
    }
    if !matches!(to.scheme(), "http" | "https") {
        return Some("it is not HTTP");
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Some("it has a password");
    }
    if is_near(to) && !is_near(registry) {
        return Some("it is an address of this machine or its network, and the registry is not");
    }
    if to.scheme() == "http" && !(is_loopback(to) && is_loopback(registry)) {
        return Some("it is not encrypted");
    }
    None
}

fn address(url: &Url) -> Option<IpAddr> {
    match url.host_str()? {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.trim_matches(['[', ']']).parse().ok(),
    }
}

fn is_loopback(url: &Url) -> bool {
    address(url).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Whether the host is an address that others do not reach, or not as this machine does.
fn is_near(url: &Url) -> bool {
    address(url).is_some_and(|address| match address.to_canonical() {
        IpAddr::V4(address) => is_near_v4(address),
        IpAddr::V6(address) => is_near_v6(address),
    })
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    first == 0
        || is_shared
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_sends_us_only_to_where_all_may_go() {
        let near = "this machine or its network";
        for (from, to, why) in [
            ("https://ghcr.io", "https://ghcr.io/x", ""),
            ("https://ghcr.io", "https://storage.example.com/x?signature=1", ""),
            ("https://ghcr.io", "http://ghcr.io/x", "not encrypted"),
            ("https://ghcr.io", "ftp://ghcr.io/x", "not HTTP"),
            ("https://ghcr.io", "file:///etc/passwd", "not HTTP"),
            ("https://ghcr.io", "https://a:b@example.com/", "a password"),
            ("https://ghcr.io", "https://127.0.0.1/", near),
            ("https://ghcr.io", "https://localhost/", near),
            ("https://ghcr.io", "https://2130706433/", near),
            ("https://ghcr.io", "https://169.254.169.254/latest", near),
            ("https://ghcr.io", "https://[::1]/", near),
            ("https://ghcr.io", "https://[::ffff:10.0.0.1]/", near),
            ("https://10.0.0.1", "https://10.0.0.2/", ""),
            ("https://10.0.0.1", "http://127.0.0.1/", "not encrypted"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/", ""),
            ("http://127.0.0.1:5000", "http://example.com/", "not encrypted"),
        ] {
            let url = |text: &str| Url::parse(text).unwrap();
            let refusal = refusal(&url(from), &url(to));
            match why {
                "" => assert_eq!(refusal, None, "{from} {to}"),
                why => assert!(refusal.is_some_and(|text| text.contains(why)), "{from} {to}"),
            }
        }
    }
}

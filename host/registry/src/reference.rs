//! Where a component is: `oci://HOST[:PORT]/NAME[:TAG][@sha256:…]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Error;

const SCHEME: &str = "oci://";
/// The most bytes of a name and of a tag, as the distribution specification has them.
const NAME: usize = 255;
const TAG: usize = 128;

/// Which of the components under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// What the tag means today: the registry decides.
    Tag(String),
    /// One content, for ever. A tag beside it is for readers.
    Digest { tag: Option<String>, digest: Digest },
}

/// Where a component is. Nothing in it is guessed: there is no default registry and no default tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// With its port, if it has one.
    pub host: String,
    pub name: String,
    pub version: Version,
}

impl Reference {
    /// The digest, if it is given.
    pub fn digest(&self) -> Option<Digest> {
        match self.version {
            Version::Tag(_) => None,
            Version::Digest { digest, .. } => Some(digest),
        }
    }

    /// The tag, if it is given.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest { tag, .. } => tag.as_deref(),
        }
    }

    /// The same place with this digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        let tag = self.tag().map(str::to_owned);
        Self { version: Version::Digest { tag, digest }, ..self.clone() }
    }

    /// What a manifest's address ends with.
    pub(crate) fn version(&self) -> String {
        match &self.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest { digest, .. } => digest.to_string(),
        }
    }

    /// The start of all addresses of its registry, without a slash at the end.
    pub(crate) fn origin(&self) -> String {
        let scheme = if is_loopback(&self.host) { "http" } else { "https" };
        // Docker Hub's registry has another name than its references.
        let host = if self.host == "docker.io" { "registry-1.docker.io" } else { &self.host };
        format!("{scheme}://{host}")
    }
}

/// Whether a host, perhaps with a port, is this machine. Only there is a registry without TLS.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.name)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        self.digest().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why| Error::Reference { text: text.chars().take(400).collect(), why };
        let rest = text.strip_prefix(SCHEME).ok_or(wrong("it does not begin with oci://"))?;
        let (host, rest) = rest.split_once('/').ok_or(wrong("it has no name behind the host"))?;
        check_host(host).map_err(wrong)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (rest, None),
        };
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (rest, None),
        };
        if name.len() > NAME || !name.split('/').all(is_part) {
            return Err(wrong("its name is not lower-case words with / between them"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag is not up to 128 of a-z, A-Z, 0-9, _, . and -"));
        }
        let version = match (tag, digest) {
            (tag, Some(digest)) => Version::Digest { tag, digest },
            (Some(tag), None) => Version::Tag(tag),
            (None, None) => return Err(wrong("it has no tag and no digest")),
        };
        Ok(Self { host: host.to_owned(), name: name.to_owned(), version })
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err("its port is not a number up to 65535");
    }
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| "its host is no address");
    }
    // Others would be read as an IPv4 address by some, as 0177.1 is.
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    if is_number {
        return name.parse::<Ipv4Addr>().map(|_| ()).map_err(|_| "its host is no address");
    }
    let is_label = |label: &str| {
        let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !label.is_empty()
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.split('.').all(is_label) {
        return Err("its host is not a lower-case name");
    }
    if !name.contains('.') && port.is_none() && name != "localhost" {
        return Err("it has no registry; for Docker Hub, that is docker.io");
    }
    Ok(())
}

/// Whether this may stand between slashes: words with one of `.`, `_`, `__` or dashes between them.
fn is_part(part: &str) -> bool {
    let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let between = part.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|s| !s.is_empty());
    let is_joint =
        |joint: &str| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-');
    let mut ends = part.bytes().next().into_iter().chain(part.bytes().last());
    !part.is_empty() && ends.all(is_word) && { between }.all(is_joint)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG).contains(&tag.len())
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && tag.bytes().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_read_and_written() {
        for (text, origin) in [
            ("oci://ghcr.io/acme/redact:1.2", "https://ghcr.io"),
            ("oci://docker.io/acme/redact:1.2", "https://registry-1.docker.io"),
            ("oci://localhost/a:b", "http://localhost"),
            ("oci://127.0.0.1:5000/a/b/c__d.e--f:V_1.0-x", "http://127.0.0.1:5000"),
            ("oci://[::1]:5000/a:b", "http://[::1]:5000"),
            ("oci://[::1]/a:b", "http://[::1]"),
            ("oci://registry:5000/a:b", "https://registry:5000"),
            ("oci://10.0.0.1/a:b", "https://10.0.0.1"),
            ("oci://127.0.0.1.example.com/a:b", "https://127.0.0.1.example.com"),
        ] {
            for text in [text.to_owned(), format!("{text}@{DIGEST}")] {
                let reference: Reference = text.parse().unwrap();
                assert_eq!(reference.to_string(), text);
                assert_eq!(reference.origin(), origin);
            }
        }
        let reference: Reference = format!("oci://ghcr.io/a@{DIGEST}").parse().unwrap();
        assert_eq!(reference.version(), DIGEST);
        assert_eq!(reference.tag(), None);
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (text, why) in [
            ("ghcr.io/a:b", "oci://"),
            ("oci://ghcr.io", "no name"),
            ("oci://acme/redact:1", "no registry"),
            ("oci://ghcr.io/acme/redact", "no tag and no digest"),
            ("oci://ghcr.io/Acme:1", "lower-case words"),
            ("oci://ghcr.io/a//b:1", "lower-case words"),
            ("oci://ghcr.io/../b:1", "lower-case words"),
            ("oci://ghcr.io/a?x:1", "lower-case words"),
            ("oci://ghcr.io/a.:1", "lower-case words"),
            ("oci://ghcr.io/a:..", "its tag"),
            ("oci://ghcr.io/a:b/c", "its tag"),
            ("oci://user@ghcr.io/a:b", "its host"),
            ("oci://0177.1/a:b", "its host"),
            ("oci://[::1/a:b", "its "),
            ("oci://ghcr.io:70000/a:b", "its port"),
            ("oci://ghcr.io/a@sha256:00", "is not a digest"),
            ("oci://ghcr.io/a@sha512:00", "is not a digest"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

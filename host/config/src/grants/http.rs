//! Servers to which a stage may send requests.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use url::Url;

use crate::secret;

/// A server, and what the host adds to requests to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    pub origin: Origin,
    /// Names and values; the stage never sees them. A header of the same name that the stage sets
    /// is replaced.
    pub headers: Vec<(String, String)>,
    /// Whether the name of the server may stand for an address of this machine or of a private
    /// network.
    pub inside: bool,
    /// Certificates of authorities that are trusted, in PEM, instead of those of the system.
    pub ca: Option<PathBuf>,
}

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub https: bool,
    /// A name in lower case, or an address.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// # Errors
    /// If the text is not the URL of a server alone.
    pub fn parse(text: &str) -> Result<Self> {
        const FORM: &str = "the URL of a server, as in \"https://api.example.com\"";
        let shown = secret::in_urls(text);
        let url = Url::parse(text).map_err(|error| anyhow!("{shown:?} is not {FORM}: {error}"))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => bail!("{shown:?} is not {FORM}"),
        };
        let alone = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), alone)
        else {
            bail!("{shown:?} has more than a server; write {FORM}");
        };
        Ok(Self { https, host: host.trim_matches(['[', ']']).to_lowercase(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let origin = |text| Origin::parse(text).unwrap();
        let wanted = Origin { https: true, host: "api.example.com".into(), port: 443 };
        assert_eq!(origin("https://API.example.com"), wanted);
        assert_eq!(origin("http://[::1]:8080/").host, "::1");
        assert_eq!(origin("http://127.0.0.1").port, 80);
    }

    #[test]
    fn what_is_more_or_less_is_refused() {
        for text in ["example.com", "ftp://a", "https://a/path", "https://u:p@a", "https://a?q", ""]
        {
            Origin::parse(text).unwrap_err();
        }
    }
}

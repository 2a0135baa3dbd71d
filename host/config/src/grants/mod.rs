//! What a stage may reach outside its sandbox: by default, nothing.

mod http;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mistake::At;
pub use http::{HttpGrant, Origin};

/// A folder of the host that a stage may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub guest: String,
    pub host: At<PathBuf>,
    pub writable: bool,
}

/// What a pipeline's configuration grants to a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    pub env: Vec<(String, String)>,
    pub folders: Vec<Folder>,
    /// Addresses to which TCP connections may be opened.
    pub network: Vec<SocketAddr>,
    /// Servers to which requests may be sent over HTTP.
    pub http: Vec<HttpGrant>,
    /// In a test, what is answered instead of these servers.
    pub http_answers: Option<Vec<Answer>>,
    /// In a test: a connection to the first address goes to the second instead.
    pub stand_ins: Vec<(SocketAddr, SocketAddr)>,
    pub clock: Clock,
    pub random: Random,
}

/// The answer of a test case to a request over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub method: String,
    pub url: String,
    /// The body that the request must have; `None`: any.
    pub wants: Option<Vec<u8>>,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The clock that a stage sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    #[default]
    Real,
    /// It always says this, in nanoseconds since the Unix epoch. The monotonic clock moves by a
    /// microsecond each time it is read.
    Fixed(i64),
}

/// The random numbers that a stage gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Random {
    /// The machine's.
    #[default]
    Real,
    /// The same for each instance.
    Fixed,
}

/// Where a fixed clock stands, if nobody says otherwise: 2000-01-01T00:00:00Z.
pub const FIXED_CLOCK: i64 = 946_684_800_000_000_000;

/// Interfaces that every stage may import, because toolchains import them whether the program uses
/// them or not. Without a grant they give nothing: no files, no environment, no arguments; what is
/// printed goes to the log, and what asks for a socket or a server is refused.
const PROVIDED: [&str; 7] = [
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:random/",
    "wasi:sockets/",
    "wasi:http/",
];

/// Interfaces of the contract that hold types alone: nothing is given with them.
const TYPES_OF_THE_CONTRACT: [&str; 3] =
    ["pipehost:stage/records", "pipehost:stage/packed-records", "pipehost:stage/declarations"];
/// What a stage tells of its own, in the version of the contract that this host runs.
const METRICS: &str = "pipehost:stage/metrics@0.2.0";

/// Whether this host provides an import, by its name, such as `wasi:sockets/tcp@0.2.6`.
fn is_provided(import: &str) -> bool {
    let (path, version) = import.split_once('@').unwrap_or((import, ""));
    TYPES_OF_THE_CONTRACT.contains(&path)
        || import == METRICS
        || version.starts_with("0.2.") && PROVIDED.iter().any(|prefix| path.starts_with(prefix))
}

impl Grants {
    /// The grants without which an import gives nothing, as the configuration names them.
    pub fn used_by(import: &str) -> &'static [&'static str] {
        let path = import.split_once('@').map_or(import, |(path, _)| path);
        match path {
            "wasi:filesystem/preopens" => &["read", "write"],
            "wasi:cli/environment" => &["env"],
            "wasi:http/outgoing-handler" => &["http"],
            _ if path.starts_with("wasi:sockets/") => &["network"],
            _ => &[],
        }
    }

    /// Whether a call that is made a second time may do something to the world a second time.
    pub fn change_the_world(&self) -> bool {
        self.folders.iter().any(|folder| folder.writable)
            || !self.network.is_empty()
            || !self.http.is_empty()
    }

    /// Why a component with these imports cannot run: one reason per import. The number of reasons
    /// is limited, because a component may import as much as it likes.
    pub fn refuse<'a>(imports: impl Iterator<Item = &'a str>) -> Vec<String> {
        const TOLD: usize = 20;
        let mut refused: Vec<String> = imports
            .filter(|import| !is_provided(import))
            .map(|import| {
                format!("it imports `{import}`, which pipehost does not provide, under any grant")
            })
            .collect();
        let more = refused.len().saturating_sub(TOLD);
        refused.truncate(TOLD);
        if more > 0 {
            refused.push(format!("it imports {more} more that pipehost does not provide"));
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_provided_is_named() {
        let imports = ["wasi:cli/stdout@0.2.6", "wasi:sockets/tcp@0.2.6", "acme:kv/store"];
        assert_eq!(
            Grants::refuse(imports.into_iter()),
            ["it imports `acme:kv/store`, which pipehost does not provide, under any grant"]
        );
        assert_eq!(Grants::refuse(["wasi:sockets/tcp@0.3.0"].into_iter()).len(), 1);
    }

    #[test]
    fn an_import_that_gives_nothing_without_a_grant_names_it() {
        assert_eq!(Grants::used_by("wasi:sockets/tcp@0.2.6"), ["network"]);
        assert_eq!(Grants::used_by("wasi:filesystem/preopens@0.2.6"), ["read", "write"]);
        assert!(Grants::used_by("wasi:cli/stdout@0.2.6").is_empty());
    }
}

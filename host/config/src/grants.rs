//! What a stage may reach outside its sandbox: by default, nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mistake::At;

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
}

/// Interfaces that every stage may import, because toolchains import them whether the program uses
/// them or not. Without a grant they give nothing: no files, no environment, no arguments; what is
/// printed goes to the log.
const ALWAYS: [&str; 5] =
    ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:filesystem/", "wasi:random/"];

/// What an import needs besides `ALWAYS`.
enum Need {
    Nothing,
    /// A grant, by its name in the configuration.
    Grant(&'static str),
    /// An interface that this host does not provide.
    NotProvided,
}

/// Interfaces of the contract that hold types alone: nothing is given with them.
const TYPES_OF_THE_CONTRACT: [&str; 3] =
    ["pipehost:stage/records", "pipehost:stage/packed-records", "pipehost:stage/declarations"];

/// What an import needs, by its name, such as `wasi:sockets/tcp@0.2.6`.
fn need(import: &str) -> Need {
    let (path, version) = import.split_once('@').unwrap_or((import, ""));
    if TYPES_OF_THE_CONTRACT.contains(&path) {
        return Need::Nothing;
    }
    if !version.starts_with("0.2.") {
        return Need::NotProvided;
    }
    if ALWAYS.iter().any(|prefix| path.starts_with(prefix)) {
        return Need::Nothing;
    }
    if path.starts_with("wasi:sockets/") { Need::Grant("network") } else { Need::NotProvided }
}

impl Grants {
    /// The grant that an import needs, by its name in the configuration.
    pub fn needed_for(import: &str) -> Option<&'static str> {
        match need(import) {
            Need::Grant(grant) => Some(grant),
            Need::Nothing | Need::NotProvided => None,
        }
    }

    /// Why a component with these imports may not run: one reason per import. The number of reasons
    /// is limited, because a component may import as much as it likes.
    pub fn refuse<'a>(&self, imports: impl Iterator<Item = &'a str>) -> Vec<String> {
        const TOLD: usize = 20;
        let mut refused: Vec<String> = imports
            .filter_map(|import| match need(import) {
                Need::Nothing => None,
                Need::Grant("network") if !self.network.is_empty() => None,
                Need::Grant(grant) => {
                    Some(format!("it imports `{import}`, which needs the grant `{grant}`"))
                }
                Need::NotProvided => Some(format!(
                    "it imports `{import}`, which pipehost does not provide, under any grant"
                )),
            })
            .collect();
        let more = refused.len().saturating_sub(TOLD);
        refused.truncate(TOLD);
        if more > 0 {
            refused.push(format!("it imports {more} more that it is not granted"));
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_beyond_the_grants_are_named() {
        let imports = ["wasi:cli/stdout@0.2.6", "wasi:sockets/tcp@0.2.6", "acme:kv/store"];
        let refused = |grants: Grants| grants.refuse(imports.into_iter());
        assert_eq!(
            refused(Grants::default()),
            [
                "it imports `wasi:sockets/tcp@0.2.6`, which needs the grant `network`",
                "it imports `acme:kv/store`, which pipehost does not provide, under any grant",
            ]
        );
        let network = vec!["127.0.0.1:80".parse().unwrap()];
        assert_eq!(refused(Grants { network, ..Grants::default() }).len(), 1);
    }
}

//! Names the grant that a stage probably lacks, where its own words say that it was refused
//! something. A guest whose library finds no granted folder does not even ask the host: its words
//! are all that there is.

use crate::component::Component;
use pipehost_config::grants::Grants;

/// What a component may ask for, and what it is granted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hints {
    uses_files: bool,
    has_folders: bool,
    uses_network: bool,
    uses_http: bool,
}

/// What the libraries of Rust, C, Go and Python say of a path in no granted folder.
const IN_NO_FOLDER: [&str; 3] =
    ["pre-opened file descriptor", "Capabilities insufficient", "capabilities insufficient"];
/// What they may also say if no folder is granted at all.
const NO_FILE: [&str; 6] = [
    "No such file or directory",
    "no such file or directory",
    "Bad file number",
    "Bad file descriptor",
    "Operation not permitted",
    "entity not found",
];
const READ_ONLY: [&str; 2] = ["Read-only file system", "read-only filesystem"];
const NO_CONNECTION: [&str; 2] = ["Permission denied", "permission denied"];
const NO_REQUEST: [&str; 2] = ["HttpRequestDenied", "HTTP-request-denied"];

impl Hints {
    pub(super) fn of(component: &Component) -> Self {
        let uses = |grant: &str| {
            let imports = component.imports();
            imports.iter().any(|import| Grants::used_by(import).contains(&grant))
        };
        Self {
            uses_files: uses("read"),
            has_folders: !component.grants.folders.is_empty(),
            uses_network: uses("network"),
            uses_http: uses("http"),
        }
    }

    /// The hint for the reason of a rejection, which may quote the record: only if the guest has asked
    /// the host for folders, and never one that would grant more than reading.
    pub(super) fn for_reason(self, reason: &str, asked_for_folders: bool) -> Option<&'static str> {
        if !asked_for_folders {
            return None; // Most do not ask: then the words need not be searched.
        }
        let is_refused = |any: &[&str]| any.iter().any(|text| reason.contains(text));
        let is_of_files = is_refused(&IN_NO_FOLDER) || (!self.has_folders && is_refused(&NO_FILE));
        if is_of_files { self.for_words(reason) } else { None }
    }

    /// The hint for what a guest has said, to be put behind it.
    fn for_words(self, words: &str) -> Option<&'static str> {
        let says = |any: &[&str]| any.iter().any(|text| words.contains(text));
        if words.contains("grant") {
            return None; // It says so itself.
        }
        if self.uses_files && says(&READ_ONLY) {
            return Some("; to let it write there, grant it the folder with grants.write");
        }
        if self.uses_files && !self.has_folders && (says(&IN_NO_FOLDER) || says(&NO_FILE)) {
            return Some("; no folder is granted to it: grants.read = { \"/GUEST\" = \"FOLDER\" }");
        }
        if self.uses_files && says(&IN_NO_FOLDER) {
            return Some("; the path is in none of its granted folders (grants.read)");
        }
        if self.uses_http && says(&NO_REQUEST) {
            return Some("; the server is not granted to it (grants.http)");
        }
        if self.uses_network && says(&NO_CONNECTION) {
            return Some("; the address is not granted to it (grants.network)");
        }
        None
    }

    /// What a guest has said, with the hint behind it.
    pub(super) fn with(self, words: String) -> String {
        match self.for_words(&words) {
            Some(hint) => words + hint,
            None => words,
        }
    }
}

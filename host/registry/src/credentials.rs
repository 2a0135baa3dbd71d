//! Who we are for a registry: the file that `docker login` and `podman login` write.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::error::Error;

/// The largest file that is read.
const MOST: u64 = 1 << 20;

/// Who we are for one registry.
#[derive(PartialEq, Eq)]
pub(crate) enum Credentials {
    Anonymous,
    Password {
        user: String,
        password: String,
        file: PathBuf,
    },
    /// Another program keeps them. It is not run: nothing but a signed-in user may need it.
    Helper(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Reads the credentials for a registry, from the first of these that is there:
    /// `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json`, `~/.docker/config.json`.
    ///
    /// # Errors
    /// If the file cannot be read or understood. That there is none is no error.
    pub fn read(host: &str) -> Result<Self, Error> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        let file = folder("REGISTRY_AUTH_FILE")
            .or_else(|| folder("DOCKER_CONFIG").map(|folder| folder.join("config.json")))
            .or_else(|| folder("HOME").map(|folder| folder.join(".docker/config.json")));
        file.map_or(Ok(Self::Anonymous), |file| Self::from_file(&file, host))
    }

    fn from_file(path: &Path, host: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::CredentialFile { file: path.to_owned(), why };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Anonymous),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
        let config: Config = serde_json::from_slice(&text)
            // Its line is not shown: a secret may stand there.
            .map_err(|error| wrong(format!("line {} is not what it must be", error.line())))?;
        config.of(host, path).map_err(|why| wrong(format!("{why} for {host}")))
    }
}

impl Config {
    fn of(self, host: &str, file: &Path) -> Result<Credentials, &'static str> {
        let keys = match host {
            "docker.io" => ["https://index.docker.io/v1/".to_owned(), "docker.io".to_owned()],
            host => [host.to_owned(), format!("https://{host}")],
        };
        let entry = keys.iter().find_map(|key| self.auths.get(key));
        if let Some(auth) = entry.and_then(|entry| entry.auth.as_ref()) {
            let (user, password) = decode(auth).ok_or("it has no user and password")?;
            return Ok(Credentials::Password { user, password, file: file.to_owned() });
        }
        if entry.is_some_and(|entry| entry.identitytoken.is_some()) {
            return Err("it has an identity token, and a user with a password is needed,");
        }
        let helper = keys.iter().find_map(|key| self.cred_helpers.get(key));
        // With a store, an empty entry says that somebody has signed in.
        let helper = helper.or(entry.and(self.creds_store.as_ref()));
        Ok(helper.map_or(Credentials::Anonymous, |helper| Credentials::Helper(helper.clone())))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let text = String::from_utf8(base64.decode(auth).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        // u:p:q, with and without padding.
        let text = r#"{
            "auths": {"ghcr.io": {"auth": "dTpwOnE="}, "https://b.com": {"auth": "dTpwOnE"},
                      "store.com": {}, "azure.com": {"identitytoken": "x"}, "bad.com": {"auth": "!"}},
            "credHelpers": {"gcr.io": "gcloud"}, "credsStore": "desktop", "other": [1]
        }"#;
        std::fs::write(&path, text).unwrap();
        let of = |host| Credentials::from_file(&path, host);
        let (user, password) = ("u".to_owned(), "p:q".to_owned());
        let password = Credentials::Password { user, password, file: path.clone() };
        assert_eq!(of("ghcr.io").unwrap(), password);
        assert_eq!(of("b.com").unwrap(), password);
        assert_eq!(of("c.com").unwrap(), Credentials::Anonymous);
        assert_eq!(of("gcr.io").unwrap(), Credentials::Helper("gcloud".to_owned()));
        assert_eq!(of("store.com").unwrap(), Credentials::Helper("desktop".to_owned()));
        assert!(of("azure.com").unwrap_err().to_string().contains("identity token"));
        assert!(of("bad.com").unwrap_err().to_string().contains("no user and password"));
        std::fs::write(&path, "{\n\"auths\": secret}").unwrap();
        let error = of("ghcr.io").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
        let none = Credentials::from_file(&folder.path().join("none"), "ghcr.io").unwrap();
        assert_eq!(none, Credentials::Anonymous);
        assert!(!format!("{password:?}").contains("p:q"));
    }
}

//! `--grant GRANT=VALUE`: what a stage may use, on the command line.

use anyhow::{Context as _, Result, anyhow, bail};
use std::path::Path;

use crate::error::Error;
use pipehost_config::At;
use pipehost_config::grants::{Clock, FIXED_CLOCK, Folder, Grants, HttpGrant, Origin, Random};

/// What `--grant` takes, for messages and help.
const FORMS: &str = "write read=/GUEST=FOLDER, write=/GUEST=FOLDER, network=ADDRESS:PORT, \
                     http=URL, env=NAME (as it is set for pipehost), env=NAME=VALUE, clock=fixed or random=fixed";

/// These grants, together.
pub fn grants(texts: &[String]) -> Result<Grants, Error> {
    let mut grants = Grants::default();
    for text in texts {
        let grant = text.split('=').next().unwrap_or_default();
        add(&mut grants, text).map_err(|why| Error::Usage(anyhow!("--grant {grant}: {why:#}")))?;
    }
    Ok(grants)
}

/// Adds `GRANT=VALUE`. The message of an error does not repeat the value, which may be a secret.
pub fn add(grants: &mut Grants, text: &str) -> Result<()> {
    let (grant, value) = text.split_once('=').context(FORMS)?;
    match grant {
        "read" | "write" => {
            let (guest, host) = value.split_once('=').context(FORMS)?;
            if guest.is_empty() || host.is_empty() {
                bail!(FORMS);
            }
            let host = At::nowhere(Path::new(host).to_owned());
            grants.folders.push(Folder {
                guest: guest.to_owned(),
                host,
                writable: grant == "write",
            });
        }
        "network" => grants.network.push(value.parse().map_err(|_| {
            anyhow!("{value:?} is not an address and a port, as in 127.0.0.1:9000")
        })?),
        "http" => {
            let (origin, headers) = (Origin::parse(value)?, Vec::new());
            grants.http.push(HttpGrant { origin, headers, inside: false, ca: None });
        }
        "env" => {
            let (name, value) = match value.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let found = std::env::var(value);
                    (
                        value,
                        found.map_err(|_| {
                            anyhow!("the variable {value} is not set, or is not UTF-8")
                        })?,
                    )
                }
            };
            if name.is_empty() {
                bail!(FORMS);
            }
            grants.env.push((name.to_owned(), value));
        }
        "clock" => {
            grants.clock = match value {
                "real" => Clock::Real,
                "fixed" => Clock::Fixed(FIXED_CLOCK),
                _ => bail!(FORMS),
            }
        }
        "random" => {
            grants.random = match value {
                "real" => Random::Real,
                "fixed" => Random::Fixed,
                _ => bail!(FORMS),
            }
        }
        other => bail!("there is no grant `{other}`: {FORMS}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grant_is_read_as_a_pipeline_names_it() {
        let texts = ["read=/t=a=b", "write=/o=out", "network=[::1]:80", "env=A=b=c"];
        let grants = grants(&texts.map(str::to_owned)).unwrap_or_else(|e| panic!("{}", e.text()));
        let folders: Vec<_> = (grants.folders.iter())
            .map(|f| (&*f.guest, f.host.value.to_str().unwrap(), f.writable))
            .collect();
        assert_eq!(folders, [("/t", "a=b", false), ("/o", "out", true)]);
        assert_eq!(grants.network, ["[::1]:80".parse().unwrap()]);
        assert_eq!(grants.env, [("A".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn what_is_no_grant_is_refused_with_the_forms() {
        for text in ["read", "read=/t", "read==x", "files=/t=x", "network=host:80", "env==x"] {
            let why = add(&mut Grants::default(), text).unwrap_err().to_string();
            assert!(why.contains("read=/GUEST=FOLDER") || why.contains("127.0.0.1"), "{why}");
        }
        let why = add(&mut Grants::default(), "env=PIPEHOST_NOT_SET").unwrap_err().to_string();
        assert!(why.contains("PIPEHOST_NOT_SET is not set"), "{why}");
    }
}

//! Talks to the control interface of a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::error::Error;
use pipehost_record::foreign::Foreign;
use pipehost_serve::address::{self, Address};
use pipehost_serve::status::Status;

/// Which run is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// The name of its pipeline, or its process ID; only needed if several run.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Where it is: what `pipehost run --control` was given.
    #[arg(long, value_name = "ADDR", conflicts_with = "run")]
    control: Option<Address>,
}

/// The control interface of a run.
pub struct Client(Address);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How long a run has to say what it is, when one is looked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most bytes of an answer that is read whole.
const LARGEST: usize = 64 << 20;

/// Lets others go first: whoever looks must not slow what is looked at.
pub fn step_back() {
    let _ = rustix::process::nice(19); // It may be forbidden.
}

impl Which {
    /// Finds the run.
    ///
    /// # Errors
    /// If there is none, or several that may be meant.
    pub async fn find(&self) -> Result<Client, Error> {
        if let Some(address) = &self.control {
            return Ok(Client(address.clone()));
        }
        let runs = running().await;
        let is_meant = |status: &Status| match &self.run {
            Some(name) => status.pipeline == *name || status.process.to_string() == *name,
            None => true,
        };
        let mut meant: Vec<_> = runs.iter().filter(|(_, status)| is_meant(status)).collect();
        let list = |runs: &[&(Client, Status)]| {
            let run = |(_, Status { pipeline, process, .. }): &&(Client, Status)| {
                format!("`{}` (process {process})", Foreign::new(pipeline))
            };
            runs.iter().map(run).collect::<Vec<_>>().join(", ")
        };
        match (&meant[..], &self.run) {
            ([_], _) => Ok(Client(meant.remove(0).0.0.clone())),
            ([], Some(name)) => {
                let others = list(&runs.iter().collect::<Vec<_>>());
                let there = if runs.is_empty() { "none".to_owned() } else { others };
                Err(Error::Usage(anyhow!(
                    "no run of this user has the pipeline or the process ID `{}`; running: {there}",
                    Foreign::new(name)
                )))
            }
            ([], None) => Err(Error::Usage(anyhow!(
                "this user runs no pipeline; one of another user, or with `run --control ADDR`, is \
                 found with --control ADDR"
            ))),
            (several, _) => Err(Error::Usage(anyhow!(
                "several pipelines run: {}; say which with --run",
                list(several)
            ))),
        }
    }
}

/// The runs of this user that answer.
async fn running() -> Vec<(Client, Status)> {
    let mut runs = Vec::new();
    for address in address::running() {
        let client = Client(address);
        // One that is stopped (SIGSTOP) accepts connections, and does not answer.
        if let Ok(status) = client.status().await {
            runs.push((client, status));
        }
    }
    runs
}

/// The run that has opened this file, which `of` tells of a status: the one at this address, or one
/// of this user.
///
/// # Errors
/// If the run at the address does not answer, or has not opened it.
pub async fn with_file(
    file: &Path,
    control: Option<&Address>,
    of: impl Fn(&Status) -> Option<PathBuf>,
) -> Result<Option<(Client, Status)>, Error> {
    let canonical = |path: &Path| path.canonicalize().ok();
    let Some(whole) = canonical(file) else { return Ok(None) };
    let is_it = |(_, status): &(Client, Status)| {
        of(status).and_then(|path| canonical(&path)).is_some_and(|path| path == whole)
    };
    let Some(address) = control else { return Ok(running().await.into_iter().find(is_it)) };
    let client = Client(address.clone());
    let status = client.status().await?;
    let run = (client, status);
    if is_it(&run) {
        return Ok(Some(run));
    }
    let pipeline = Foreign::new(&run.1.pipeline).to_string();
    Err(Error::Usage(anyhow!(
        "`{pipeline}`, the pipeline at {address}, does not use {}",
        file.display()
    )))
}

impl Client {
    /// How the run is.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let status = self.call(Method::GET, "/status", Bytes::new());
        match timeout(PATIENCE, status).await {
            Ok(status) => status,
            Err(_) => Err(Error::Failed(anyhow!("the run at {} does not answer", self.0))),
        }
    }

    /// Calls the interface, and reads the whole answer.
    ///
    /// # Errors
    /// If it does not answer, or refuses: then with what it says.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let response = self.request(method, path, body).await?;
        let body = http_body_util::Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| self.failed(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| self.failed(&error))
    }

    /// Calls the interface, and returns once the answer begins.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let stream: Box<dyn Stream> = match &self.0 {
            Address::Unix(path) => {
                let stream =
                    UnixStream::connect(path).await.map_err(|error| self.failed(&error))?;
                let peer = stream.peer_cred().map_err(|error| self.failed(&error))?.uid();
                // Whoever else listens there may want what is sent. Root asks services, too.
                let us = rustix::process::getuid();
                if peer != us.as_raw() && !us.is_root() {
                    return Err(self.failed(&"another user listens there"));
                }
                Box::new(stream)
            }
            Address::Tcp(address) => {
                Box::new(TcpStream::connect(address).await.map_err(|error| self.failed(&error))?)
            }
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.failed(&error))?;
        tokio::spawn(connection); // What fails there fails here, too.
        let host = match &self.0 {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp(address) => address.to_string(),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1{path}"))
            .header(hyper::header::HOST, host)
            .body(Full::new(body))
            .expect("the parts are valid");
        let response = sender.send_request(request).await.map_err(|error| self.failed(&error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let why = serde_json::from_slice::<Value>(&body).ok();
        let why = why.as_ref().and_then(|why| why["error"].as_str());
        Err(match why {
            // What was asked is wrong, and nothing was done.
            Some(why) if status.is_client_error() => Error::Usage(anyhow!("{why}")),
            Some(why) => Error::Failed(anyhow!("{why}")),
            None => Error::Failed(anyhow!(
                "{} answers {status}: it is no control interface of a run",
                self.0
            )),
        })
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Failed(anyhow!("cannot talk to the run at {}: {error}", self.0))
    }
}

//! Puts a component into a registry.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use crate::artifact::{self, Artifact};
use crate::client::{Action, Client, Limits, protocol};
use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;

/// What is pushed.
#[derive(Debug, Clone, Default)]
pub struct Component {
    pub wasm: Bytes,
    /// Of the manifest. They belong to its digest.
    pub annotations: BTreeMap<String, String>,
}

/// Puts a component into a registry, and returns the digest of its manifest. It is the same for the
/// same component and annotations. If the reference has a digest, nothing is sent unless it is that.
///
/// # Errors
/// If it is no component or too large, or the registry does not take it.
pub async fn push(
    reference: &Reference,
    component: Component,
    limits: Limits,
) -> Result<Digest, Error> {
    limits.within(reference, put(reference, component, limits)).await
}

async fn put(reference: &Reference, component: Component, limits: Limits) -> Result<Digest, Error> {
    let Component { wasm, annotations } = component;
    let size = wasm.len() as u64;
    if size > limits.component {
        let limit = limits.component;
        return Err(Error::NotPushable(format!("it has {size} bytes, and the limit is {limit}")));
    }
    let artifact = Artifact::of(&wasm, &annotations)?;
    let digest = Digest::of(&artifact.manifest);
    if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
        let why = format!("its digest is {digest}, and {expected} is asked for");
        return Err(Error::NotPushable(why));
    }
    let mut client = Client::new(reference, Action::Push)?;
    let config = Bytes::from(artifact.config);
    blob(&mut client, artifact.component, wasm).await?;
    blob(&mut client, Digest::of(&config), config).await?;
    // Last: whoever sees the manifest gets all that it names.
    manifest(&mut client, reference, artifact.manifest.into()).await?;
    Ok(digest)
}

async fn blob(client: &mut Client<'_>, digest: Digest, content: Bytes) -> Result<(), Error> {
    let request = client.request(Method::HEAD, &format!("blobs/{digest}"))?;
    if client.send(request).await?.status() == StatusCode::OK {
        return Ok(());
    }
    let request = client.request(Method::POST, "blobs/uploads/")?.header(CONTENT_LENGTH, 0);
    let response = client.send(request).await?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(client.refusal(response).await);
    }
    let mut place = client.location(&response)?;
    place.query_pairs_mut().append_pair("digest", &digest.to_string());
    let request = client.request_at(Method::PUT, place);
    let request = request.header(CONTENT_TYPE, "application/octet-stream").body(content);
    expect_created(client, request).await
}

async fn manifest(
    client: &mut Client<'_>,
    reference: &Reference,
    content: Bytes,
) -> Result<(), Error> {
    let version = match reference.tag() {
        Some(tag) => tag.to_owned(),
        None => reference.version(),
    };
    let request = client.request(Method::PUT, &format!("manifests/{version}"))?;
    expect_created(client, request.header(CONTENT_TYPE, artifact::MANIFEST).body(content)).await
}

async fn expect_created(
    client: &mut Client<'_>,
    request: reqwest::RequestBuilder,
) -> Result<(), Error> {
    let response = client.send(request).await?;
    match response.status() {
        StatusCode::CREATED => Ok(()),
        status if status.is_redirection() => {
            Err(protocol(client.host(), &"it sends an upload elsewhere"))
        }
        _ => Err(client.refusal(response).await),
    }
}

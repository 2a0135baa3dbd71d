//! Gets a component.

use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};

use crate::artifact::{self, Layer};
use crate::body;
use crate::client::{Action, Client, Limits};
use crate::digest::Digest;
use crate::error::{Error, What};
use crate::reference::Reference;

/// The most bytes of a manifest. One with a layer has 600.
const MANIFEST: u64 = 1 << 20;

/// A component, as its digest names it.
#[derive(Debug)]
pub struct Pulled {
    /// Of its manifest: what a lock holds.
    pub digest: Digest,
    pub component: Vec<u8>,
}

/// Gets a component. With a digest in the reference, no registry can give another one.
///
/// Its config is not read: it says nothing that the component does not say itself.
///
/// # Errors
/// If the registry has none, or what it sends is not what it must be, or too much, or too slow.
pub async fn pull(reference: &Reference, limits: Limits) -> Result<Pulled, Error> {
    limits.within(reference, get(reference, limits)).await
}

async fn get(reference: &Reference, limits: Limits) -> Result<Pulled, Error> {
    let mut client = Client::new(reference, Action::Pull)?;
    let (digest, layer) = manifest(&mut client, reference).await?;
    let component = component(&mut client, &layer, limits).await?;
    Ok(Pulled { digest, component })
}

async fn manifest(
    client: &mut Client<'_>,
    reference: &Reference,
) -> Result<(Digest, Layer), Error> {
    let path = format!("manifests/{}", reference.version());
    let request = client.request(Method::GET, &path)?.header(ACCEPT, artifact::MANIFEST);
    let response = client.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(client.refusal(response).await);
    }
    let manifest = body::read(response, MANIFEST, What::Manifest, client.host()).await?;
    // The registry's own word for it, in a header, adds nothing: a tag means what it sends.
    let digest = Digest::of(&manifest);
    check(What::Manifest, client.host(), reference.digest().unwrap_or(digest), digest)?;
    Ok((digest, Layer::of(&manifest, reference)?))
}

async fn component(
    client: &mut Client<'_>,
    layer: &Layer,
    limits: Limits,
) -> Result<Vec<u8>, Error> {
    let (what, from) = (What::Component, client.host().to_owned());
    if layer.size > limits.component {
        return Err(Error::TooLarge { what, from, limit: limits.component });
    }
    let request = client.request(Method::GET, &format!("blobs/{}", layer.digest))?;
    let response = client.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(client.refusal(response).await);
    }
    let component = body::read(response, layer.size, what, &from).await?;
    let found = component.len() as u64;
    if found != layer.size {
        return Err(Error::OtherSize { what, from, expected: layer.size, found });
    }
    check(what, &from, layer.digest, Digest::of(&component))?;
    Ok(component)
}

fn check(what: What, host: &str, expected: Digest, found: Digest) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::OtherContent { what, from: host.to_owned(), expected, found })
}

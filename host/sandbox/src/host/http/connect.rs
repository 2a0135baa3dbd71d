//! From a server to a connection: look up, check, dial, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use super::Server;
use super::address::is_inside;

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Names that are looked up at a time, in all pipelines of this process: each look-up holds a
/// thread until the system answers, whoever waits for it.
static LOOK_UPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(16)));

pub(super) async fn connect(server: &Server) -> Result<Box<dyn Stream>, Error> {
    let origin = &server.grant.origin;
    let addresses = match origin.host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, origin.port)], // The grant itself names it.
        Err(_) => {
            let mut found = look_up(origin.host.clone(), origin.port).await?;
            if !server.grant.inside {
                found.retain(|address| !is_inside(address.ip()));
                if found.is_empty() {
                    return Err(Error::DestinationIpProhibited);
                }
            }
            found
        }
    };
    let mut failed = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return secure(server, stream).await,
            Err(error) => failed = Some(error),
        }
    }
    Err(match failed {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        Some(error) => Error::Connect(error),
        None => Error::DnsError { rcode: None, info_code: None },
    })
}

async fn look_up(host: String, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let failed = || Error::DnsError { rcode: None, info_code: None };
    let place = LOOK_UPS.clone().acquire_owned().await.map_err(|_| failed())?;
    let found = tokio::task::spawn_blocking(move || {
        let _place = place;
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    });
    found.await.map_err(|_| failed())?.map_err(|_| failed())
}

async fn secure(server: &Server, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
    let Some(tls) = &server.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(server.grant.origin.host.clone());
    let name = name.map_err(|_| Error::TlsProtocolError)?;
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
    Ok(Box::new(stream.map_err(Error::Tls)?))
}

/// What is trusted: the authorities of the system, or those of a file.
///
/// # Errors
/// If the file cannot be read, or has no certificate.
pub(super) fn trust(ca: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?;
    let mut config = match ca {
        None => builder.with_platform_verifier().context("the authorities of the system")?,
        Some(path) => {
            let cannot = || format!("cannot read the certificates in {}", path.display());
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).with_context(cannot)? {
                roots.add(certificate.with_context(cannot)?).with_context(cannot)?;
            }
            anyhow::ensure!(!roots.is_empty(), "there is no certificate in {}", path.display());
            builder.with_root_certificates(roots)
        }
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

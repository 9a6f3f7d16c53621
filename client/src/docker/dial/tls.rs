//! TLS to an engine, with the context's own authority and client certificate.
//!
//! The system's authorities are not asked: they would only widen who can pose as the engine.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::endpoint::Certificates;
use super::tcp;

pub(super) struct Dialler {
    tcp: tcp::Dialler,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Dialler {
    pub(super) fn new(tcp: tcp::Dialler, host: &str, certificates: &Certificates) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.with_context(|| format!("'{host}' is no name a certificate could have"))?;

        Ok(Self {
            tcp,
            name,
            connector: Arc::new(config(certificates)?).into(),
        })
    }

    pub(super) async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tcp.dial().await?;

        self.connector.connect(self.name.clone(), stream).await
    }
}

fn config(certificates: &Certificates) -> Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates_in(&certificates.authority)? {
        authorities.add(certificate)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    let Some((certificate, key)) = &certificates.client else {
        return Ok(builder.with_no_client_auth());
    };

    let key_text = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow!("read the key {}: {error}", key.display()))?;
    builder
        .with_client_auth_cert(certificates_in(certificate)?, key_text)
        .with_context(|| format!("use the certificate {}", certificate.display()))
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);

    certificates.map_err(|error| anyhow!("read the certificate {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;

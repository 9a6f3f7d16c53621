//! A real TLS server with certificates made on the spot.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority of its own, with what it has issued on disk as Docker keeps it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            issuer,
            directory: TempDir::new().unwrap(),
        };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.issue("server", &["127.0.0.1"]);
        authority.issue("", &["client"]);
        authority
    }

    fn issue(&self, prefix: &str, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|&it| it.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(names).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();

        std::fs::write(self.path(&format!("{prefix}cert.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{prefix}key.pem")), key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Greets one client that this authority vouches for; returns its port.
    async fn serve(&self) -> u16 {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                certificates_in(&self.path("servercert.pem")).unwrap(),
                PrivateKeyDer::from_pem_file(self.path("serverkey.pem")).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();

        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        port
    }

    fn certificates(&self) -> Certificates {
        Certificates::in_directory(self.directory.path())
    }
}

async fn greeting(port: u16, certificates: &Certificates) -> Result<String> {
    let tcp = tcp::Dialler::new("127.0.0.1", port);
    let mut stream = Dialler::new(tcp, "127.0.0.1", certificates)?.dial().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;

    Ok(text)
}

#[tokio::test]
async fn engine_and_client_know_each_other_by_the_context_s_certificates() {
    let authority = Authority::new();
    let port = authority.serve().await;

    assert_eq!(
        greeting(port, &authority.certificates()).await.unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn an_engine_of_another_authority_is_refused() {
    let port = Authority::new().serve().await;

    let error = greeting(port, &Authority::new().certificates())
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("certificate"), "{error:#}");
}

#[tokio::test]
async fn an_engine_that_wants_a_certificate_refuses_a_client_without() {
    let authority = Authority::new();
    let port = authority.serve().await;
    let anonymous = Certificates {
        client: None,
        ..authority.certificates()
    };

    assert!(greeting(port, &anonymous).await.is_err());
}

#[test]
fn a_missing_authority_is_named() {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::in_directory(directory.path());

    let error = Dialler::new(tcp::Dialler::new("vm", 1), "vm", &certificates).err();
    let error = format!("{:#}", error.unwrap());
    assert!(
        error.contains("read the certificate") && error.contains("ca.pem"),
        "{error}"
    );
}

//! TLS on top of the accepted socket.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::connection::Connection;
use super::first_bytes::HeadPatience;
use crate::net::records::Recorded;
use crate::net::stream::Stream;

/// What is offered by ALPN (RFC 7301), the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, for [`Serve::tls`](crate::Serve::tls).
///
/// ```no_run
/// # use graceful::doc::app;
/// # async fn example() -> std::io::Result<()> {
/// let tls = graceful::Tls::from_pem_files("/etc/app/cert.pem", "/etc/app/key.pem")?;
/// let listener = graceful::bind("0.0.0.0:443").await?;
/// graceful::serve(listener, app()).tls(tls).await
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a certificate chain, the server's own first, and its private key from PEM files.
    ///
    /// TLS 1.2 and 1.3 with rustls' `ring` provider; HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read, holds no certificate or no key, and a key that is encrypted
    /// or does not belong to the certificate.
    ///
    /// ```
    /// let error = graceful::Tls::from_pem_files("cert.pem", "key.pem").unwrap_err();
    /// assert!(error.to_string().contains("cert.pem"));
    /// ```
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> io::Result<Self> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable("certificate", certificate, error))?;
        if chain.is_empty() {
            return Err(unreadable(
                "certificate",
                certificate,
                pem::Error::NoItemsFound,
            ));
        }
        let key_der =
            PrivateKeyDer::from_pem_file(key).map_err(|error| match is_encrypted(key) {
                true => encrypted(key),
                false => unreadable("private key", key, error),
            })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, key_der)
            })
            .map_err(|error| {
                let (certificate, key) = (certificate.display(), key.display());
                invalid(format!(
                    "the certificate {certificate} with the key {key}: {error}"
                ))
            })?;
        Ok(config.into())
    }
}

/// Offers HTTP/2 and HTTP/1.1 by ALPN where the settings offer nothing.
impl From<ServerConfig> for Tls {
    fn from(mut config: ServerConfig) -> Self {
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
        }
        Self(Arc::new(config).into())
    }
}

impl From<Arc<ServerConfig>> for Tls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(config.into())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Shakes hands, as long as the connection may take for it; `None` where nothing came of it.
    pub(super) async fn handshake(
        &self,
        mut stream: Stream,
        connection: &Connection,
    ) -> Option<Stream> {
        // A connection that says nothing is as good as idle; one that has begun may finish.
        if !HeadPatience::default()
            .first_byte(&mut stream, connection)
            .await
        {
            return None;
        }
        let handshake = self.0.accept(Recorded::new(stream));
        let mut handshake = std::pin::pin!(handshake);
        let mut patience = HeadPatience::begun();
        let shaken = std::future::poll_fn(|cx| {
            use std::task::Poll;
            match handshake.as_mut().poll(cx) {
                Poll::Ready(shaken) => Poll::Ready(shaken.ok()),
                Poll::Pending => patience.poll(cx, connection).map(|()| None),
            }
        });
        let stream = shaken.await?;
        connection.note_activity();
        Some(Stream::Tls(Box::new(stream)))
    }
}

fn unreadable(what: &str, path: &Path, error: pem::Error) -> io::Error {
    let path = path.display();
    match error {
        pem::Error::Io(error) => io::Error::new(
            error.kind(),
            format!("failed to read the {what} {path}: {error}"),
        ),
        pem::Error::NoItemsFound => invalid(format!(
            "{path} holds no {what} in PEM form (`-----BEGIN …-----`); are the two files mixed up?"
        )),
        error => invalid(format!("the {what} {path} is not valid PEM: {error}")),
    }
}

/// Tells whether the key needs a passphrase, by PKCS #8 (RFC 7468) or as OpenSSL once wrote it (RFC 1421).
fn is_encrypted(key: &Path) -> bool {
    std::fs::read_to_string(key).is_ok_and(|pem| {
        pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || pem.contains("Proc-Type: 4,ENCRYPTED")
    })
}

fn encrypted(key: &Path) -> io::Error {
    let key = key.display();
    invalid(format!(
        "the private key {key} is encrypted; decrypt it first: `openssl pkey -in {key} -out …`"
    ))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_key_is_told_from_no_key() {
        let directory = std::env::temp_dir().join(format!("graceful-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let write = |name: &str, pem: &str| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let section =
            |kind, text| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        let certificate = write("cert.pem", &section("CERTIFICATE", "AAAA"));
        let header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
        for (key, remedy) in [
            (section("ENCRYPTED PRIVATE KEY", "AAAA"), "`openssl pkey"),
            (section("RSA PRIVATE KEY", header), "`openssl pkey"),
            (section("CERTIFICATE", "AAAA"), "mixed up?"),
            (section("PRIVATE KEY", "?"), "is not valid PEM"),
        ] {
            let key = write("key.pem", &key);
            let error = Tls::from_pem_files(&certificate, &key).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(remedy), "{error}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}

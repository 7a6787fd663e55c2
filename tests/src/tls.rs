//! A certificate for a server, and the TLS client that trusts it.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::client::Transport;
use crate::{Address, Connection};

/// A self-signed certificate for `localhost`, on disk for as long as this value lives.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
    der: CertificateDer<'static>,
}

/// A TCP connection over which a TLS handshake is under way.
#[derive(Debug)]
pub struct Handshake {
    tls: ClientConnection,
    tcp: TcpStream,
    hello: Vec<u8>,
}

impl Certificate {
    /// Makes a new one.
    pub fn new() -> Self {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("`localhost` is a valid name");
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let write = |name, pem| fs::write(directory.path().join(name), pem);
        write("certificate.pem", made.cert.pem()).expect("a new directory can be written to");
        write("key.pem", made.signing_key.serialize_pem()).expect("and once more");
        Self {
            der: made.cert.der().clone(),
            directory,
        }
    }

    /// Returns the setting that makes a server use this certificate.
    pub fn setting(&self) -> String {
        format!("tls={}", self.directory.path().display())
    }

    /// Opens a connection whose handshake has not begun.
    pub fn handshake(&self, address: &Address, protocol: &str) -> Handshake {
        let tcp = TcpStream::connect(address.tcp()).expect("the server listens");
        tcp.set_nodelay(true).expect("a TCP socket has this option");
        let name = ServerName::try_from("localhost").expect("`localhost` is a valid name");
        let config = Arc::new(self.client_config(protocol));
        let mut tls = ClientConnection::new(config, name).expect("the configuration is complete");
        let mut hello = Vec::new();
        tls.write_tls(&mut hello)
            .expect("a vector takes every byte");
        Handshake { tls, tcp, hello }
    }

    /// Opens a connection with its handshake done, for `http/1.1` or `h2`.
    pub fn connect(&self, address: &Address, protocol: &str) -> Connection {
        let connection = self.handshake(address, protocol).finish();
        connection.expect("a handshake that nobody disturbs succeeds")
    }

    fn client_config(&self, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.der.clone())
            .expect("a certificate that was just made is valid");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("ring has them all");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Handshake {
    /// Sends the next `count` bytes of the first message.
    pub fn send_some(&mut self, count: usize) {
        let some: Vec<u8> = self.hello.drain(..count.min(self.hello.len())).collect();
        self.tcp
            .write_all(&some)
            .expect("the connection takes what is sent");
    }

    /// Completes the handshake.
    ///
    /// # Errors
    ///
    /// Where the server does not play along.
    pub fn finish(self) -> io::Result<Connection> {
        self.finish_with(|_| Ok(()))
    }

    /// Completes the handshake, and sends something by hand.
    fn finish_with(
        mut self,
        send: impl FnOnce(&mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<()>,
    ) -> io::Result<Connection> {
        self.tcp.write_all(&self.hello)?;
        self.tcp.set_limit(crate::LIMIT)?;
        self.tls.complete_io(&mut self.tcp)?;
        let mut stream = StreamOwned::new(self.tls, self.tcp);
        send(&mut stream)?;
        Connection::over(Box::new(stream))
    }

    /// Completes the handshake, sends `first`, and calls `before`; then sends the first `count` bytes of the
    /// record that holds `second`, calls `between`, and sends the rest.
    ///
    /// # Errors
    ///
    /// Where the server does not play along.
    pub fn finish_and_cut(
        self,
        first: &str,
        second: &str,
        count: usize,
        before: impl FnOnce(),
        between: impl FnOnce(),
    ) -> io::Result<Connection> {
        self.finish_with(|stream| {
            stream.write_all(first.as_bytes())?;
            before();
            let mut record = Vec::new();
            stream.conn.writer().write_all(second.as_bytes())?;
            stream.conn.write_tls(&mut record)?;
            let (begin, end) = record.split_at(count.min(record.len() - 1));
            stream.sock.write_all(begin)?;
            between();
            stream.sock.write_all(end)
        })
    }
}

impl Transport for StreamOwned<ClientConnection, TcpStream> {
    fn local_addr(&self) -> Option<SocketAddr> {
        Transport::local_addr(&self.sock)
    }

    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.sock.set_limit(limit)
    }

    fn finish_sending(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.finish_sending()
    }

    fn reset_at_close(&self) -> io::Result<()> {
        self.sock.reset_at_close()
    }
}

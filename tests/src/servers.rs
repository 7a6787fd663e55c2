//! What the binaries have in common: they bind, say where, and serve [`Echo`].

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;

use graceful::{IntoService, Listener, Tls};

use crate::echo::Echo;
use crate::settings::Settings;

/// A server of any kind.
pub type Running = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Serves on every `listen=` address, by default on one free port.
///
/// `connect_info=yes` tells handlers who asks, and `half_close=yes` answers clients that send no more. `limit=` is the
/// most connections at a time, `streams=` the most requests at a time on one of HTTP/2, `keep_alive=` both times of
/// its keep-alive, `tls=` the directory of a certificate, and `admin=` the address of one more server
/// that stays up to the end. `keep_alive_timeout=`, `max_requests=` and `max_age=` limit each connection.
///
/// # Errors
///
/// Where an address cannot be bound or the certificate cannot be read.
pub async fn bind_all(settings: &Settings) -> io::Result<Vec<Running>> {
    let mut addresses: Vec<&str> = settings.all("listen").collect();
    if addresses.is_empty() {
        addresses.push("127.0.0.1:0");
    }
    let mut servers = Vec::new();
    for address in addresses {
        servers.push(serve(bind(address).await?, Echo, settings)?);
    }
    if let Some(address) = settings.text("admin") {
        let admin = graceful::serve(bind(address).await?, Echo).drain_last();
        servers.push(Box::pin(admin.into_future()));
    }
    println!("bound");
    Ok(servers)
}

/// Binds `address` and prints where that is.
///
/// # Errors
///
/// Those of [`graceful::bind`].
pub async fn bind(address: &str) -> io::Result<Listener> {
    let listener = graceful::bind(address).await?;
    match listener.local_addr() {
        Ok(address) => println!("addr {address}"),
        Err(_) => println!("addr {address}"),
    }
    Ok(listener)
}

/// Serves as the settings of [`bind_all`] say, but for the addresses.
///
/// # Errors
///
/// Where the certificate cannot be read.
pub fn serve<S: IntoService<M>, M>(
    listener: Listener,
    service: S,
    settings: &Settings,
) -> io::Result<Running> {
    let mut server = graceful::serve(listener, service);
    if let Some(limit) = settings.number("limit") {
        server = server.max_connections(limit);
    }
    if settings.text("half_close") == Some("yes") {
        server = server.half_close(true);
    }
    if settings.text("connect_info") == Some("yes") {
        server = server.connect_info();
    }
    if let Some(count) = settings.number("streams") {
        let count = count.try_into().expect("a small number");
        server = server.max_concurrent_streams(count);
    }
    if let Some(time) = settings.duration("keep_alive") {
        server = server.http2_keep_alive(time, time);
    }
    if let Some(time) = settings.duration("keep_alive_timeout") {
        server = server.keep_alive_timeout(time);
    }
    if let Some(count) = settings.number("max_requests") {
        server = server.max_requests(count as u64);
    }
    if let Some(age) = settings.duration("max_age") {
        server = server.max_connection_age(age);
    }
    Ok(match settings.text("tls").map(Path::new) {
        Some(directory) => {
            let certificate = directory.join("certificate.pem");
            let tls = Tls::from_pem_files(certificate, directory.join("key.pem"))?;
            Box::pin(server.tls(tls).into_future())
        }
        None => Box::pin(server.into_future()),
    })
}

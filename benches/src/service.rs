//! What all the measured servers do alike: the same answers, the same runtime, the same greeting.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// How long `/slow` takes to answer.
pub const SLOW: Duration = Duration::from_millis(100);

/// Answers `/` at once and `/slow` after a while, both with two bytes.
///
/// # Errors
///
/// Never.
pub async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(SLOW).await;
    }
    Ok(Response::new(Full::from("ok")))
}

/// Answers with the id of this process.
///
/// # Errors
///
/// Never.
pub async fn answer_process(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(std::process::id().to_string())))
}

/// The address that the server was told to listen on: a restart finds its listener by it.
///
/// # Errors
///
/// Fails where the first argument is no address.
pub fn address() -> io::Result<SocketAddr> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    argument.parse().map_err(io::Error::other)
}

/// Whether the server was asked to run on one thread.
pub fn current_thread() -> bool {
    std::env::args().any(|word| word == "--current-thread")
}

/// Builds the runtime of a peer: tokio's default, or the current-thread one if asked for.
///
/// # Errors
///
/// Fails where the operating system does not give what it needs.
pub fn runtime() -> io::Result<Runtime> {
    if !current_thread() {
        return Builder::new_multi_thread().enable_all().build();
    }
    // The C library takes short cuts, in system calls and in its allocator, for as long as a process
    // has never had a second thread. Few programs get them, and ours, with its thread for signals,
    // does not; nor should its peers.
    std::thread::spawn(std::thread::park);
    Builder::new_current_thread().enable_all().build()
}

/// Binds any free port of the loopback interface and announces it.
///
/// # Errors
///
/// Fails where there is none.
pub async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    Ok(listener)
}

/// Tells the measurement where this server listens.
///
/// From then on the server ends with the measurement, also where that is killed.
///
/// # Errors
///
/// Fails where the kernel does not support it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    println!("addr {address}");
    Ok(())
}

/// Installs the handler for `SIGTERM` and returns the future that waits for it.
///
/// To be called before [`listen`], or else a signal may come too early.
///
/// # Errors
///
/// Fails where the signal cannot be listened to.
pub fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signal = signal(SignalKind::terminate())?;
    Ok(async move {
        signal.recv().await;
    })
}

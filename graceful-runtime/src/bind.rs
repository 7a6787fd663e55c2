//! From an address to a listener: inherited, or bound anew.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, sleep};

use crate::lifecycle::Lifecycle;
use crate::net::address::{Address, Kind, host_and_port};
use crate::net::inherited::BY_NAME;
use crate::net::listener::{Bound, Listener};
use crate::net::path::SocketFile;
use crate::os::shortage::Shortage;
use crate::text::one_line;

/// How many connections the kernel queues: Linux's own limit (`net.core.somaxconn`) since 5.4.
const BACKLOG: i32 = 4096;

/// How long the service manager may take to close what it was to keep; usually it is a millisecond.
const STORE_LIMIT: Duration = Duration::from_secs(1);
const STORE_PAUSE: Duration = Duration::from_millis(5);

/// Returns a listener for `address`: the one that was inherited from a predecessor or the service manager, or
/// a new one.
///
/// `unix:/path` is a UNIX socket, `systemd:web` the socket of that name of the service manager. The name of a
/// host is looked up, and the first of its addresses that can be bound is. TCP sockets get `SO_REUSEADDR` and
/// a backlog of 4096; what they accept gets `TCP_NODELAY`. A UNIX socket whose process is gone is replaced.
///
/// # Errors
///
/// Names the address and what to do: it is in use, needs a privilege, does not exist on this machine,
/// or cannot be read as an address. The [kind](io::Error::kind) is the operating system's.
///
/// # Cancel safety
///
/// A drop binds nothing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = graceful::bind("127.0.0.1:0").await?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn bind(address: impl Into<Address>) -> io::Result<Listener> {
    let address = address.into();
    let lifecycle = Lifecycle::current();
    let bound = find_or_bind(&address, lifecycle.as_deref()).await;
    let error = |source: io::Error| {
        let listeners = lifecycle.as_ref().map(|lifecycle| &lifecycle.listeners);
        BindError {
            hint: listeners.and_then(|listeners| address.hint(&source, listeners)),
            address: address.clone(),
            source,
        }
    };
    let (socket, is_kept) = bound.map_err(error)?;
    let register = |lifecycle: Arc<Lifecycle>| {
        let listeners = &lifecycle.listeners;
        listeners.register(&address.to_string(), is_kept, socket.as_fd())
    };
    // A failure drops the bare socket: the file of one that a predecessor serves on has to stay.
    let registration = lifecycle.clone().map(register).transpose();
    let registration = registration.map_err(error)?;
    Ok(Listener::new(socket, registration))
}

/// Takes the listener that was inherited for this address, or binds a new one; tells whether the
/// service manager keeps a copy.
async fn find_or_bind(
    address: &Address,
    lifecycle: Option<&Lifecycle>,
) -> io::Result<(Bound, bool)> {
    if let Some(claimed) = lifecycle.and_then(|lifecycle| address.claim(&lifecycle.listeners)) {
        return Ok((Bound::from_inherited(claimed.socket)?, claimed.kept));
    }
    let bound = match (bind_anew(address).await, lifecycle) {
        (Err(error), Some(lifecycle)) if error.kind() == io::ErrorKind::AddrInUse => {
            bind_in_place_of_stored(address, lifecycle, error).await
        }
        (bound, _) => bound,
    };
    Ok((bound?, false))
}

async fn bind_anew(address: &Address) -> io::Result<Bound> {
    match &address.0 {
        Kind::Socket(socket) => bind_tcp(*socket),
        Kind::Name(name) => bind_name(name).await,
        Kind::Path(path) => bind_unix(path).await,
    }
}

/// Binds an address that is in use, if only by what the service manager keeps for the same port.
///
/// So it is where the address has changed: the store still has a listener of ours for the old one.
async fn bind_in_place_of_stored(
    address: &Address,
    lifecycle: &Lifecycle,
    in_use: io::Error,
) -> io::Result<Bound> {
    let stored = address
        .port()
        .map(|port| lifecycle.listeners.forget_stored(port));
    let stored = stored.unwrap_or_default();
    if stored.is_empty() {
        return Err(in_use);
    }
    for name in &stored {
        lifecycle.service_manager.remove_stored(name);
    }
    let limit = Instant::now() + STORE_LIMIT;
    loop {
        // The manager closes its copy in its own time, and nobody tells when it has.
        sleep(STORE_PAUSE).await;
        match bind_anew(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < limit => {}
            bound => return bound,
        }
    }
}

async fn bind_name(name: &str) -> io::Result<Bound> {
    if name.starts_with(BY_NAME) {
        let reason = "no socket of that name was given";
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    if name.trim().is_empty() {
        return Err(invalid("the address is empty"));
    }
    let host_and_port = host_and_port(name).ok_or_else(|| invalid("not an address"))?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(host_and_port).await? {
        match bind_tcp(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into()).map(Bound::Tcp)
}

async fn bind_unix(path: &Path) -> io::Result<Bound> {
    if path.as_os_str().is_empty() {
        // The kernel would choose an abstract address, which nobody knows.
        return Err(invalid("the path is empty"));
    }
    let listen = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        UnixListener::from_std(socket.into())
    };
    let listener = match listen() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path).await => {
            std::fs::remove_file(path)?;
            listen()?
        }
        other => other?,
    };
    Ok(Bound::Unix(listener, SocketFile::of(path)))
}

/// Tells whether `path` is a socket that no process listens on.
async fn is_abandoned(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let connected = tokio::net::UnixStream::connect(path).await;
    is_socket && connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// What went wrong on which address, and what to do.
struct BindError {
    address: Address,
    source: io::Error,
    /// What those who gave listeners to this process have to do with it.
    hint: Option<String>,
}

impl BindError {
    fn remedy(&self) -> Cow<'static, str> {
        if self.source.kind() == io::ErrorKind::InvalidInput && self.source.raw_os_error().is_none()
        {
            return self.address.correction();
        }
        if let Some(hint) = &self.hint {
            return hint.clone().into();
        }
        if let Some(shortage) = Shortage::of(&self.source) {
            return shortage.remedy().into();
        }
        let is_path = matches!(self.address.0, Kind::Path(_));
        match self.source.kind() {
            io::ErrorKind::AddrInUse if is_path => {
                "another process listens there, or the path is no socket; stop it or choose another path"
            }
            io::ErrorKind::AddrInUse => {
                "another process listens there; stop it (`ss -ltnp` names it) or choose another port"
            }
            io::ErrorKind::PermissionDenied if is_path => "check who may write to the directory",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port or grant it"
            }
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has that address; `0.0.0.0` and `[::]` mean all of them"
            }
            io::ErrorKind::NotFound if is_path => "create the directory first",
            _ => return self.address.check(&self.source),
        }
        .into()
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address, source, ..
        } = self;
        let address = match address.to_string().as_str() {
            "" => String::new(),
            address => format!(" on `{address}`"),
        };
        let remedy = self.remedy();
        // The address may be anything.
        f.write_str(&one_line(&format_args!(
            "failed to listen{address}: {source}; {remedy}"
        )))
    }
}

// `main` prints the `Debug` form, and there it is read by a person.
impl fmt::Debug for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BindError {}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

#[cfg(test)]
mod tests;

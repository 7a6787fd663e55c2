//! Listening: addresses, sockets, and how a listener ends without losing what it holds.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, sleep};

use crate::handover::listeners::{BY_NAME, Claimed, Listeners, Registration};
use crate::lifecycle::Lifecycle;
use crate::os::shortage::Shortage;
use crate::os::sockets;
use crate::serve::{Peer, Stream};
use crate::text::one_line;

/// How many connections the kernel queues: Linux' own limit (`net.core.somaxconn`) since 5.4.
const BACKLOG: i32 = 4096;

/// How an abstract address begins, as systemd and others write it; see unix(7).
const ABSTRACT: &str = "unix:@";

/// How long the service manager may take to close what it was to keep; usually it is a millisecond.
const STORE_LIMIT: Duration = Duration::from_secs(1);
const STORE_PAUSE: Duration = Duration::from_millis(5);

/// Where to listen; made from `"host:port"`, `"unix:/path"`, a [`SocketAddr`], a host with a port or a
/// UNIX socket's [`Path`].
///
/// ```
/// use graceful::Address;
///
/// let all: Address = "[::]:3000".into();
/// let socket: Address = "unix:/run/app.sock".into();
/// let pair: Address = ("localhost", 3000).into();
/// assert_eq!(pair.to_string(), "localhost:3000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Socket(SocketAddr),
    Name(String),
    Path(PathBuf),
}

/// A socket that accepts connections.
///
/// Made by [`bind`], or from a listener of the standard library or of tokio. It closes itself, but a
/// drop loses what its queue holds: only [`serve`](crate::serve()) empties it first. A successor
/// inherits those that [`bind`] made, and no others.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let ours: graceful::Listener = graceful::bind("127.0.0.1:0").await?;
/// let from_tokio = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let from_tokio = graceful::Listener::from(from_tokio);
/// assert!(from_tokio.to_string().starts_with("http://127.0.0.1:"));
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    /// The place among those that a successor gets.
    registration: Option<Registration>,
    /// Others accept from the same socket, as its owner knows.
    is_shared: bool,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Option<Path_>),
}

/// The path of a UNIX listener, with the file that it meant when it was bound.
#[derive(Debug)]
struct Path_ {
    path: PathBuf,
    file: (u64, u64),
}

/// Binds a listener to `address`.
///
/// A name is looked up, and the first of its addresses that can be bound is. TCP sockets get
/// `SO_REUSEADDR` and a backlog of 4096; what they accept gets `TCP_NODELAY`. A UNIX socket whose
/// process is gone is replaced.
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
    Ok(Listener {
        socket,
        registration,
        is_shared: false,
    })
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
        .map(|port| lifecycle.listeners.give_up_stored(port));
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

/// Reads what is no [`SocketAddr`]. A host in brackets is an address with the name of an interface, for which the
/// resolver wants none.
fn host_and_port(name: &str) -> Option<(&str, u16)> {
    let (host, port) = name.rsplit_once(':')?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = !matches!(host, "" | "*")
        && !host.contains(|character: char| character == '/' || character.is_whitespace());
    is_host.then_some((in_brackets.unwrap_or(host), port.parse().ok()?))
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
    Ok(Bound::Unix(listener, Path_::of(path)))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Tells whether `path` is a socket that no process listens on.
async fn is_abandoned(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let connected = tokio::net::UnixStream::connect(path).await;
    is_socket && connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Listener {
    /// Returns the address that a TCP listener is bound to, with the real port where 0 was asked for.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a UNIX listener, which has a path.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = graceful::bind("127.0.0.1:0").await?;
    /// println!("http://{}", listener.local_addr()?);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Bound::Tcp(listener) => listener.local_addr(),
            Bound::Unix(..) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a UNIX listener has a path, not a socket address",
            )),
        }
    }

    /// Says that other processes accept from the same socket, as those of a pre-fork server do.
    ///
    /// Such a listener is left to them: it is not sealed, its queue is not emptied, and the path of a
    /// UNIX socket stays. What [`bind`] has from a service manager or a predecessor is known to be shared.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let ours = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let theirs = ours.try_clone()?;
    /// let listener = graceful::Listener::try_from(ours)?.shared();
    /// # drop((listener, theirs));
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Polls for the next connection.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match &self.socket {
            Bound::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Fails only where the peer has gone already.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), Peer::Tcp(peer))
            }),
            Bound::Unix(listener, _) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
        }
    }

    /// Accepts a connection that the kernel holds at this moment, whatever the runtime has heard.
    pub(crate) fn accept_now(&self) -> io::Result<Option<(Stream, Peer)>> {
        let (socket, peer) = match SockRef::from(self).accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        match &self.socket {
            Bound::Tcp(_) => {
                let stream = tokio::net::TcpStream::from_std(socket.into())?;
                let _ = stream.set_nodelay(true);
                let peer = peer.as_socket().map_or(Peer::Unix, Peer::Tcp);
                Ok(Some((Stream::Tcp(stream), peer)))
            }
            Bound::Unix(..) => {
                let stream = tokio::net::UnixStream::from_std(socket.into())?;
                Ok(Some((Stream::Unix(stream), Peer::Unix)))
            }
        }
    }

    /// Returns how many connections the kernel holds at this moment; of a UNIX listener at most 1 is known.
    pub(crate) fn queue_length(&self) -> usize {
        let mut listener = [PollFd::new(self, PollFlags::IN)];
        let is_empty = poll(&mut listener, Some(&Timespec::default())) == Ok(0);
        match &self.socket {
            _ if is_empty => 0,
            Bound::Tcp(listener) => sockets::queue_length(listener.as_fd()).unwrap_or(1),
            Bound::Unix(..) => 1,
        }
    }

    /// Turns new connects away, so that the accept queue can be emptied for good.
    ///
    /// TCP: the kernel refuses them from now on, or, where it cannot be told to or must not, they go on coming
    /// and the result is `false`. UNIX: the path is removed, unless it means another's socket by now.
    pub(crate) fn seal(&self) -> bool {
        if self.is_shared() {
            return false;
        }
        match &self.socket {
            // The kernel would go on to choose it for its share of the connects, and throw them away.
            Bound::Tcp(_) if self.has_siblings() => false,
            Bound::Tcp(listener) => {
                // Connections that have not sent anything would stay invisible, and be lost.
                let _ = sockets::defer_accept(listener.as_fd(), 0);
                sockets::refuse_connects(listener.as_fd()).is_ok()
            }
            Bound::Unix(_, path) => {
                if let Some(path) = path {
                    path.unlink();
                }
                true
            }
        }
    }

    /// Tells whether sockets of other processes listen on the same port, to which the kernel spreads the connects
    /// (`SO_REUSEPORT` in socket(7)). Those of this process leave together with this one.
    pub(crate) fn has_siblings(&self) -> bool {
        let Bound::Tcp(listener) = &self.socket else {
            return false;
        };
        let is_in_group = SockRef::from(listener).reuse_port().unwrap_or(false);
        let address = listener.local_addr().ok().filter(|_| is_in_group);
        address.is_some_and(sockets::others_listen_at)
    }

    /// Tells whether other processes accept from the same socket.
    pub(crate) fn is_shared(&self) -> bool {
        let registration = self.registration.as_ref();
        self.is_shared || registration.is_some_and(Registration::is_shared)
    }
}

impl Bound {
    fn from_inherited(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        if socket.domain()? == Domain::UNIX {
            let listener = UnixListener::from_std(socket.into())?;
            let path = Path_::of_listener(&listener);
            return Ok(Self::Unix(listener, path));
        }
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }
}

impl Address {
    fn claim(&self, listeners: &Listeners) -> Option<Claimed> {
        let bound = match &self.0 {
            Kind::Socket(address) => Some((*address).into()),
            Kind::Path(path) => SockAddr::unix(path).ok(),
            // A name is inherited by name.
            Kind::Name(_) => None,
        };
        listeners.claim(&self.to_string(), bound.as_slice())
    }

    /// Returns the port of a TCP address.
    fn port(&self) -> Option<u16> {
        match &self.0 {
            Kind::Socket(address) => Some(address.port()),
            Kind::Name(name) => name.rsplit_once(':')?.1.parse().ok(),
            Kind::Path(_) => None,
        }
    }

    /// Says what an error has to do with the listeners that were given to this process.
    fn hint(&self, error: &io::Error, listeners: &Listeners) -> Option<String> {
        match &self.0 {
            Kind::Name(name) if name.starts_with(BY_NAME) => {
                let given = listeners.names();
                Some(match given.is_empty() {
                    true => "the service manager has given no socket to this process; \
                             look at the socket unit, and at `Sockets=` of the service"
                        .into(),
                    false => format!(
                        "the service manager has given {}; look at `FileDescriptorName=` of the socket unit",
                        given.join(", ")
                    ),
                })
            }
            _ if error.kind() == io::ErrorKind::AddrInUse => {
                let listener = listeners.of_predecessor(self.port()?)?;
                Some(format!(
                    "the process before this one listens on {listener}; stop and start instead of a restart to change it"
                ))
            }
            _ => None,
        }
    }

    /// Says what to look at where an address that can be read cannot be bound.
    fn check(&self, error: &io::Error) -> Cow<'static, str> {
        match &self.0 {
            Kind::Socket(SocketAddr::V6(address))
                if address.ip().is_unicast_link_local() && address.scope_id() == 0 =>
            {
                let (ip, port) = (address.ip(), address.port());
                format!(
                    "a link-local address needs its interface: write `[{ip}%eth0]:{port}`, with the name of yours"
                )
                .into()
            }
            // Else the resolver has spoken.
            Kind::Name(name) if error.raw_os_error().is_none() => {
                let host = host_and_port(name).map_or(name.as_str(), |(host, _)| host);
                format!("check the name: `getent hosts {host}` looks it up in the same way").into()
            }
            _ => "check the address".into(),
        }
    }

    /// Tells whether it can be read.
    fn is_clear(&self) -> bool {
        match &self.0 {
            Kind::Socket(_) => true,
            Kind::Name(name) => host_and_port(name).is_some(),
            Kind::Path(path) => !path.as_os_str().is_empty(),
        }
    }

    /// Says how to write what cannot be read as an address.
    fn correction(&self) -> Cow<'static, str> {
        let name = match &self.0 {
            Kind::Path(path) if path.as_os_str().is_empty() => {
                return "write `unix:/path`; a variable may be empty".into();
            }
            Kind::Path(_) => {
                return "choose a shorter path: it may be 107 bytes long, see unix(7)".into();
            }
            Kind::Socket(_) => "",
            Kind::Name(name) => name,
        };
        if name.trim().is_empty() {
            return "write `127.0.0.1:3000`, `[::1]:3000`, `localhost:3000` or `unix:/path`; a variable may be empty"
                .into();
        }
        let without_blanks: [String; 2] = [name.trim().into(), name.split_whitespace().collect()];
        for clear in without_blanks {
            if clear != *name && Self::from(&clear).is_clear() {
                return format!("take the blanks out: `{clear}`").into();
            }
        }
        if name.starts_with(ABSTRACT) {
            return "abstract sockets are not offered, since no file mode keeps others from them; write \
                    `unix:/path`, or `unix:./@name` for a file of that name"
                .into();
        }
        if let Some((scheme, _)) = name.split_once("://") {
            return format!("write it without `{scheme}://`, as in `127.0.0.1:3000`").into();
        }
        match name.split_once(':') {
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                format!("for all interfaces write `0.0.0.0:{port}` or `[::]:{port}`").into()
            }
            _ if name.starts_with('/') => format!("write `unix:{name}`").into(),
            _ => "write `127.0.0.1:3000`, `[::1]:3000`, `localhost:3000` or `unix:/path`".into(),
        }
    }
}

impl Path_ {
    fn of_listener(listener: &UnixListener) -> Option<Self> {
        let address = listener.local_addr().ok()?;
        address.as_pathname().and_then(Self::of)
    }

    fn of(path: &Path) -> Option<Self> {
        // An abstract address has no file.
        let file = file_at(path)?;
        Some(Self {
            path: std::path::absolute(path).ok()?,
            file,
        })
    }

    fn unlink(&self) {
        if file_at(&self.path) == Some(self.file) {
            // Whoever removed it in between has done our work.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::symlink_metadata(path)
        .ok()
        .map(|file| (file.dev(), file.ino()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Bound::Unix(_, Some(path)), false) = (&self.socket, self.is_shared()) {
            path.unlink();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// The address as a person would type it: `http://127.0.0.1:3000` or `unix:/run/app.sock`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Bound::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("a TCP socket"),
            },
            Bound::Unix(_, Some(path)) => write!(f, "unix:{}", path.path.display()),
            Bound::Unix(_, None) => f.write_str("a UNIX socket"),
        }
    }
}

impl From<Bound> for Listener {
    fn from(socket: Bound) -> Self {
        Self {
            socket,
            registration: None,
            is_shared: false,
        }
    }
}

impl From<TcpListener> for Listener {
    /// The listener is taken to be this process' alone: it is sealed before it is closed, and then refuses
    /// the connects that are meant for others; see [`shared`](Self::shared).
    fn from(listener: TcpListener) -> Self {
        Bound::Tcp(listener).into()
    }
}

impl From<UnixListener> for Listener {
    /// The path is removed at the end, as for a listener of [`bind`], unless it is [`shared`](Self::shared).
    fn from(listener: UnixListener) -> Self {
        let path = Path_::of_listener(&listener);
        Bound::Unix(listener, path).into()
    }
}

impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    /// Makes the listener non-blocking; fails outside a tokio runtime's reach.
    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::from)
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::from)
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(match (text.strip_prefix("unix:"), text.parse()) {
            // A file of that name is hardly meant.
            (Some(_), _) if text.starts_with(ABSTRACT) => Kind::Name(text.into()),
            (Some(path), _) => Kind::Path(path.into()),
            (None, Ok(socket)) => Kind::Socket(socket),
            (None, Err(_)) => Kind::Name(text.into()),
        })
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

// Not one implementation for whatever turns into a `SocketAddr`: the compiler would explain that detour to
// everybody who has none.
macro_rules! from_socket_addresses {
    ($($address:ty),+) => {$(
        impl From<$address> for Address {
            fn from(address: $address) -> Self {
                Self(Kind::Socket(address.into()))
            }
        }
    )+};
}

from_socket_addresses! {
    SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16), ([u8; 4], u16)
}

impl From<&SocketAddr> for Address {
    fn from(address: &SocketAddr) -> Self {
        (*address).into()
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        format!("{host}:{port}").into()
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Self {
        (host.as_str(), port).into()
    }
}

/// A UNIX socket, without `unix:` before the path, which need not be UTF-8.
impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Path(path))
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Socket(address) => address.fmt(f),
            Kind::Name(name) => name.fmt(f),
            Kind::Path(path) => match path.to_str() {
                Some(path) => write!(f, "unix:{path}"),
                // A listener is inherited by this text, so that no two paths may share one.
                None => write!(f, "unix:{}", path.as_os_str().as_bytes().escape_ascii()),
            },
        }
    }
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

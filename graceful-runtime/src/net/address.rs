//! Where to listen, as a program or a person writes it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use socket2::SockAddr;

use super::inherited::{BY_NAME, Claimed, Listeners};

/// How an abstract address begins, as systemd and others write it; see unix(7).
const ABSTRACT: &str = "unix:@";

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
pub struct Address(pub(crate) Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Socket(SocketAddr),
    Name(String),
    Path(PathBuf),
}

/// Reads what is no [`SocketAddr`]. A host in brackets is an address with the name of an interface, for which the
/// resolver wants none.
pub(crate) fn host_and_port(name: &str) -> Option<(&str, u16)> {
    let (host, port) = name.rsplit_once(':')?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = !matches!(host, "" | "*")
        && !host.contains(|character: char| character == '/' || character.is_whitespace());
    is_host.then_some((in_brackets.unwrap_or(host), port.parse().ok()?))
}

impl Address {
    pub(crate) fn claim(&self, listeners: &Listeners) -> Option<Claimed> {
        let bound = match &self.0 {
            Kind::Socket(address) => Some((*address).into()),
            Kind::Path(path) => SockAddr::unix(path).ok(),
            // A name is inherited by name.
            Kind::Name(_) => None,
        };
        listeners.claim(&self.to_string(), bound.as_slice())
    }

    /// Returns the port of a TCP address.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.0 {
            Kind::Socket(address) => Some(address.port()),
            Kind::Name(name) => name.rsplit_once(':')?.1.parse().ok(),
            Kind::Path(_) => None,
        }
    }

    /// Says what an error has to do with the listeners that were given to this process.
    pub(crate) fn hint(&self, error: &io::Error, listeners: &Listeners) -> Option<String> {
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
    pub(crate) fn check(&self, error: &io::Error) -> Cow<'static, str> {
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
    pub(crate) fn correction(&self) -> Cow<'static, str> {
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

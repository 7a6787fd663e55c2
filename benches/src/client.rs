//! A blocking HTTP/1.1 client that sees exactly what became of its request.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// The request of every measurement; its answer has a body of two bytes.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A request whose answer takes [`service::SLOW`](crate::service::SLOW).
pub const SLOW_REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// How long a connect, a write or a read may take before the client gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections are opened at the same time: fewer switches between the processes, and no
/// full accept queue.
const BATCH: usize = 100;

/// Connections from one client address, which has some 28 000 ports.
const PER_SOURCE: usize = 10_000;

/// How long all of many connections may take to answer one request each.
const ANSWERS_MAX: Duration = Duration::from_secs(20);

/// Whether the connection may be used again after a complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The response did not announce a close.
    KeepAlive,
    /// The response said `connection: close`.
    Close,
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// Fails where the kernel refused the connection or did not answer in time.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects from one of the addresses of the loopback interface.
    fn open_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Writes one request.
    ///
    /// # Errors
    ///
    /// Fails where the server has already gone away.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Reads one response to its last byte.
    ///
    /// # Errors
    ///
    /// Fails for everything but a complete response with status 200: end of file, reset, silence.
    pub fn receive(&mut self) -> io::Result<Next> {
        self.receive_then(|next, _| next)
    }

    /// As [`Connection::receive`], and reads the body as a number: the id of the process that answered.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`], and where the body is no number.
    pub fn receive_number(&mut self) -> io::Result<(Next, u32)> {
        self.receive_then(|next, body| {
            let text = str::from_utf8(body).map_err(io::Error::other)?;
            Ok((next, text.parse().map_err(io::Error::other)?))
        })?
    }

    fn receive_then<T>(&mut self, read: impl FnOnce(Next, &[u8]) -> T) -> io::Result<T> {
        let mut buffer = [0; 1024];
        let mut filled = 0;
        loop {
            if let Some((length, body, next)) = parse(&buffer[..filled])?
                && filled >= length
            {
                return Ok(read(next, &buffer[body..length]));
            }
            match self.stream.read(&mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
    }

    /// Sends the usual request and reads its response.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`] and [`Connection::receive`].
    pub fn round_trip(&mut self) -> io::Result<Next> {
        self.send(REQUEST)?;
        self.receive()
    }

    /// Reads until the server has ended the connection, and expects nothing more from it.
    ///
    /// # Errors
    ///
    /// Fails where there is something to read, or no end.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("there is more after the last response")),
        }
    }

    /// Closes the connection with a reset, so that neither side is left in `TIME_WAIT`.
    ///
    /// # Errors
    ///
    /// Fails where the socket cannot be configured.
    pub fn reset(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }
}

/// Opens `count` connections; with `used`, each of them has had one request answered.
///
/// Every one of them has been accepted when this returns: the last one has been served, and a
/// server accepts in order.
///
/// # Errors
///
/// Fails where a connection or a request does.
pub fn open_many(address: SocketAddr, count: usize, used: bool) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    open_up_to(&mut connections, address, count, used)?;
    Ok(connections)
}

/// As [`open_many`], where some of the `count` are open already.
///
/// # Errors
///
/// As [`open_many`].
pub fn open_up_to(
    connections: &mut Vec<Connection>,
    address: SocketAddr,
    count: usize,
    used: bool,
) -> io::Result<()> {
    while connections.len() < count {
        let start = connections.len();
        for number in start..count.min(start + BATCH) {
            connections.push(match source(number) {
                Ipv4Addr::LOCALHOST => Connection::open(address)?,
                source => Connection::open_from(source, address)?,
            });
        }
        if used {
            connections[start..]
                .iter_mut()
                .try_for_each(|connection| connection.send(REQUEST))?;
            for connection in &mut connections[start..] {
                connection.receive()?;
            }
        }
        Connection::open(address)?.round_trip()?;
    }
    Ok(())
}

/// The client address of one of many connections: 127.0.0.1, 127.0.0.2, …
fn source(number: usize) -> Ipv4Addr {
    let offset = u32::try_from(number / PER_SOURCE).expect("so many connections do not exist");
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + offset)
}

/// Sends one more request on each of `connections`, and returns what those that answer have said.
///
/// However many stay silent, they are waited for only once.
pub fn answers<T>(
    connections: &mut [Connection],
    receive: impl Fn(&mut Connection) -> io::Result<T>,
) -> Vec<T> {
    for connection in &mut *connections {
        // Where this fails there is nothing to read either.
        let _ = connection.send(REQUEST);
    }
    let end = Instant::now() + ANSWERS_MAX;
    let answer = |connection: &mut Connection| {
        // What has come until then is read also after the end.
        let left = end.saturating_duration_since(Instant::now());
        let limit = left.max(Duration::from_millis(1));
        connection.stream.set_read_timeout(Some(limit))?;
        receive(connection)
    };
    connections.iter_mut().flat_map(answer).collect()
}

/// Returns the length of the response that begins `bytes`, where its body begins, and what its head
/// announces, as soon as the head is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, usize, Next)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(io::Error::other(head));
    }
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let body: usize = field("content-length:")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| io::Error::other("the response has no content-length"))?;
    let next = if field("connection:") == Some("close") {
        Next::Close
    } else {
        Next::KeepAlive
    };
    Ok(Some((end + 4 + body, end + 4, next)))
}

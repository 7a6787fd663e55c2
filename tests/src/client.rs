//! A blocking HTTP/1 client that shows every byte: half heads, pipelining, how a connection ends.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::{Address, LIMIT, SOON};

/// How long a server that drains waits for the rest of a head.
pub const HEAD_LIMIT: Duration = Duration::from_secs(1);

/// A byte stream whose reads can be given a limit.
pub trait Transport: Read + Write + Send {
    /// Returns the address of this end; `None` where there is no such thing.
    fn local_addr(&self) -> Option<SocketAddr>;
    /// Makes reads and writes that take longer than `limit` fail.
    fn set_limit(&self, limit: Duration) -> io::Result<()>;
    /// Says that nothing more will be sent.
    fn finish_sending(&mut self) -> io::Result<()>;
    /// Makes the close to come a reset, where there is such a thing.
    fn reset_at_close(&self) -> io::Result<()>;
}

impl Transport for TcpStream {
    fn local_addr(&self) -> Option<SocketAddr> {
        Self::local_addr(self).ok()
    }

    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }

    fn finish_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_at_close(&self) -> io::Result<()> {
        Ok(set_socket_linger(self, Some(Duration::ZERO))?)
    }
}

impl Transport for UnixStream {
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }

    fn finish_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_at_close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection to a server.
pub struct Connection {
    transport: Box<dyn Transport>,
    /// What was read and not yet used.
    unread: Vec<u8>,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    /// The number of the status line.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects to `address`.
    #[track_caller]
    pub fn open(address: &Address) -> Self {
        let connection = Self::try_open(address);
        connection.unwrap_or_else(|error| panic!("failed to connect to {address}: {error}"))
    }

    /// Connects to `address`, where a refusal may be what the test looks for.
    ///
    /// # Errors
    ///
    /// Those of `connect`.
    pub fn try_open(address: &Address) -> io::Result<Self> {
        Self::over(address.connect()?)
    }

    /// Speaks over a connection that exists already, as one with TLS.
    ///
    /// # Errors
    ///
    /// Where the limit of its reads cannot be set.
    pub fn over(transport: Box<dyn Transport>) -> io::Result<Self> {
        transport.set_limit(LIMIT)?;
        Ok(Self {
            transport,
            unread: Vec::new(),
        })
    }

    /// Returns the address from which the server sees this client; `None` on a UNIX socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.transport.local_addr()
    }

    /// Sends `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .expect("the connection takes what is sent");
    }

    /// Sends `bytes`, where the server may have closed the connection.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.transport.write_all(bytes.as_ref())
    }

    /// Sends the rest of the head that a server which drains since `begin` waits for, and expects the last response.
    ///
    /// Returns `false` where it was sent later than the server has to wait, so that nothing is known.
    #[track_caller]
    pub fn complete_in_time(&mut self, rest: &str, begin: Instant) -> bool {
        let sent = self.try_send(rest);
        let is_in_time = begin.elapsed() < HEAD_LIMIT;
        if is_in_time {
            sent.expect("a server that waits takes what is sent");
            self.response().expect_last();
            self.expect_eof();
        }
        is_in_time
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.transport
            .finish_sending()
            .expect("an open connection can be half closed");
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.transport
            .reset_at_close()
            .expect("an open connection can be reset");
    }

    /// Sends a byte now and then until the server closes the connection, which has to be soon.
    #[track_caller]
    pub fn trickle(&mut self) {
        let begin = Instant::now();
        while self.try_send("x").is_ok() {
            assert!(
                begin.elapsed() < SOON,
                "the server still reads after {SOON:?}"
            );
            sleep(Duration::from_millis(100));
        }
    }

    /// Sends a GET request and returns its response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(get(path));
        self.response()
    }

    /// Reads a whole response.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response()
            .unwrap_or_else(|error| panic!("no complete response: {error}"))
    }

    /// Reads a whole response, where there may be none.
    ///
    /// # Errors
    ///
    /// Those of `read`, and `UnexpectedEof` where the connection ends too early.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let mut response = self.try_head()?;
        response.body = self.body(&response)?;
        Ok(response)
    }

    /// Reads the head of a response only; an interim response (100) has nothing else.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        self.try_head()
            .unwrap_or_else(|error| panic!("no complete head: {error}"))
    }

    /// Reads at least one more byte of what the server sends, and returns what there is.
    #[track_caller]
    pub fn some_bytes(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.read_more().expect("the server sends something");
        }
        std::mem::take(&mut self.unread)
    }

    /// Fails unless the server closes the connection in an orderly way, with nothing more to say.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let rest = self
            .rest()
            .unwrap_or_else(|error| panic!("no orderly close: {error}"));
        assert!(
            rest.is_empty(),
            "more than expected: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    /// Reads up to the end of the connection.
    ///
    /// # Errors
    ///
    /// Those of `read`: a reset, or nothing within the limit.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        self.transport.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads exactly `count` bytes; `None` where the connection ends before the first of them.
    ///
    /// # Errors
    ///
    /// Those of `read`, and `UnexpectedEof` where it ends in between.
    pub fn exactly(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        while self.unread.len() < count {
            match self.read_more() {
                Err(error)
                    if error.kind() == ErrorKind::UnexpectedEof && self.unread.is_empty() =>
                {
                    return Ok(None);
                }
                result => result?,
            }
        }
        Ok(Some(self.unread.drain(..count).collect()))
    }

    fn try_head(&mut self) -> io::Result<Response> {
        let mut status_line = self.line()?;
        // A server may send an empty line before a response only by mistake; show it as it is.
        let status = status_line.split_off(status_line.find(' ').map_or(0, |space| space + 1));
        let status = status.get(..3).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("not a status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body that belongs to `head`.
    ///
    /// # Errors
    ///
    /// As [`try_response`](Self::try_response).
    pub fn body(&mut self, head: &Response) -> io::Result<Vec<u8>> {
        if head
            .header("transfer-encoding")
            .is_some_and(|value| value == "chunked")
        {
            return self.chunks();
        }
        match head.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(io::Error::other)?;
                self.exactly(length)?
                    .ok_or_else(|| ErrorKind::UnexpectedEof.into())
            }
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            let chunk = self.exactly(size)?.ok_or(ErrorKind::UnexpectedEof)?;
            body.extend_from_slice(&chunk);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.transport.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

impl Response {
    /// Returns the value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns whether the server said that it closes the connection after this response.
    pub fn says_close(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails unless this is a 200 after which the server closes the connection.
    #[track_caller]
    pub fn expect_last(&self) {
        assert!(
            self.status == 200 && self.says_close(),
            "not a last 200: {self:?}"
        );
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("unread", &self.unread.len())
            .finish_non_exhaustive()
    }
}

/// Repeats `attempt` until it was in time: a machine that is too busy to keep a bound itself shows nothing.
#[track_caller]
pub fn try_until_in_time(mut attempt: impl FnMut() -> bool) {
    let was_in_time = (0..10).any(|_| attempt());
    assert!(was_in_time, "this machine is too busy to keep the bound");
}

/// Returns the bytes of a GET request for `path` on a connection that is to be kept alive.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

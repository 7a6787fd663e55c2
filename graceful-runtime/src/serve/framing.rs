//! Where the requests of an HTTP/1 connection end, known from the bytes that hyper was fed.
//!
//! hyper does not tell whether the body of a request has come to its end, and `Ready(Ok)` after its
//! graceful shutdown means "idle" as well as "gave up in the middle of a body". To take the rest of a
//! body for a request is request smuggling, so this is known, never inferred:
//!
//! 1. A [`Framing`] is fed exactly what hyper is fed, in the same order, and told of each request that
//!    hyper hands out, with the length of its body. What a request is, only hyper says.
//! 2. So it looks only for the end of heads that hyper has accepted, which is their first empty line,
//!    whatever else is in them (RFC 9112, section 2.2: a line may end with a bare LF).
//! 3. hyper reads from the socket only when its buffer is empty or holds a part of a head. So nothing
//!    but a part of a head is left of what was fed before, once more is fed between two requests.
//! 4. The bytes are kept, and looked at only when somebody has to know. A read that ends with an empty
//!    line, and of which a request without a body was handed out, leaves nothing: a part of a head does
//!    not end like this, unless it is nothing but empty lines, which may be forgotten.
//!
//! The third point rests on hyper's inside; the tests compare with hyper itself. The fourth holds where a
//! request is told of before hyper reads on ([`Told`]).

#[cfg(test)]
mod tests;

/// How much memory is kept for the next request.
const KEPT: usize = 4 << 10;
/// How much may come of requests that nobody is told of: more than hyper takes for one head.
const UNTOLD: usize = 1 << 20;

/// What is known of the requests on an HTTP/1 connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// What was fed since the last look.
    fed: Vec<u8>,
    /// Where in it the first head begins that nobody has looked at.
    start: usize,
    /// How many heads from there on hyper has handed out.
    heads: u32,
    /// What is to come of the body of the last request that was handed out: all of it, as long as `heads`
    /// counts its head.
    body: RequestBody,
    told: Told,
}

/// When a request is told of that hyper hands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Before hyper reads on.
    #[default]
    AtOnce,
    /// Later, or not at all, as what lies between hyper and the one who tells may take its time.
    Late,
}

/// What hyper waits for on a connection that owes no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The next request, of which nothing has come: no other request is lost with hyper.
    Request,
    /// The rest of a request head.
    RestOfHead,
    /// The rest of a body.
    RestOfBody,
    /// Nobody knows. hyper may be about to go on by itself, or a task may hold the body that it was given.
    Unknown,
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestBody {
    /// Nothing: it has come, or there is none.
    #[default]
    Complete,
    /// So many bytes.
    Length(u64),
    /// What follows this place in `chunked` coding.
    Chunked(Chunked),
    /// Nobody knows how much.
    Unknown,
}

impl RequestBody {
    /// Returns what is to come of a body of this length; `None` is `chunked` coding, which is all that
    /// a request may have without a length (RFC 9112, section 6.3).
    pub(super) fn new(length: Option<u64>) -> Self {
        match length {
            Some(0) => Self::Complete,
            Some(length) => Self::Length(length),
            None => Self::Chunked(Chunked::Start),
        }
    }
}

/// A place in `chunked` coding (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// At the beginning of a chunk.
    Start,
    /// In a chunk's size, which is this so far.
    Size(u64),
    /// In the space behind a size.
    Space(u64),
    /// In the extensions behind a size.
    Extension(u64),
    /// At the LF behind a size.
    SizeEnd(u64),
    /// In a chunk's data, of which so much is to come.
    Data(u64),
    /// At the CR behind the data.
    DataCr,
    /// At the LF behind the data.
    DataLf,
    /// At the beginning of a trailer field, or of the empty line that is the end.
    Line,
    /// In a trailer field.
    Field,
    /// At the LF behind a trailer field.
    FieldLf,
    /// At the LF of the empty line.
    End,
}

impl Framing {
    pub(super) fn new(told: Told) -> Self {
        Self {
            told,
            ..Self::default()
        }
    }

    /// Takes note of bytes that hyper is about to see.
    #[inline]
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        if self.heads > 0 {
            match self.leaves_nothing() {
                true => self.forget(),
                false => self.look(),
            }
        }
        if self.body != RequestBody::Complete {
            bytes = self.pass(bytes);
        }
        if self.rest().is_empty() {
            bytes = skip_empty_lines(bytes);
        }
        self.fed.extend_from_slice(bytes);
        if self.told == Told::Late && self.rest().len() > UNTOLD {
            self.lose_track();
        }
    }

    /// Takes note of a request that hyper hands out.
    #[inline]
    pub(super) fn begin(&mut self, body: RequestBody) {
        if self.body != RequestBody::Complete {
            self.look();
        }
        self.heads += 1;
        self.body = body;
        if self.fed.len() > KEPT {
            self.look();
        }
    }

    /// Tells without a look that nothing is left of what was fed when hyper asks for more: every head in it
    /// has been handed out, and a part of one does not end with an empty line.
    #[inline]
    pub(super) fn leaves_nothing(&self) -> bool {
        self.told == Told::AtOnce
            && self.body == RequestBody::Complete
            && self.fed.ends_with(b"\r\n\r\n")
    }

    /// Tells what hyper waits for, where its last read has found nothing and it owes no response.
    pub(super) fn awaits(&mut self) -> Awaits {
        self.look();
        match self.body {
            RequestBody::Complete if self.rest().is_empty() => Awaits::Request,
            RequestBody::Complete => Awaits::RestOfHead,
            RequestBody::Length(_) | RequestBody::Chunked(_) => Awaits::RestOfBody,
            RequestBody::Unknown => Awaits::Unknown,
        }
    }

    /// Takes out what has come of the next request, where that is [all there is](Awaits::RestOfHead).
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        let mut fed = std::mem::take(&mut self.fed);
        fed.drain(..std::mem::take(&mut self.start));
        fed
    }

    /// Returns what has come after the last request that was handed out, without empty lines before it.
    pub(super) fn rest(&self) -> &[u8] {
        &self.fed[self.start..]
    }

    /// Looks at what was fed, as far as hyper has handed it out.
    #[cold]
    fn look(&mut self) {
        if self.heads == 0 {
            return;
        }
        while self.heads > 0 {
            let Some(length) = head_length(self.rest()) else {
                // hyper has handed out what it was not fed.
                return self.lose_track();
            };
            self.start += length;
            self.heads -= 1;
        }
        let fed = std::mem::take(&mut self.fed);
        let rest = skip_empty_lines(self.pass(&fed[self.start..])).len();
        self.start = fed.len() - rest;
        self.fed = fed;
        // Half of it at least, so that a pipeline is moved once on the whole.
        if self.start >= rest {
            self.fed.drain(..self.start);
            self.start = 0;
            self.fed.shrink_to(KEPT);
        }
    }

    /// Returns what of `bytes` comes after the body.
    fn pass<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            let count;
            (self.body, count) = match self.body {
                RequestBody::Complete => return bytes,
                RequestBody::Unknown => return &[],
                RequestBody::Length(left) => {
                    let (left, count) = pass_data(left, bytes);
                    (RequestBody::new(Some(left)), count)
                }
                RequestBody::Chunked(Chunked::Data(left)) => {
                    let (left, count) = pass_data(left, bytes);
                    let next = match left {
                        0 => Chunked::DataCr,
                        _ => Chunked::Data(left),
                    };
                    (RequestBody::Chunked(next), count)
                }
                RequestBody::Chunked(place) => (place.after(bytes[0]), 1),
            };
            bytes = &bytes[count..];
        }
        bytes
    }

    #[cold]
    fn lose_track(&mut self) {
        self.body = RequestBody::Unknown;
        self.forget();
    }

    fn forget(&mut self) {
        self.fed.clear();
        self.fed.shrink_to(KEPT);
        self.start = 0;
        self.heads = 0;
    }
}

impl Chunked {
    /// Returns what is to come after `byte`. Where that is not known, hyper gives up, too.
    fn after(self, byte: u8) -> RequestBody {
        let next = match (self, byte) {
            (Self::Start, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return Self::Size(0).after(byte);
            }
            (Self::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map(u64::from);
                let size = size
                    .checked_mul(16)
                    .zip(digit)
                    .map(|(size, digit)| size + digit);
                return size.map_or(RequestBody::Unknown, |size| {
                    RequestBody::Chunked(Self::Size(size))
                });
            }
            (Self::Size(size) | Self::Space(size) | Self::Extension(size), b'\r') => {
                Self::SizeEnd(size)
            }
            (Self::Size(size) | Self::Space(size), b' ' | b'\t') => Self::Space(size),
            (Self::Size(size) | Self::Space(size), b';') => Self::Extension(size),
            (Self::Extension(_), b'\n') => return RequestBody::Unknown,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Line,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Start,
            (Self::Line, b'\r') => Self::End,
            (Self::Field, b'\r') => Self::FieldLf,
            (Self::Line | Self::Field, _) => Self::Field,
            (Self::FieldLf, b'\n') => Self::Line,
            (Self::End, b'\n') => return RequestBody::Complete,
            _ => return RequestBody::Unknown,
        };
        RequestBody::Chunked(next)
    }
}

/// Passes as many of `left` bytes as there are; returns how many are still to come and how many were passed.
fn pass_data(left: u64, bytes: &[u8]) -> (u64, usize) {
    let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (left - count as u64, count)
}

/// Returns how long the head is at the beginning of `bytes`, empty lines before it included; `None` where it
/// does not end.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut line = bytes.iter().position(|byte| !is_line_end(byte))?;
    loop {
        let end = bytes[line..].iter().position(|byte| *byte == b'\n')?;
        let is_empty = matches!(&bytes[line..line + end], [] | [b'\r']);
        line += end + 1;
        if is_empty {
            return Some(line);
        }
    }
}

/// Empty lines before a request are nothing (RFC 9112, section 2.2).
fn skip_empty_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| !is_line_end(byte));
    &bytes[end.unwrap_or(bytes.len())..]
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

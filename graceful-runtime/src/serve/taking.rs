//! What a client takes of its responses, as far as the kernel knows.
//!
//! The kernel counts what the peer has not acknowledged. Only responses count here: a client that makes the server write
//! answers to its PINGs, and takes those, is no reason to wait.

use std::mem;

use super::connection::Connection;
use crate::net::stream::Lingering;
use crate::net::stream::Stream;
use crate::os::sockets;

#[derive(Debug, Default)]
pub(super) struct Taking {
    /// How much of what was sent had been acknowledged at the last look.
    acknowledged: i64,
}

impl Taking {
    /// Looks, where `sent` bytes have been sent; tells whether the client has taken something of a response since the
    /// last look, or is there and reads no further.
    pub(super) fn look(&mut self, sent: u64, stream: &Stream, connection: &Connection) -> bool {
        // What cannot be known counts as taken.
        let left = stream.unacknowledged().unwrap_or(0);
        let acknowledged = sent.cast_signed() - i64::try_from(left).unwrap_or(i64::MAX);
        let before = mem::replace(&mut self.acknowledged, acknowledged);
        // Short frames become three times as long by TLS.
        let others = connection.http2().behind_response() * 3 + overhead(stream);
        let is_unread = left > others;
        let was_unread = connection.note_untaken(is_unread);
        (was_unread && acknowledged > before) || (is_unread && waits_for_room(stream))
    }

    /// Tells whether the client's kernel had everything up to there at the last look.
    pub(super) fn has(&self, end: u64) -> bool {
        self.acknowledged >= end.cast_signed()
    }
}

/// Returns how many bytes may be unacknowledged that hyper has not sent: of the end of TLS and of TCP, and what the
/// kernel adds to each write on a UNIX socket.
fn overhead(stream: &Stream) -> usize {
    match stream.lingering() {
        Some(Lingering::Unix(_)) => 4 << 10,
        _ => 128,
    }
}

fn waits_for_room(stream: &Stream) -> bool {
    match stream.lingering() {
        Some(Lingering::Tcp(_)) => stream
            .socket()
            .is_some_and(|socket| sockets::waits_for_room(socket).unwrap_or(false)),
        // Whether the peer is about to read on is not known there.
        Some(Lingering::Unix(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::lifecycle::surroundings::Surroundings;
    use crate::lifecycle::{Lifecycle, Settings};
    use crate::net::stream::Peer;
    use crate::serve::options::Options;
    use crate::serve::policy::Policy;

    #[tokio::test]
    async fn what_is_taken_of_a_response_counts_and_nothing_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut stream = Stream::Tcp(TcpStream::from_std(server).unwrap());
        let (lifecycle, _) = Lifecycle::new(Settings::default(), Surroundings::default());
        let policy = Policy::new(lifecycle, Options::default(), None);
        let connection = Connection::new(Arc::new(policy), Peer::Tcp(peer));
        let mut taking = Taking::default();
        assert!(!taking.look(0, &stream, &connection), "nothing was sent");

        // More than the kernels take from one who does not read.
        let mut sent = 0;
        let piece = vec![0; 64 << 10];
        while timeout(Duration::from_millis(200), stream.write_all(&piece))
            .await
            .is_ok()
        {
            sent += piece.len() as u64;
        }
        assert!(taking.look(sent, &stream, &connection), "it is there");
        assert!(connection.is_untaken());
        assert!(!taking.has(sent));

        // The same, where all of it is something else.
        connection
            .http2()
            .note_behind_response(usize::try_from(sent).unwrap());
        assert!(!taking.look(sent, &stream, &connection));
        assert!(!connection.is_untaken());
        let mut some = vec![0; 1 << 20];
        client.read_exact(&mut some).unwrap();
        sleep(Duration::from_millis(10)).await;
        assert!(!taking.look(sent, &stream, &connection));

        connection.http2().note_behind_response(0);
        taking.look(sent, &stream, &connection);
        client
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        while client.read(&mut some).is_ok_and(|count| count > 0) {}
        assert!(taking.look(sent, &stream, &connection), "it has read");
        assert!(!connection.is_untaken() && taking.has(sent));
        assert!(!taking.look(sent, &stream, &connection), "there is no more");
    }
}

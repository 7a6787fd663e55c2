//! What the framework accepts from.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

#[cfg(feature = "axum")]
use axum::{extract::connect_info::Connected, serve::IncomingStream};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::adapter::Adapter;
use super::entry::ServerEntry;
use super::io::Io;
use super::offers::Offer;
use crate::handover::inbound::{Taker, TakerGuard};
use crate::lifecycle::current::Attendance;
use crate::lifecycle::registry::Member;
use crate::lifecycle::report;
use crate::net::accept::{ACCEPT_PAUSE, Complaints, is_of_one_connection};
use crate::net::stream::{Peer, Stream as Socket};
use crate::serve::connection::Connection;
use crate::serve::limits::BUSY;
use crate::serve::moved::taker;

/// The listener of [`adapt`](crate::adapt()): a `Stream` of connections, and axum's `Listener`.
///
/// It never fails: it says what is wrong and tries again.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let listener = graceful::bind("127.0.0.1:3000").await?;
/// let (mut listener, layer, shutdown) = graceful::adapt(listener);
/// let connection = listener.accept().await;
/// println!("{:?} is here", connection.peer_addr());
/// # Ok(()) }
/// ```
pub struct Listener {
    acceptor: Arc<Acceptor>,
    /// Runs after a failure.
    pause: Option<Pin<Box<Sleep>>>,
    complaints: Complaints,
    /// `main` itself accepts.
    attendance: Option<Attendance>,
    /// Lets connections of the predecessor come.
    _moved: Option<TakerGuard>,
}

impl Listener {
    pub(super) fn new(acceptor: Arc<Acceptor>) -> Self {
        let moved = acceptor.socket.before().map(|index| {
            let inbound = &acceptor.adapter.shared.lifecycle().inbound;
            inbound.register(index, acceptor.taker())
        });
        Self {
            acceptor,
            pause: None,
            complaints: Complaints::default(),
            attendance: None,
            _moved: moved,
        }
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// A drop loses no connection.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let listener = graceful::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?;
    /// let (mut listener, layer, shutdown) = graceful::adapt(listener);
    /// let client = tokio::net::TcpStream::connect(address).await?;
    /// assert_eq!(listener.accept().await.peer_addr(), Some(client.local_addr()?));
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn accept(&mut self) -> Io {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Returns the address that a TCP listener is bound to; see
    /// [`Listener::local_addr`](crate::Listener::local_addr).
    ///
    /// # Errors
    ///
    /// `Unsupported` for a UNIX listener.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let (listener, layer, shutdown) = graceful::adapt(graceful::bind("127.0.0.1:0").await?);
    /// println!("http://{}", listener.local_addr()?);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.socket.local_addr()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Io> {
        if self.attendance.is_none() {
            self.attendance = self.acceptor.adapter.shared.lifecycle().attend();
        }
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let shared = &self.acceptor.adapter.shared;
            if let Poll::Ready(offer) = self.acceptor.adapter.offers.poll_next(cx) {
                return Poll::Ready(self.acceptor.go_on_with(offer));
            }
            let Poll::Ready(accepted) = self.acceptor.poll_accept(cx) else {
                shared.note_accepts();
                return Poll::Pending;
            };
            match accepted {
                Ok((stream, peer)) => {
                    shared.note_accepts();
                    return Poll::Ready(self.acceptor.connect(stream, peer));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    shared.note_accept_failed(&self.acceptor.socket, &error);
                    let complaint = self.complaints.about(&self.acceptor.socket, &error);
                    complaint
                        .into_iter()
                        .for_each(|line| shared.lifecycle().say(line));
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

/// Never ends and never fails.
impl Stream for Listener {
    type Item = io::Result<Io>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Io>>> {
        self.poll_accept(cx).map(|io| Some(Ok(io)))
    }
}

/// The address is `None` on a UNIX socket.
#[cfg(feature = "axum")]
impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = Option<SocketAddr>;

    async fn accept(&mut self) -> (Io, Option<SocketAddr>) {
        let io = Self::accept(self).await;
        let peer = io.peer_addr();
        (io, peer)
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match Self::local_addr(self) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            address => address.map(Some),
        }
    }
}

/// Who is at the other end, for axum's `into_make_service_with_connect_info`; `None` on a UNIX socket.
///
/// axum makes a plain `SocketAddr` only for its own listener, so handlers extract `ConnectInfo<PeerAddr>`.
/// The layer stays on the `Router`, as the last one.
///
/// ```no_run
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use graceful::adapt::PeerAddr;
///
/// async fn hello(ConnectInfo(PeerAddr(client)): ConnectInfo<PeerAddr>) -> String {
///     format!("hello {client:?}")
/// }
///
/// #[graceful::main]
/// async fn main() -> std::io::Result<impl graceful::Server> {
///     let listener = graceful::bind("127.0.0.1:3000").await?;
///     let (listener, layer, shutdown) = graceful::adapt(listener);
///     let app = Router::new().route("/", get(hello)).layer(layer);
///     let app = app.into_make_service_with_connect_info::<PeerAddr>();
///     Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown))
/// }
/// ```
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub Option<SocketAddr>);

#[cfg(feature = "axum")]
impl Connected<IncomingStream<'_, Listener>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.acceptor.adapter.offers.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener")
            .field(&self.acceptor.socket)
            .finish()
    }
}

/// The listener as the drain knows it.
pub(super) struct Acceptor {
    socket: crate::net::listener::Listener,
    adapter: Arc<Adapter>,
    /// The server as the report knows it.
    entry: Arc<ServerEntry>,
    queue: watch::Sender<Queue>,
    state: Mutex<State>,
}

/// What is to be done, or known, of the accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Connections come.
    Open,
    /// Those that the kernel holds at this moment are to be accepted.
    Look,
    /// They have been, and more may come.
    Empty,
    /// Whatever comes is another process' business: the one before this, or the one after it.
    Closed,
}

#[derive(Default)]
struct State {
    /// The task that accepts.
    task: Option<Waker>,
    accepted: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(
        socket: crate::net::listener::Listener,
        adapter: Arc<Adapter>,
        entry: Arc<ServerEntry>,
    ) -> (Self, watch::Receiver<Queue>) {
        let begin = match adapter.shared.lifecycle().has_predecessor {
            true => Queue::Closed,
            false => Queue::Open,
        };
        let (queue, receiver) = watch::channel(begin);
        let acceptor = Self {
            socket,
            adapter,
            entry,
            queue,
            state: Mutex::default(),
        };
        (acceptor, receiver)
    }

    /// Says where connections may come.
    pub(super) fn report(&self) {
        let lifecycle = self.adapter.shared.lifecycle();
        lifecycle.say(report::listening(&self.socket));
    }

    /// Lets connections come.
    pub(super) fn open(&self) {
        self.set(Queue::Open);
    }

    /// Turns new connects away; tells whether there have been any just now.
    ///
    /// `None`: the listener is another process', too, and this one only stops accepting.
    pub(super) fn seal(&self) -> Option<bool> {
        if self.socket.is_shared() {
            self.set(Queue::Closed);
            return None;
        }
        self.socket.seal();
        let accepted = self.state().accepted;
        Some(accepted.is_some_and(|accepted| accepted.elapsed() < BUSY))
    }

    /// Tells whether the kernel holds connections that only this process can accept.
    pub(super) fn has_queue(&self) -> bool {
        *self.queue.borrow() != Queue::Closed && self.socket.queue_length() > 0
    }

    /// Tells whether clients may be in the middle of connecting.
    pub(super) fn may_have_handshakes(&self) -> bool {
        self.socket.may_have_handshakes()
    }

    /// Has the queue emptied.
    pub(super) fn look(&self) {
        self.set(Queue::Look);
    }

    /// Returns what takes connections of the predecessor.
    fn taker(&self) -> Taker {
        let adapter = Arc::clone(&self.adapter);
        taker(&self.adapter.shared, move |stream, note, connection| {
            adapter.offers.add(Offer {
                stream,
                read: note.bytes.into(),
                connection,
            });
        })
    }

    fn set(&self, queue: Queue) {
        self.queue.send_replace(queue);
        let task = self.state().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        // Before the look at the queue, so that a change in between wakes the task.
        self.state().task = Some(cx.waker().clone());
        let queue = *self.queue.borrow();
        match queue {
            Queue::Closed => Poll::Pending,
            Queue::Open | Queue::Empty => self.socket.poll_accept(cx),
            Queue::Look => match self.socket.accept_now().transpose() {
                Some(accepted) => Poll::Ready(accepted),
                None => {
                    self.queue.send_replace(Queue::Empty);
                    self.socket.poll_accept(cx)
                }
            },
        }
    }

    fn connect(&self, stream: Socket, peer: Peer) -> Io {
        self.state().accepted = Some(Instant::now());
        let shared = &self.adapter.shared;
        let connection = shared.connect(peer);
        self.io(stream, Bytes::new(), connection)
    }

    fn go_on_with(&self, offer: Offer) -> Io {
        self.io(offer.stream, offer.read, offer.connection)
    }

    fn io(&self, stream: Socket, read: Bytes, connection: Member<Connection>) -> Io {
        let entry = Arc::clone(&self.entry);
        Io::new(stream, read, connection, Arc::clone(&self.adapter), entry)
    }

    // Nothing that could panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Hand-over: this process starts its program again, gives it the listeners, and leaves once the new one serves.
//!
//! What is guaranteed:
//!
//! 1. Until the successor has said that it serves, this process goes on as before; whatever goes wrong, nobody notices.
//! 2. Both accept from the same sockets, so no connect is ever refused and no queue is lost.
//! 3. Nothing leaks: the listeners travel through the channel and are close-on-exec in every process; the channel is the standard
//!    input of the successor until it has read the greeting, and `/dev/null` from then on.
//! 4. A successor is a child of this process, whose end has a status; where a service manager watches, it is an orphan, because
//!    systemd kills a main process that is not its own child at the next stop.
//!
//! [`dialogue`] has the states and the order of the messages; the old side is in [`successor`], the new one in [`predecessor`].

pub(crate) mod ancestors;
pub(crate) mod channel;
pub(crate) mod dialogue;
pub(crate) mod error;
pub(crate) mod failure;
pub(crate) mod inbound;
pub(crate) mod inheritance;
pub(crate) mod outbound;
pub(crate) mod parcel;
pub(crate) mod predecessor;
pub(crate) mod predecessors;
pub(crate) mod program;
pub(crate) mod refusal;
pub(crate) mod state;
pub(crate) mod successor;

mod wire;

//! How a connection gets from this process to the successor.

use super::beginning::Beginning;
use super::connection::Connection;
use crate::handover::outbound::Departed;
use crate::net::stream::Stream;

/// Gives a connection to the successor; returns it where that does not take it.
pub(crate) async fn depart(
    stream: Stream,
    beginning: Beginning,
    index: u16,
    connection: &Connection,
) -> Option<(Stream, Beginning)> {
    let note = connection.note(index, beginning);
    connection.note_moving();
    // Where the runtime does not give it back, the runtime is at its end.
    let descriptor = stream.into_descriptor().ok()?;
    let outbound = &connection.policy.lifecycle.outbound;
    match outbound.depart(descriptor, note).await {
        Departed::Moved | Departed::Lost => None,
        Departed::Back(descriptor, note) => {
            connection.note_refused();
            Some((Stream::from_descriptor(descriptor).ok()?, note.into()))
        }
    }
}

//! What a connection brings along that somebody else has served until now.

use tokio::time::Instant;

use crate::handover::parcel::Note;

/// What has come of a request head, and nobody has used.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    pub(super) bytes: Vec<u8>,
    /// When the first byte of it came.
    pub(super) begun: Option<Instant>,
}

impl From<Note> for Beginning {
    fn from(note: Note) -> Self {
        Self {
            bytes: note.bytes,
            begun: note.begun.and_then(|age| Instant::now().checked_sub(age)),
        }
    }
}

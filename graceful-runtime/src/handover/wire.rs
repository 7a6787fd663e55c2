//! The few versioned bytes between the two processes of a hand-over.
//!
//! Each message is one packet of a `SOCK_SEQPACKET` socket pair, so there is no framing: the first byte is the kind, the rest
//! belongs to it, and a byte too many is an error. Descriptors travel beside [`Hello`], in the order that it states. Pure.

use std::fmt;

use crate::model::keeper::Keeper;

/// The version that this build speaks. It is part of [`Hello`], the first message, and only of that one.
pub(crate) const VERSION: u8 = 1;

/// The longest message, in bytes. The kernel's default socket buffer is three times as large, so that no send ever blocks.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;

/// How many listeners can be handed over: with the state and the predecessors, what one packet can carry (253 descriptors).
pub(crate) const LISTENERS_MAX: usize = 224;

/// The longest address that a listener may have been asked for by, and the longest reason of a failure, in bytes.
pub(crate) const TEXT_MAX: usize = 1024;

const MAGIC: [u8; 8] = *b"graceful";

/// What a successor is given before it exists: the first message, and the only one with descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The process that hands over.
    pub(crate) pid: u32,
    /// The names of the listeners, in the order of asking.
    pub(crate) listeners: Vec<ListenerName>,
    /// Whether a descriptor with the state for the successor follows the listeners.
    pub(crate) has_state: bool,
    /// How many process descriptors follow: the one that hands over first, then those that still drain.
    pub(crate) predecessors: u8,
}

/// What is said about one listener; where it is bound, the socket itself knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerName {
    /// The address as it was asked for.
    pub(crate) asked: String,
    /// Who else holds the socket, over the life of every process that accepts from it.
    pub(crate) keeper: Keeper,
}

/// What the predecessor says to its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToSuccessor {
    Hello(Hello),
    /// The service manager knows; serve.
    Go,
    /// The predecessor was told to stop; so is the successor.
    Abort,
}

/// What the successor says to the predecessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToPredecessor {
    /// Everything is set up; nothing has been accepted yet.
    Ready,
    /// The successor accepts. `dropped` are the listeners of [`Hello`] that it did not ask for, by index.
    Serving { dropped: Vec<u16> },
    /// The start failed, and the successor is about to exit.
    Failed { reason: String },
}

impl ToSuccessor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.encode(),
            Self::Go => vec![b'g'],
            Self::Abort => vec![b'a'],
        }
    }

    /// Reads one message of the predecessor.
    ///
    /// # Errors
    ///
    /// For bytes that are no message, and for a [`Hello`] of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            b'h' => Self::Hello(Hello::decode(&mut reader)?),
            b'g' => Self::Go,
            b'a' => Self::Abort,
            kind => return Err(WireError::Kind(kind)),
        };
        reader.finish(message)
    }
}

impl ToPredecessor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![b'r'],
            Self::Serving { dropped } => {
                let indexes = dropped.iter().flat_map(|index| index.to_le_bytes());
                [b's'].into_iter().chain(indexes).collect()
            }
            Self::Failed { reason } => {
                let mut bytes = vec![b'f'];
                put_text(&mut bytes, reason);
                bytes
            }
        }
    }

    /// Reads one message of the successor.
    ///
    /// # Errors
    ///
    /// For bytes that are no message.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            b'r' => Self::Ready,
            b's' => {
                let mut dropped = Vec::new();
                while !reader.0.is_empty() {
                    dropped.push(reader.u16()?);
                }
                Self::Serving { dropped }
            }
            b'f' => Self::Failed {
                reason: reader.text()?,
            },
            kind => return Err(WireError::Kind(kind)),
        };
        reader.finish(message)
    }
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'h'];
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.pid.to_le_bytes());
        bytes.push(self.has_state.into());
        bytes.push(self.predecessors);
        for listener in &self.listeners {
            bytes.push(listener.keeper as u8);
            put_text(&mut bytes, &listener.asked);
        }
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(WireError::NoHello);
        }
        let version = reader.byte()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let mut hello = Self {
            pid: reader.u32()?,
            has_state: reader.flag()?,
            predecessors: reader.byte()?,
            listeners: Vec::new(),
        };
        while !reader.0.is_empty() {
            let keeper = reader.keeper()?;
            let asked = reader.text()?;
            hello.listeners.push(ListenerName { asked, keeper });
        }
        Ok(hello)
    }
}

/// Appends `text`, cut at a character where it is longer than [`TEXT_MAX`].
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let end = (0..=TEXT_MAX.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    let text = &text[..end.unwrap_or(0)];
    let length = u16::try_from(text.len()).expect("TEXT_MAX fits");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left of a message.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take returns as much as asked"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Flag(other)),
        }
    }

    pub(super) fn keeper(&mut self) -> Result<Keeper, WireError> {
        let keepers = [Keeper::Nobody, Keeper::Unit, Keeper::Store];
        let byte = self.byte()?;
        keepers
            .into_iter()
            .find(|&keeper| keeper as u8 == byte)
            .ok_or(WireError::Keeper(byte))
    }

    pub(super) fn text(&mut self) -> Result<String, WireError> {
        let length = usize::from(self.u16()?);
        if length > TEXT_MAX {
            return Err(WireError::TextLength(length));
        }
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Text)
    }

    pub(super) fn finish<T>(self, message: T) -> Result<T, WireError> {
        if self.0.is_empty() {
            Ok(message)
        } else {
            Err(WireError::Long)
        }
    }
}

/// Why a packet is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    NoHello,
    Version(u8),
    Kind(u8),
    Flag(u8),
    Keeper(u8),
    Text,
    TextLength(usize),
    Short,
    Long,
}

impl std::error::Error for WireError {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHello => write!(f, "the first message is no greeting"),
            Self::Version(other) => {
                write!(
                    f,
                    "the other process speaks version {other} of the hand-over, this one {VERSION}"
                )
            }
            Self::Kind(kind) => write!(f, "no message begins with {kind:#04x}"),
            Self::Flag(value) => write!(f, "{value} is neither yes nor no"),
            Self::Keeper(value) => write!(f, "{value} stands for nobody who keeps a listener"),
            Self::Text => write!(f, "a text is not UTF-8"),
            Self::TextLength(length) => {
                write!(f, "a text has {length} bytes, more than {TEXT_MAX}")
            }
            Self::Short => write!(f, "a message ends too early"),
            Self::Long => write!(f, "a message goes on after its end"),
        }
    }
}

#[cfg(test)]
mod tests;

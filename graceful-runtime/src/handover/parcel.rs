//! The packets in which connections move to a successor, and its answers. Pure.
//!
//! They have a channel of their own, so that the dialogue never waits for them. The predecessor queues a [`Manifest`] on it before
//! the successor exists; a successor that does not know it closes its end, and no connection moves. Then come [`Parcels`], each
//! with the descriptors of its connections beside it, in the same order; each is answered by one [`Receipt`].

use std::time::Duration;

use super::wire::{MESSAGE_MAX, Reader, WireError};

/// The version of everything on this page.
const VERSION: u8 = 1;

/// How many connections are in one packet at most; the kernel carries up to 253 descriptors.
pub(crate) const BATCH: usize = 64;

/// How many bytes of a request head may move along with its connection.
pub(crate) const BEGUN_MAX: usize = 32 << 10;

/// Which listeners of one process are which of another, each by its index in a greeting.
pub(crate) type Translation = Vec<(u16, u16)>;

/// The first packet: what other channels are handed on behind this one.
///
/// They are of processes that were before the one that hands over and still drain. Each of them knows listeners by the indexes
/// of its own greeting; the translation leads to those of this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) others: Vec<Translation>,
}

/// What has to be known of a connection to go on with it. Times are ages, as the two processes need not share a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// The listener, by its index in the greeting.
    pub(crate) listener: u16,
    /// How many requests there have been.
    pub(crate) requests: u64,
    /// Since when it is open.
    pub(crate) accepted: Duration,
    /// Since when it is idle.
    pub(crate) idle: Duration,
    /// Since when a request head is coming.
    pub(crate) begun: Option<Duration>,
    /// What has come of it.
    pub(crate) bytes: Vec<u8>,
}

/// Connections that move together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcels {
    pub(crate) number: u64,
    pub(crate) notes: Vec<Note>,
}

/// The answer to the [`Parcels`] of that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) number: u64,
    /// For each connection, in the same order, whether it was taken.
    pub(crate) taken: Vec<bool>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'm', VERSION];
        for translation in &self.others {
            put_length(&mut bytes, translation.len());
            for (from, to) in translation {
                bytes.extend_from_slice(&from.to_le_bytes());
                bytes.extend_from_slice(&to.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads the first packet.
    ///
    /// # Errors
    ///
    /// For bytes that are none, and for another version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = begin(bytes, b'm')?;
        let version = reader.byte()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let mut manifest = Self::default();
        while !reader.0.is_empty() {
            let count = reader.u16()?;
            let pairs = (0..count).map(|_| Ok((reader.u16()?, reader.u16()?)));
            manifest.others.push(pairs.collect::<Result<_, _>>()?);
        }
        Ok(manifest)
    }
}

impl Note {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.listener.to_le_bytes());
        bytes.extend_from_slice(&self.requests.to_le_bytes());
        put_age(bytes, self.accepted);
        put_age(bytes, self.idle);
        bytes.push(self.begun.is_some().into());
        put_age(bytes, self.begun.unwrap_or_default());
        put_length(bytes, self.bytes.len());
        bytes.extend_from_slice(&self.bytes);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let listener = reader.u16()?;
        let requests = reader.u64()?;
        let accepted = age(reader)?;
        let idle = age(reader)?;
        let has_begun = reader.flag()?;
        let begun = age(reader)?;
        let length = usize::from(reader.u16()?);
        Ok(Self {
            listener,
            requests,
            accepted,
            idle,
            begun: has_begun.then_some(begun),
            bytes: reader.take(length)?.to_vec(),
        })
    }
}

impl Parcels {
    /// Puts as many of `notes` into a packet as fit; returns the packet and how many those are: one at least, where there is one.
    pub(crate) fn encode<'a>(
        number: u64,
        notes: impl Iterator<Item = &'a Note>,
    ) -> (Vec<u8>, usize) {
        let mut bytes = vec![b'c'];
        bytes.extend_from_slice(&number.to_le_bytes());
        let mut count = 0;
        for note in notes.take(BATCH) {
            let length = bytes.len();
            note.encode(&mut bytes);
            if bytes.len() > MESSAGE_MAX {
                bytes.truncate(length);
                break;
            }
            count += 1;
        }
        (bytes, count)
    }

    /// Reads a packet of the predecessor.
    ///
    /// # Errors
    ///
    /// For bytes that are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = begin(bytes, b'c')?;
        let number = reader.u64()?;
        let mut notes = Vec::new();
        while !reader.0.is_empty() {
            notes.push(Note::decode(&mut reader)?);
        }
        Ok(Self { number, notes })
    }
}

impl Receipt {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'r'];
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend(self.taken.iter().map(|taken| u8::from(*taken)));
        bytes
    }

    /// Reads an answer of the successor.
    ///
    /// # Errors
    ///
    /// For bytes that are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = begin(bytes, b'r')?;
        let number = reader.u64()?;
        let mut taken = Vec::new();
        while !reader.0.is_empty() {
            taken.push(reader.flag()?);
        }
        Ok(Self { number, taken })
    }
}

fn begin(bytes: &[u8], kind: u8) -> Result<Reader<'_>, WireError> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        found if found == kind => Ok(reader),
        other => Err(WireError::Kind(other)),
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u16::try_from(length).expect("BEGUN_MAX and LISTENERS_MAX fit");
    bytes.extend_from_slice(&length.to_le_bytes());
}

fn put_age(bytes: &mut Vec<u8>, age: Duration) {
    let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&micros.to_le_bytes());
}

fn age(reader: &mut Reader<'_>) -> Result<Duration, WireError> {
    Ok(Duration::from_micros(reader.u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(listener: u16, length: usize) -> Note {
        Note {
            listener,
            requests: 7,
            accepted: Duration::from_secs(3),
            idle: Duration::from_micros(5),
            begun: (length > 0).then_some(Duration::from_millis(2)),
            bytes: vec![b'x'; length],
        }
    }

    /// Checks that `bytes` are read whole or not at all.
    fn check<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, WireError>, is_list: bool) {
        assert!(decode(bytes).is_ok());
        for length in 0..bytes.len() {
            // A list may be shorter.
            assert!(is_list || decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(matches!(decode(b"?"), Err(WireError::Kind(b'?'))));
        assert!(matches!(decode(b""), Err(WireError::Short)));
    }

    #[test]
    fn every_packet_arrives_as_it_was_sent() {
        let manifest = Manifest {
            others: vec![vec![(0, 1), (2, 0)], Vec::new(), vec![(5, 500)]],
        };
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
        check(&manifest.encode(), Manifest::decode, true);

        let notes = vec![note(1, 0), note(300, 20), Note::default()];
        let (bytes, count) = Parcels::encode(9, notes.iter());
        assert_eq!(count, 3);
        assert_eq!(Parcels::decode(&bytes), Ok(Parcels { number: 9, notes }));
        check(&bytes, Parcels::decode, true);

        let receipt = Receipt {
            number: u64::MAX,
            taken: vec![true, false],
        };
        assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt.clone()));
        check(&receipt.encode(), Receipt::decode, true);
    }

    #[test]
    fn another_version_is_not_read() {
        assert_eq!(
            Manifest::decode(&[b'm', VERSION + 1]),
            Err(WireError::Version(VERSION + 1))
        );
    }

    #[test]
    fn a_note_that_is_cut_is_not_read() {
        let (bytes, _) = Parcels::encode(9, [note(1, 20)].iter());
        for length in 10..bytes.len() {
            assert_eq!(Parcels::decode(&bytes[..length]), Err(WireError::Short));
        }
    }

    #[test]
    fn what_does_not_fit_into_a_packet_goes_into_the_next() {
        let many: Vec<_> = (0..).map(|index| note(index, 0)).take(BATCH + 1).collect();
        assert_eq!(Parcels::encode(0, many.iter()).1, BATCH);
        let long = [note(0, BEGUN_MAX), note(1, BEGUN_MAX), note(2, 0)];
        let (bytes, count) = Parcels::encode(0, long.iter());
        assert_eq!(count, 1);
        assert!(bytes.len() <= MESSAGE_MAX);
    }
}

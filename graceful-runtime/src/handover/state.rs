//! The bytes that the predecessor leaves to its successor, in memory that both can reach without waiting for each other.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{MemfdFlags, memfd_create};

/// The most that can be left, in bytes.
pub(crate) const STATE_MAX: usize = 16 * 1024 * 1024;

/// What the predecessor left, or is about to leave.
#[derive(Debug)]
pub(crate) struct HandoverState(File);

impl HandoverState {
    /// Lays `bytes` ready for a successor.
    ///
    /// # Errors
    ///
    /// Where there are more than [`STATE_MAX`], or no memory is left.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() > STATE_MAX {
            return Err(too_large(bytes.len() as u64));
        }
        let mut file = File::from(memfd_create("graceful-state", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    /// Takes what a predecessor laid ready.
    pub(crate) fn inherited(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Reads all of it, as often as one likes.
    ///
    /// # Errors
    ///
    /// Where it is more than [`STATE_MAX`].
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let length = self.0.metadata()?.len();
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length <= STATE_MAX);
        let length = length.ok_or_else(|| too_large(u64::MAX))?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl AsFd for HandoverState {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn too_large(length: u64) -> io::Error {
    let message =
        format!("the state for the successor is {length} bytes, at most {STATE_MAX} are allowed");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_can_be_read_again_and_again() {
        for bytes in [vec![], vec![7; 1], vec![8; STATE_MAX]] {
            let state = HandoverState::new(&bytes).unwrap();
            assert!(state.read().unwrap() == bytes);
            assert!(state.read().unwrap() == bytes);
        }
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let error = HandoverState::new(&vec![0; STATE_MAX + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}

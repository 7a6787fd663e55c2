//! The file of a UNIX listener.

use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The path of a UNIX listener, with the file that it meant when it was bound.
#[derive(Debug)]
pub(crate) struct SocketFile {
    pub(super) path: PathBuf,
    file: (u64, u64),
}

impl SocketFile {
    pub(crate) fn of_listener(listener: &UnixListener) -> Option<Self> {
        let address = listener.local_addr().ok()?;
        address.as_pathname().and_then(Self::of)
    }

    pub(crate) fn of(path: &Path) -> Option<Self> {
        // An abstract address has no file.
        let file = file_at(path)?;
        Some(Self {
            path: std::path::absolute(path).ok()?,
            file,
        })
    }

    pub(super) fn unlink(&self) {
        if file_at(&self.path) == Some(self.file) {
            // Whoever removed it in between has done our work.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::symlink_metadata(path)
        .ok()
        .map(|file| (file.dev(), file.ino()))
}

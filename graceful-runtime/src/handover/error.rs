//! Why a restart came to nothing.

use std::fmt;

use crate::text::one_line;

/// Why a restart came to nothing; this process serves on.
///
/// ```
/// # async fn example() {
/// if let Err(error) = graceful::restart().await {
///     eprintln!("still the old version: {error}");
/// }
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RestartError(String);

impl RestartError {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self(one_line(&reason))
    }
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for RestartError {}
